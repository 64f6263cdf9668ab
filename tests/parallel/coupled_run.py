# SPDX-License-Identifier: Apache-2.0
"""Coupled runs for the tests of this folder, alone or under mpirun: ``coupled_run.py FOLDER``.

FOLDER holds the coupling files. Each rank writes what it saw to ``rank<r>of<n>.json`` there: the answers of its cells,
and for each mistake of `MISTAKES` the status and the sentence of the error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gathered
import numpy as np
import own_grids

from coupler_plugin import Coupler, CouplerError
from coupler_plugin.parallel import together

CELLS = 53
STEPS = 30  # hourly
FIELDS = ("lai", "gpp", "reco", "nee", "snw")


def own_cells(rank: int, size: int) -> np.ndarray:
    """Return the ids of a rank: shuffled, in ragged parts, and none for the last of several ranks but two."""
    ids = np.random.default_rng(7).permutation(np.arange(1, CELLS + 1))
    owners = size - 1 if size > 2 else size
    return np.array_split(ids, np.linspace(0, CELLS, owners + 1).astype(int)[1:-1])[rank] if rank < owners else ids[:0]


def weather(ids: np.ndarray, step: int) -> dict[str, np.ndarray]:
    """Return the fields of cells at a step, which depend on nothing else."""
    phase = 0.7 * ids + 0.26 * step
    return {
        "tas": 285.0 + 15.0 * np.sin(phase),
        "rsds": 300.0 + 290.0 * np.cos(phase),
        "hurs": 60.0 + 30.0 * np.sin(2.0 * phase),
        "sfcWind": 5.0 + 4.0 * np.cos(3.0 * phase),
    }


class Host:
    """A host whose last place holds no cell."""

    def __init__(self, file: Path, comm: Any, ids: np.ndarray | None = None, leave_out: str = "") -> None:
        rank, size = (comm.Get_rank(), comm.Get_size()) if comm else (0, 1)
        self.ids = own_cells(rank, size) if ids is None else ids
        self.coupler = Coupler(file, comm=comm, start="2001-01-01", dt=3600.0)
        places = np.append(self.ids, 0)
        self.coupler.set_cells(places, places % 360.0, np.minimum(places, 90.0), places * 1.0e9)
        names = [*weather(places, 0), *FIELDS]
        self.arrays = {name: np.full(places.size, -1.0) for name in names}
        for name, array in self.arrays.items():
            if name != leave_out:
                self.coupler.bind(name, array)
        self.steps = 0

    def step(self) -> None:
        for name, values in weather(np.append(self.ids, 0), self.steps).items():
            self.arrays[name][:] = values
        self.steps += 1
        self.coupler.step()

    def answers(self) -> list[list[str]]:
        """Return the bits of the answers of each cell."""
        return [[float(self.arrays[name][place]).hex() for name in FIELDS] for place in range(self.ids.size)]


def run(folder: Path, comm: Any = None) -> dict[str, Any]:
    """Run to the end and return the answers of every third step by id."""
    host = Host(folder / "coupling.yml", comm)
    answers: dict[str, list[Any]] = {str(i): [] for i in host.ids}
    for _ in range(STEPS):
        host.step()
        if host.steps % 3 == 0:
            for i, bits in zip(host.ids, host.answers(), strict=True):
                answers[str(i)].append(bits)
    host.coupler.finalize()
    untouched = all(host.arrays[name][-1] == -1.0 for name in FIELDS)
    return {"answers": answers, "untouched": untouched}


def run_all(folder: Path, comm: Any = None) -> dict[str, Any]:
    """Run all hosts, on cells and on grids of their own."""
    return {**run(folder, comm), "own_grids": own_grids.run(folder, comm), "gathered": gathered.run(folder, comm)}


# --- mistakes of one rank -------------------------------------------------------------------------------------


def id_of_two_ranks(folder: Path, comm: Any) -> None:
    Host(folder / "mistakes.yml", comm, np.array([7, 10 + comm.Get_rank()]))


def id_that_is_negative(folder: Path, comm: Any) -> None:
    Host(folder / "mistakes.yml", comm, np.array([-7 if comm.Get_rank() == 1 else 10 + comm.Get_rank()]))


def area_of_some_ranks(folder: Path, comm: Any) -> None:
    coupler = Coupler(folder / "mistakes.yml", comm=comm, start="2001-01-01", dt=3600.0)
    ids = np.array([1 + comm.Get_rank()])
    coupler.set_cells(ids, ids * 1.0, ids * 1.0, ids * 1.0 if comm.Get_rank() == 1 else None)


def field_that_one_rank_forgets(folder: Path, comm: Any) -> None:
    Host(folder / "mistakes.yml", comm, leave_out="tas" if comm.Get_rank() == 1 else "").step()


def nan_of_one_rank(folder: Path, comm: Any) -> None:
    host = Host(folder / "mistakes.yml", comm)
    host.arrays["tas"][0] = np.nan
    host.arrays = {**host.arrays, **({"tas": np.empty(host.ids.size + 1)} if comm.Get_rank() == 1 else {})}
    try:
        for _ in range(6):
            host.step()
    finally:
        host.coupler.finalize()  # a host that goes on to the end does not hang there


def emulator_that_is_missing(folder: Path, comm: Any) -> None:
    Coupler(folder / "no_model.yml", comm=comm, start="2001-01-01", dt=3600.0)


def coupling_file_that_is_missing(folder: Path, comm: Any) -> None:
    Coupler(folder / "nowhere.yml", comm=comm, start="2001-01-01", dt=3600.0)


def files_that_only_rank_0_sees(folder: Path, comm: Any) -> None:
    Host(folder / ("" if comm.Get_rank() == 0 else "elsewhere") / "mistakes.yml", comm).step()


def history_that_cannot_be_written(folder: Path, comm: Any) -> None:
    Host(folder / "no_history.yml", comm).step()


def exception_of_one_rank(folder: Path, comm: Any) -> None:
    together(comm, lambda: 1 // (comm.Get_rank() - 1))


MISTAKES: list[Callable[[Path, Any], None]] = [
    id_of_two_ranks,
    id_that_is_negative,
    area_of_some_ranks,
    field_that_one_rank_forgets,
    nan_of_one_rank,
    emulator_that_is_missing,
    coupling_file_that_is_missing,
    history_that_cannot_be_written,
    exception_of_one_rank,
    files_that_only_rank_0_sees,
]


def error_of(mistake: Callable[[Path, Any], None], folder: Path, comm: Any) -> tuple[str, str]:
    try:
        mistake(folder, comm)
    except CouplerError as error:
        return error.status.name, str(error)
    except Exception as error:
        return type(error).__name__, str(error)
    return "OK", ""


def main() -> None:
    from mpi4py import MPI

    comm, folder = MPI.COMM_WORLD, Path(sys.argv[1])
    seen = run_all(folder, comm)
    if comm.Get_size() > 1:
        seen["errors"] = {mistake.__name__: error_of(mistake, folder, comm) for mistake in MISTAKES}
    (folder / f"rank{comm.Get_rank()}of{comm.Get_size()}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main()
