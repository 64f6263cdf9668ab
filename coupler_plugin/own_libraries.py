# SPDX-License-Identifier: Apache-2.0
"""Libraries that a host may have too, imported so that each side keeps its own.

A host that links netCDF has the functions of its libnetcdf in the process. The netCDF4 wheel brings another build under
the same names, and would call the host's, whose HDF5 is not its own: it crashes. With `RTLD_DEEPBIND` a library looks
at what it brought along first. Only hosts that have such a library get it, because it also hides a malloc of theirs.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from typing import Final

#: module -> functions that tell that the process has such a library already
_SHARED: Final = {"netCDF4": ("nc_inq_libvers", "H5open"), "cf_units": ("ut_read_xml",)}


def import_apart() -> None:
    """Import the modules above, apart from the host's libraries of the same names."""
    process = ctypes.CDLL(None)
    flags = sys.getdlopenflags()
    for module, functions in _SHARED.items():
        clashes = any(hasattr(process, function) for function in functions)
        try:
            if clashes and hasattr(os, "RTLD_DEEPBIND"):
                sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
            importlib.import_module(module)
        finally:
            sys.setdlopenflags(flags)


import_apart()
