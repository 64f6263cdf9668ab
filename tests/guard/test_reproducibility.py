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
CUT = 10  #: where another number of ranks goes on
HERE = Path(__file__).parent
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


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


#: a run: ranks, folder, first step, steps
RUNS = [
    *((ranks, f"ranks{ranks}", 0, STEPS) for ranks in (1, 2, 3)),
    (3, "joined", 0, CUT),
    (2, "joined", CUT, STEPS - CUT),
]


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Return for each folder of `RUNS` where it is, and the hash of its last run; one job takes them all."""
    if shutil.which("mpirun") is None or find_spec("mpi4py") is None:
        pytest.skip("needs mpirun and mpi4py")
    folders = {name: tmp_path_factory.mktemp(name) for _, name, _, _ in RUNS}
    configs = {name: str(guarded_run.prepare(folder)) for name, folder in folders.items()}
    runs = json.dumps([[ranks, configs[name], first, steps] for ranks, name, first, steps in RUNS])
    command = ["mpirun", "-n", "3", sys.executable, guarded_run.__file__, runs]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    hashes = done.stdout.split()
    assert len(hashes) == len(RUNS)
    return {name: (folders[name], found) for (_, name, _, _), found in zip(RUNS, hashes, strict=True)}


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


@pytest.mark.parametrize("name", ["ranks1", "ranks2", "ranks3", "joined"])
def test_bits_do_not_depend_on_the_ranks_nor_on_those_before_a_restart(
    whole: tuple[Path, str], ranked: dict[str, tuple[Path, str]], name: str
) -> None:
    folder, found = ranked[name]
    assert found == whole[1]
    assert history(folder) == history(whole[0])
    assert guards(folder) == guards(whole[0])
