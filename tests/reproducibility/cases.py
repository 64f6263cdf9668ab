# SPDX-License-Identifier: Apache-2.0
"""The cases of the field (CIME's names), each a run that must have the bits of one run in one piece.

The table of `make reproducibility` and the tests of this folder share them: `Cases` takes each run once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import netCDF4
import numpy as np
import yaml
from bridge.small_hosts import Hosts
from numpy.typing import NDArray
from reproducibility import program
from reproducibility.program import CUTS, OUTPUTS, STEPS, Run
from reproducibility.subjects import SUBJECTS

from coupler_plugin.cli.prefix import native_prefix

PATIENCE = 600  # seconds; runs take a few, but a machine may be busy
WHOLE = Run("whole")
MIDDLE = CUTS[-1]


@dataclass(frozen=True)
class Case:
    """What is tested, in the field's name for it and in words, and the run that tests it."""

    test: str
    what: str
    run: Run


CASES = [
    *(
        Case("ERS", f"restart {where}", Run(f"ers-{cut}", before="whole", first=cut))
        for cut, where in zip(CUTS, ("at the end of a window", "inside of windows"), strict=True)
    ),
    *(Case("PEM", f"{ranks} rank{'s' * (ranks > 1)}", Run(f"pem-{ranks}", ranks)) for ranks in (1, 2, 3, 4)),
    *(
        Case("ERP", f"restart, {start} then {ranks} ranks", Run(f"erp-{ranks}", ranks, 1, f"pem-{start}", MIDDLE))
        for start, ranks in ((1, 2), (2, 3), (3, 4))
    ),
    Case("ERP", "restart, 4 ranks then no MPI", Run("erp-0", 0, 1, "pem-4", MIDDLE)),
    Case("PET", "2 threads", Run("pet-2", threads=2)),
    Case("DEBUG", "a Fortran host, traps on", Run("debug")),
]


class Cases:
    """Takes the runs of all subjects in a folder, and compares them.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def missing(self, case: Case) -> str:
        """Return what this machine lacks for a case, or nothing."""
        needed = (
            {"gfortran"} if case.test == "DEBUG" else {"mpirun"} if "pem" in case.run.name + case.run.before else ()
        )
        lacking = [tool for tool in needed if shutil.which(tool) is None]
        if "mpirun" in needed and find_spec("mpi4py") is None:
            lacking.append("mpi4py")
        return " and ".join(lacking)

    def differing_bits(self, subject: str, case: Case) -> int:
        """Return how many bits of the answers and the history of a case differ from those of the whole run."""
        folder = self._prepared / subject
        for run in (WHOLE, *(other.run for other in CASES if other.run.name == case.run.before), case.run):
            self._take(run)
        answers = [np.load(folder / f"{run.name}.npy") for run in (WHOLE, case.run)]
        bits = count(answers[0][case.run.first :], answers[1])
        histories = [_variables(folder / f"{run.name}.nc") for run in (WHOLE, case.run)]
        assert histories[0].keys() == histories[1].keys()
        return bits + sum(count(values, histories[1][name]) for name, values in histories[0].items())

    def answers(self, subject: str) -> NDArray[np.float64]:
        """Return the answers of the whole run of a subject, shape (steps, outputs, cells)."""
        folder = self._prepared / subject
        self._take(WHOLE)
        whole: NDArray[np.float64] = np.load(folder / "whole.npy")
        return whole

    @cached_property
    def _prepared(self) -> Path:
        """The folder, with emulators and coupling files."""
        for name, subject in SUBJECTS.items():
            folder = self._folder / name
            folder.mkdir(parents=True)
            sections = subject.write(folder)
            for run in (WHOLE, *(case.run for case in CASES)):
                content = {
                    **sections,
                    "threads": run.threads,
                    "history": {"file": f"{run.name}.nc", "fields": ["tas", *subject.computes], "every": "6h"},
                    "restart": {"dir": f"restart-{run.before or run.name}", "keep": 9},
                }
                (folder / f"{run.name}.yml").write_text(yaml.safe_dump(content))
        return self._folder

    def _take(self, run: Run) -> None:
        """Take a run for all subjects, unless it was taken already."""
        folders = [self._prepared / subject for subject in SUBJECTS]
        if (folders[-1] / f"{run.name}.npy").exists():
            return
        if run.name == "debug":
            self._take_in_fortran(folders)
        elif run.ranks:
            # Starting ranks is what takes time: those of one number take all their runs at once.
            runs = [case.run for case in CASES if case.run.ranks == run.ranks]
            for before in {one.before for one in runs if one.before}:
                self._take(next(case.run for case in CASES if case.run.name == before))
            start(run.ranks, self._prepared, runs)
        elif run.threads > 1:
            start(0, self._prepared, [run], OMP_WAIT_POLICY="passive")  # threads that spin would take a busy machine
        else:
            for folder in folders:
                program.take(run, folder)

    def _take_in_fortran(self, folders: list[Path]) -> None:
        hosts = Hosts(self._folder.parent, native_prefix())
        host = hosts.compile("reproducible.f90", "-g", "-fcheck=all", "-ffpe-trap=invalid,zero,overflow")
        for folder in folders:
            grid = (str(number) for number in (program.ROWS, program.COLUMNS, STEPS))
            hosts.run(host, "debug.yml", "debug.bin", *grid, cwd=folder)
            answers = np.fromfile(folder / "debug.bin").reshape(STEPS, len(OUTPUTS), -1)
            np.save(folder / "debug.npy", answers)


def start(ranks: int, folder: Path, runs: list[Run], **environment: str) -> None:
    """Take runs on some ranks, or without MPI, in processes of their own."""
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMP_NUM_THREADS": "1"}
    patient = {"OMPI_MCA_mpi_yield_when_idle": "1"}
    launcher = ["mpirun", "--oversubscribe", "-n", str(ranks)] if ranks else []
    command = [*launcher, sys.executable, program.__file__, str(folder), *map(program.words, runs)]
    whole = {**os.environ, **root, **patient, **environment}
    done = subprocess.run(command, env=whole, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(f"{ranks} ranks failed:\n{done.stdout}{done.stderr}")


def count(one: NDArray[np.float64], other: NDArray[np.float64]) -> int:
    """Return how many bits of two arrays of one shape and kind differ."""
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    differing = np.ascontiguousarray(one).view(np.uint8) ^ np.ascontiguousarray(other).view(np.uint8)
    return int(np.unpackbits(differing).sum())


def _variables(path: Path) -> dict[str, NDArray[np.float64]]:
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        return {name: np.atleast_1d(variable[:]) for name, variable in file.variables.items()}
