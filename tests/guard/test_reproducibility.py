# SPDX-License-Identifier: Apache-2.0
"""Guards change no bit of the promises of a run: exact restarts, and the same bits on any number of ranks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import guarded_run
import netCDF4
import numpy as np
import pytest

STEPS = 26
HERE = Path(__file__).parent
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def mpirun(ranks: int, config: Path, first: int, steps: int) -> str:
    """Run on some ranks and return the hash that rank 0 prints."""
    if shutil.which("mpirun") is None or find_spec("mpi4py") is None:
        pytest.skip("needs mpirun and mpi4py")
    command = ["mpirun", "-n", str(ranks), sys.executable, guarded_run.__file__, str(config), str(first), str(steps)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def history(folder: Path) -> dict[str, bytes]:
    with netCDF4.Dataset(folder / "history.nc") as file:
        file.set_auto_mask(False)
        return {name: variable[:].tobytes() for name, variable in file.variables.items()}


def guards(folder: Path) -> list[tuple[Any, Any]]:
    emulators = json.loads((folder / "report.json").read_text())["emulators"]
    return [(entry["interventions"], entry.get("shadow")) for entry in emulators]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder of one run without MPI, and its hash."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, guarded_run.run(guarded_run.prepare(folder), 0, STEPS)


def test_every_guard_has_something_to_do(whole: tuple[Path, str]) -> None:
    folder, _ = whole
    carbon, store, classes, shadow = guards(folder)
    assert {kind for kind, fields in carbon[0].items() if all(fields.values())} == {"input", "unseen", "range"}
    assert {"input", "budget"} <= store[0].keys()
    assert {"input", "unseen", "range", "rate", "budget"} <= classes[0].keys()
    assert shadow[1]["lai"]["values"] > 0
    with netCDF4.Dataset(folder / "history.nc") as file:
        flags = np.concatenate([file[name][:].ravel() for name in file.variables if name.endswith("_flag")])
    assert set(flags.tolist()) >= {0, 1, 2, 3, 4, 6, 7}


@pytest.mark.parametrize("cut", [1, 5, 6, 10, 16, 25])
def test_two_runs_joined_by_a_restart_have_the_bits_of_one(whole: tuple[Path, str], tmp_path: Path, cut: int) -> None:
    config = guarded_run.prepare(tmp_path)
    guarded_run.run(config, 0, cut)
    assert guarded_run.run(config, cut, STEPS - cut) == whole[1]
    assert history(tmp_path) == history(whole[0])
    assert guards(tmp_path) == guards(whole[0])


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_bits_do_not_depend_on_the_ranks(whole: tuple[Path, str], tmp_path: Path, ranks: int) -> None:
    assert mpirun(ranks, guarded_run.prepare(tmp_path), 0, STEPS) == whole[1]
    assert history(tmp_path) == history(whole[0])
    assert guards(tmp_path) == guards(whole[0])


def test_restart_on_another_number_of_ranks_has_the_same_bits(whole: tuple[Path, str], tmp_path: Path) -> None:
    config = guarded_run.prepare(tmp_path)
    mpirun(3, config, 0, 10)
    assert mpirun(2, config, 10, STEPS - 10) == whole[1]
    assert history(tmp_path) == history(whole[0])
    assert guards(tmp_path) == guards(whole[0])
