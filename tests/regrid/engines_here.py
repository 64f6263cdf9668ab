# SPDX-License-Identifier: Apache-2.0
"""Which engines this machine has, found out by starting what they start."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from importlib.util import find_spec

import pytest

from coupler_plugin.regrid.engines.child import clean_environment


@cache
def yac_problem() -> str:
    """Return why YAC cannot run here, or nothing."""
    command = [sys.executable, "-c", "from mpi4py import MPI; import yac.core"]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=120)
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def need_yac() -> None:
    """Skip the test where YAC cannot run."""
    if yac_problem():
        pytest.skip(f"YAC cannot run here (pip install yac mpi4py, Open MPI): {yac_problem()}")


def has_esmf() -> bool:
    """Return whether ESMF is installed."""
    return find_spec("esmpy") is not None


def need_mpirun() -> str:
    """Return the launcher of MPI programs; skip the test where there is none."""
    launcher = shutil.which("mpirun")
    if launcher is None or find_spec("mpi4py") is None:
        pytest.skip("needs mpirun and mpi4py")
    return launcher
