# SPDX-License-Identifier: Apache-2.0
"""Write the C file of the extension module `coupler_plugin._packing`; CMake runs this when it builds the module.

The declarations are those of packing.h, so that none stands twice.
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
    """Read the header and write the C file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("header", type=Path, help="packing.h")
    parser.add_argument("output", type=Path, help="the C file to write")
    arguments = parser.parse_args()

    builder = cffi.FFI()
    builder.cdef(declarations(arguments.header.read_text()))
    builder.set_source("coupler_plugin._packing", '#include "packing.h"')
    builder.emit_c_code(str(arguments.output))


if __name__ == "__main__":
    main()
