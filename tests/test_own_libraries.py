# SPDX-License-Identifier: Apache-2.0
"""A host's libnetcdf or libudunits in the process does not disturb the plugin's own."""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

WRITE_AND_CONVERT = """
import ctypes, sys
from coupler_plugin.fields import Fields
import netCDF4
assert hasattr(ctypes.CDLL(None), sys.argv[1])
with netCDF4.Dataset(sys.argv[2], "w") as file:
    file.createDimension("x", 3)
    file.createVariable("v", "f8", ("x",), zlib=True)[:] = 1.0
assert Fields().conversion("tas", "degC", "K").offset == 273.15
"""


@pytest.mark.parametrize(("library", "function"), [("netcdf", "nc_inq_libvers"), ("udunits2", "ut_read_xml")])
def test_library_of_the_host_stays_apart(tmp_path: Path, library: str, function: str) -> None:
    found = ctypes.util.find_library(library)
    if found is None:
        pytest.skip(f"lib{library} is not installed on this system")
    environment = {**os.environ, "LD_PRELOAD": found}
    command = [sys.executable, "-c", WRITE_AND_CONVERT, function, str(tmp_path / "file.nc")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
