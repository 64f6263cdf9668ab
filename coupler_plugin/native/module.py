# SPDX-License-Identifier: Apache-2.0
"""Write the C file of the extension module `coupler_plugin._native`; CMake runs this when it builds the module.

The declarations are those of the headers here, so that none stands twice.
"""

import argparse
import re
from pathlib import Path

import cffi


def declarations(header: str) -> str:
    """Return what a C header declares, without comments and preprocessor lines."""
    code = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    return re.sub(r"^#.*$", "", code, flags=re.MULTILINE)


def main() -> None:
    """Read the headers and write the C file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="the C file to write")
    parser.add_argument("headers", type=Path, nargs="+", help="what the module offers")
    arguments = parser.parse_args()

    builder = cffi.FFI()
    for header in arguments.headers:
        builder.cdef(declarations(header.read_text()))
    includes = "\n".join(f'#include "{header.name}"' for header in arguments.headers)
    builder.set_source("coupler_plugin._native", includes)
    builder.emit_c_code(str(arguments.output))


if __name__ == "__main__":
    main()
