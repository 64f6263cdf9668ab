# SPDX-License-Identifier: Apache-2.0
"""One coupled run on each number of ranks, whose results the tests of this folder share."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import coupled_run
import gathered
import own_grids
import pytest
import yaml
from small_emulators import Store, field, write, write_carbon, write_mlp

ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(Path(__file__).parents[1]),  # of small_emulators
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
PATIENCE = 240  # seconds; a run takes a few, but a machine may be busy


@dataclass
class Result:
    """What a run left behind: what each rank saw, and the folder with its files."""

    ranks: list[dict[str, Any]]
    folder: Path

    @property
    def answers(self) -> dict[str, Any]:
        """The answers of all cells by id."""
        return {i: bits for rank in self.ranks for i, bits in rank["answers"].items()}

    def gathered(self, run: str) -> dict[str, Any]:
        """The answers of all cells by id where one rank runs for all: in a `whole` run, a `first` or `second` part."""
        return {i: bits for rank in self.ranks for i, bits in rank["gathered"][run].items()}

    def on_own_grids(self, run: str) -> dict[str, Any]:
        """The answers of emulators on grids of their own, of all cells by id: in a `whole` run, or in two `parts`."""
        return {i: bits for rank in self.ranks for i, bits in rank["own_grids"][run].items()}


def prepare(folder: Path) -> Path:
    """Write emulators and coupling files."""
    state = [{"name": "store", "size": 1, "initial": 2.0}]
    models = [
        {"model": str(write_mlp(folder / "mlp.pt")), "block": 16},
        {"model": str(write_carbon(folder / "carbon.pt", length=4, every="3h"))},
        {"model": str(write(folder / "store.pt", Store(0.9), [field("lai", "1")], [field("snw", "mm")], state=state))},
    ]
    for model in models:
        model["guard"] = {"input": "off"}  # numbers that differ in every cell, not weather
    history = {"file": "history.nc", "fields": ["nee", "lai", "tas", "snw"], "every": "6h"}
    record = {"file": "cube.nc", "every": "3h", "fraction": 0.6}
    files = {
        "coupling.yml": {"emulators": models, "history": history, "record": record, "report": "report.json"},
        "mistakes.yml": {"emulators": models, "history": {**history, "file": "mistakes.nc"}},
        "no_model.yml": {"emulators": [{"model": "nowhere.pt"}]},
        "no_history.yml": {"emulators": models, "history": {**history, "file": "coupling.yml/history.nc"}},
    }
    for name, content in files.items():
        (folder / name).write_text(yaml.safe_dump(content))
    own_grids.prepare(folder)
    gathered.prepare(folder)
    return folder


def mpirun(ranks: int, folder: Path) -> None:
    """Run the program; a run that hangs is ended and is a failure."""
    command = ["mpirun", "-n", str(ranks), sys.executable, coupled_run.__file__, str(folder)]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            output, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"{ranks} ranks hang")
    assert process.returncode == 0, output


@pytest.fixture(scope="session")
def result(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Result]:
    """Return a function that gives the result on a number of ranks; 0: in this process, without MPI."""

    @cache
    def on(ranks: int) -> Result:
        folder = prepare(tmp_path_factory.mktemp(f"ranks{ranks}"))
        if ranks == 0:
            return Result([coupled_run.run_all(folder)], folder)
        if shutil.which("mpirun") is None or find_spec("mpi4py") is None:
            pytest.skip("needs mpirun and mpi4py")
        mpirun(ranks, folder)
        texts = [(folder / f"rank{rank}of{ranks}.json").read_text() for rank in range(ranks)]
        return Result([json.loads(text) for text in texts], folder)

    return on
