# SPDX-License-Identifier: Apache-2.0
"""Write the C file by which the library calls Python; CMake runs this when it builds the library.

cffi's embedding is the fastest way from C into Python that needs no extension module: each function below becomes a C
function of that name, and `coupler_plugin/bridge/entry.py` says what it does. The types come from the public header, so
that no declaration stands twice.
"""

import argparse
import re
from pathlib import Path

import cffi

FUNCTIONS = """
int coupler_python_init(int handle, const char *config, const int *comm, const char *start, double dt,
                        int *abort_on_error);
int coupler_python_set_cells(int handle, const coupler_array *id, const coupler_array *lon, const coupler_array *lat,
                             const coupler_array *area, const coupler_array *corner_lon,
                             const coupler_array *corner_lat);
int coupler_python_bind(int handle, const char *name, const coupler_array *field, const char *units, int device);
int coupler_python_step(int handle);
int coupler_python_step_begin(int handle);
int coupler_python_step_end(int handle);
int coupler_python_write_restart(int handle);
int coupler_python_finalize(int handle);
int coupler_python_message(int handle, char *buffer, int length);
"""

INIT_CODE = """
from _coupler_plugin_embedding import ffi
from coupler_plugin.bridge import entry
entry.connect(ffi)
"""

# cffi_start_python() would do, were it not for the lock that it takes before Python 3.12: the version tag of a type,
# which is never free in a Python that has been at work. Python runs already and its lock is not held, so the two steps
# that follow that lock are all there is to do.
SOURCE = """
#include "coupler_plugin.h"
#include "internal.h"

int coupler_start_embedding(void)
{
    if (_cffi_initialize_python() != 0) return -1;
    _cffi_call_python = (_cffi_call_python_fnptr)_cffi_call_python_org;
    return 0;
}
"""


def types_of(header: str) -> str:
    """Return the structs and enumerations of the header, without comments."""
    code = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    return "\n".join(re.findall(r"^typedef \w+ \w+ \{.*?^\} \w+;", code, flags=re.DOTALL | re.MULTILINE))


def main() -> None:
    """Read the header and write the C file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("header", type=Path, help="coupler_plugin.h")
    parser.add_argument("output", type=Path, help="the C file to write")
    arguments = parser.parse_args()

    builder = cffi.FFI()
    builder.embedding_api(types_of(arguments.header.read_text()) + FUNCTIONS)
    builder.embedding_init_code(INIT_CODE)
    builder.set_source("_coupler_plugin_embedding", SOURCE)
    builder.emit_c_code(str(arguments.output))


if __name__ == "__main__":
    main()
