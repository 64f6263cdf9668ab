# SPDX-License-Identifier: Apache-2.0
"""The runs that are compared: ``program.py FOLDER RUN...``, alone or under mpirun; imported, `take` does one.

FOLDER holds a folder for each subject with a coupling file for each run. A run leaves its answers there, those of every
step and cell, and its history.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coupler_plugin import Coupler

ROWS, COLUMNS = 18, 36  # a global grid of 10 degrees, whose number of cells fills no block
CELLS = ROWS * COLUMNS
STEPS = 24  # hourly
CUTS = (12, 17)  # where windows of 2, 3 and 6 hours end, and inside of them
OUTPUTS = ("lai", "gpp", "reco", "nee", "snw", "mrso", "tsl", "tasmax")


@dataclass(frozen=True)
class Run:
    """A run: its name, how it is spread, and where it begins.

    Attributes
    ----------
    ranks : int
        0: without MPI.
    before : str
        The run whose restart at step `first` it goes on from.
    """

    name: str
    ranks: int = 0
    threads: int = 1
    before: str = ""
    first: int = 0


def weather(ids: np.ndarray, step: int) -> dict[str, np.ndarray]:
    """Return the fields of cells at a step, numbers that every language computes without rounding."""
    return {
        "tas": 263.0 + (7 * ids + 13 * step) % 61 * 0.5,
        "rsds": (11 * ids + 29 * step) % 97 * 4.0,
        "hurs": 20.0 + (5 * ids + 3 * step) % 67,
        "sfcWind": 1.0 + (3 * ids + 17 * step) % 31 * 0.25,
    }


def own_cells(rank: int, size: int) -> np.ndarray:
    """Return the ids of a rank: shuffled, in ragged parts, and none for the last of more than two ranks."""
    ids = np.arange(1, CELLS + 1)
    if size == 1:
        return ids
    owners = max(2, size - 1)
    cuts = [CELLS * part * part // owners**2 for part in range(1, owners)]
    return np.split(np.random.default_rng(7).permutation(ids), cuts)[rank] if rank < owners else ids[:0]


def take(run: Run, folder: Path, comm: Any = None) -> None:
    """Do a run of one subject, and leave `<run>.npy`, shape (steps, outputs, cells), and `<run>.nc`."""
    rank, size = (comm.Get_rank(), comm.Get_size()) if comm else (0, 1)
    if run.before and rank == 0:  # it goes on with a history of its own
        shutil.copy(folder / f"{run.before}.nc", folder / f"{run.name}.nc")
    ids = own_cells(rank, size)
    coupler = Coupler(folder / f"{run.name}.yml", comm=comm, start=f"2001-01-01T{run.first:02d}:00", dt=3600.0)
    place = ids - 1
    coupler.set_cells(ids, (place % COLUMNS + 0.5) * 360 / COLUMNS, -90 + (place // COLUMNS + 0.5) * 180 / ROWS)
    arrays = {name: np.zeros(ids.size) for name in (*weather(ids, 0), *OUTPUTS)}
    for name, array in arrays.items():
        coupler.bind(name, array)
    answers = np.zeros((STEPS - run.first, len(OUTPUTS), ids.size))
    for step in range(run.first, STEPS):
        for name, values in weather(ids, step + 1).items():
            arrays[name][:] = values
        coupler.step()
        answers[step - run.first] = [arrays[name] for name in OUTPUTS]
        if step + 1 in CUTS and not run.before:
            coupler.write_restart()
    assert (coupler.restarted_from is not None) == bool(run.before)
    coupler.finalize()
    parts = comm.gather((place, answers)) if comm else [(place, answers)]
    if rank == 0:
        whole = np.full((STEPS - run.first, len(OUTPUTS), CELLS), np.nan)
        for places, values in parts:
            whole[..., places] = values
        np.save(folder / f"{run.name}.npy", whole)


def main() -> None:
    """Take runs for every subject."""
    comm: Any = None
    runs = [Run(**json.loads(text)) for text in sys.argv[2:]]
    if runs[0].ranks:
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
    for run in runs:
        for folder in sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir()):
            take(run, folder, comm)


def words(run: Run) -> str:
    """Return a run as a word of the command line."""
    return json.dumps(asdict(run))


if __name__ == "__main__":
    main()
