# SPDX-License-Identifier: Apache-2.0
"""`make gpu-check` where there is no GPU: its C host runs on the CPU, and it never says that a GPU was checked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gpu.check import CELLS, NOT_CHECKED

TESTS = Path(__file__).parents[1]


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler is installed")
def test_c_host_runs_without_fortran_and_without_a_gpu(tmp_path: Path) -> None:
    compilers = tmp_path / "bin"  # all that a C compiler needs, and no Fortran
    compilers.mkdir()
    for tool in ("cc", "gcc", "clang", "as", "ld"):
        if found := shutil.which(tool):
            (compilers / tool).symlink_to(found)
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "CUDA_VISIBLE_DEVICES": "", "PATH": str(compilers)}
    done = subprocess.run(
        [sys.executable, "-m", "gpu.check"], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == NOT_CHECKED, done.stdout + done.stderr
    for words in (
        "GPUs: none (CUDA_VISIBLE_DEVICES is '')",
        "skipped: tests of hosts in Fortran: gfortran is not installed",
        "skipped: all that runs on a GPU: torch sees none",
        "gpu-check: NOT CHECKED, there is no GPU here",
    ):
        assert words in done.stdout
    found = re.search(rf"C host on the CPU: {CELLS} cells, answers from ([-\d.]+) to ([-\d.]+)", done.stdout)
    assert found
    assert float(found[1]) < float(found[2])
