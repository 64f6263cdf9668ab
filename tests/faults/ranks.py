# SPDX-License-Identifier: Apache-2.0
"""Ranks of which one is at fault: ``ranks.py cases|alone|killed FOLDER``, under mpirun.

Each rank writes what it saw in each case to ``rank<r>.json``. All ranks live on to the next case.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from coupler_plugin import Coupler, CouplerError
from coupler_plugin.emulator import planning
from coupler_plugin.errors import explain


class Host:
    """A host of two cells a rank."""

    def __init__(self, folder: Path, comm: Any, config: str = "coupling.yml") -> None:
        self.rank = comm.Get_rank()
        self.coupler = Coupler(folder / config, comm=comm, start="2001-01-01", dt=3600.0)

    def set_up(self, first: float = 1.0, apart: float = 1.0, lat: float | None = None) -> Host:
        """Set the cells, on a line from the longitude `first`, and bind."""
        ids = 2 * self.rank + np.array([1, 2])
        lon = first + apart * (ids - 1)
        self.coupler.set_cells(ids, lon, lon if lat is None else np.full(2, lat))
        self.tas = np.full(2, 280.0)
        self.coupler.bind("tas", self.tas)
        self.coupler.bind("lai", np.zeros(2))
        return self


def exception(folder: Path, comm: Any) -> None:
    """An error in the plugin or below it, of one rank."""
    host = Host(folder, comm).set_up()
    host.coupler.step()
    if host.rank == 1:
        host.coupler.emulators[0].run = lambda *arguments: 1 // 0  # type: ignore[method-assign]
    host.coupler.step()


def nan(folder: Path, comm: Any) -> None:
    """A value of one rank that cannot be."""
    host = Host(folder, comm).set_up()
    host.tas[1] = np.nan if host.rank == 1 else 280.0
    host.coupler.step()


def stays_away_from_set_cells(folder: Path, comm: Any) -> None:
    """A rank that never comes to set_cells."""
    host = Host(folder, comm)
    if host.rank != 1:
        host.set_up()


def stays_away_from_the_first_step(folder: Path, comm: Any) -> None:
    """A rank that never comes to the first step."""
    host = Host(folder, comm).set_up()
    if host.rank != 1:
        host.coupler.step()


def cell_elsewhere(folder: Path, comm: Any) -> None:
    """Cells of one rank that are not where the grid of all has them."""
    host = Host(folder, comm, "own_grid.yml")
    host.set_up(15.0, 30.0, lat=-75.0 + 5.0 * (host.rank == 1))
    host.coupler.step()


def fails_alone(folder: Path, comm: Any) -> None:
    """A rank that runs out of memory between two collective calls, where the others cannot be told."""
    host = Host(folder, comm, "own_grid.yml").set_up(15.0, 30.0, lat=-75.0)
    if host.rank == 1:
        planning.active_ids = _no_memory
    host.coupler.step()


def _no_memory(*arguments: Any) -> Any:
    raise MemoryError("Unable to allocate 80 GiB")


#: cases, and what rank 1 does in them
CASES: dict[Callable[[Path, Any], None], str] = {
    exception: "raises an exception in a step",
    nan: "gives NaN",
    cell_elsewhere: "has its cells elsewhere than `regrid: host_grid:`",
    stays_away_from_set_cells: "does not come to `set_cells`",
    stays_away_from_the_first_step: "does not come to the first step",
}


def main() -> None:
    """Go through the cases, or to the end of the job."""
    from mpi4py import MPI

    world, what, folder = MPI.COMM_WORLD, sys.argv[1], Path(sys.argv[2])
    if what == "alone":
        fails_alone(folder, world)
        os._exit(77)
    if what == "killed":
        host = Host(folder, world).set_up()
        host.coupler.step()
        if host.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        host.coupler.step()
        os._exit(77)
    seen = {}
    for case in CASES:
        own = world.Dup()  # after a meeting that failed, a communicator is of no use
        try:
            case(folder, own)
            seen[case.__name__] = ["OK", ""]
        except (CouplerError, ArithmeticError) as error:
            status, sentence = explain(error)
            seen[case.__name__] = [status.name, sentence]
        world.Barrier()
    (folder / f"rank{world.Get_rank()}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main()
