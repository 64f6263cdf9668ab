# SPDX-License-Identifier: Apache-2.0
"""The environment in which MKL chooses its kernels, which is the host's too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_emulators import write_mlp

from coupler_plugin.emulator import kernels

PROGRAM = """
import ctypes, os, sys
from pathlib import Path
from coupler_plugin.emulator.load import load
load(Path(sys.argv[1]))
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
print(os.environ.get("MKL_CBWR"), getenv(b"MKL_CBWR"))
"""


def test_environment_is_left_as_it_was(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "MKL_CBWR"}
    program = [sys.executable, "-c", PROGRAM, str(write_mlp(tmp_path / "mlp.pt"))]
    output = subprocess.run(program, env=environment, capture_output=True, text=True, check=True).stdout
    assert output.split() == ["None", "None"]


def test_choice_of_the_user_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    kernels.settle.__wrapped__()
    assert os.environ["MKL_CBWR"] == "COMPATIBLE"
