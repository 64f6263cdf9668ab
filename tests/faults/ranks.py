# SPDX-License-Identifier: Apache-2.0
"""Ranks of which one is at fault: ``ranks.py cases FOLDER`` or ``ranks.py killed FOLDER``, under mpirun.

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
from coupler_plugin.errors import explain


class Host:
    """A host of two cells a rank."""

    def __init__(self, folder: Path, comm: Any) -> None:
        self.rank = comm.Get_rank()
        self.coupler = Coupler(folder / "coupling.yml", comm=comm, start="2001-01-01", dt=3600.0)

    def set_up(self) -> Host:
        """Set the cells and bind."""
        ids = 2 * self.rank + np.array([1, 2])
        self.coupler.set_cells(ids, ids * 1.0, ids * 1.0)
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


#: cases, and what rank 1 does in them
CASES: dict[Callable[[Path, Any], None], str] = {
    exception: "raises an exception in a step",
    nan: "gives NaN",
    stays_away_from_set_cells: "does not come to `set_cells`",
    stays_away_from_the_first_step: "does not come to the first step",
}


def main() -> None:
    """Go through the cases, or kill a rank."""
    from mpi4py import MPI

    world, what, folder = MPI.COMM_WORLD, sys.argv[1], Path(sys.argv[2])
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
