# SPDX-License-Identifier: Apache-2.0
"""Hands what rank 0 reads out to the ranks, in equal parts, one after another: no rank gets what it does not need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.parallel import rank_of, size_of, together
from coupler_plugin.regrid.geometry import Indices
from coupler_plugin.regrid.links import Links
from coupler_plugin.regrid.rendezvous import Directory, Mail
from coupler_plugin.regrid.weight_files import WeightFile

if TYPE_CHECKING:
    from mpi4py import MPI


def scatter_file(comm: MPI.Comm | None, path: Path) -> Links:
    """Return this rank's part of the links of a file, with the ids of cells as rows and columns; a collective call.

    Raises
    ------
    CouplerError
        IO on every rank, when the file cannot be read or is damaged.
    """
    opened = together(comm, partial(_open, path) if rank_of(comm) == 0 else lambda: None)
    if opened is None:
        assert comm is not None
        part: Links = comm.recv(source=0)
        together(comm, lambda: None)
        return part
    file, dst_ids, src_ids = opened
    with file:
        error: Exception | None = None
        slabs = file.slabs(max(1, -(-file.n // size_of(comm))))
        for rank in range(size_of(comm)):
            part = Links.none()
            try:
                part = _with_ids(next(slabs, part), dst_ids, src_ids)
            except Exception as caught:
                # The other ranks wait for a part each; that there is an error they learn together, below.
                error, slabs = caught, iter(())
            if rank == 0:
                own = part
            else:
                assert comm is not None
                comm.send(part, dest=rank)
        together(comm, partial(_finish, slabs, error))
        return own


def values_of(
    comm: MPI.Comm | None, known: Sequence[NDArray[Any]] | None, ids: Indices, what: str
) -> list[NDArray[Any]]:
    """Return the values of this rank's cells, of arrays that rank 0 has; a collective call.

    Each rank gets an equal part of the arrays, from which it answers whoever asks: rank 0 hears of nobody's ids.

    Parameters
    ----------
    known : sequence of arrays, shape (cells,), on rank 0
        The ids of all cells, and their values.
    ids : int64 array
        The cells that this rank asks for.
    what : str
        What errors call the cells.

    Raises
    ------
    CouplerError
        CELLS on every rank, for a cell that is not known.
    """
    if comm is None or known is not None:
        assert known is not None
        ends = np.linspace(0, len(known[0]), size_of(comm) + 1).astype(int)
        part = [values[: ends[1]] for values in known]
        for rank in range(1, size_of(comm)):
            assert comm is not None
            comm.send([values[ends[rank] : ends[rank + 1]] for values in known], dest=rank)
    else:
        part = comm.recv(source=0)
    owners, places = Directory(comm, part[0], what).find(ids)
    together(comm, partial(_check_known, ids[owners < 0], what))
    mail = Mail(comm, owners)
    asked = mail.send(places)
    return [mail.answer(values[asked]) for values in part[1:]]


def _check_known(missing: Indices, what: str) -> None:
    if missing.size:
        raise CouplerError(Status.CELLS, f"the {what} has no cell {missing[0]} ({missing.size} of this rank's).")


def _open(path: Path) -> tuple[WeightFile, Indices | None, Indices | None]:
    """Return the file and the ids of its destinations and sources."""
    file = WeightFile(path)
    return file, file.ids("b"), file.ids("a")


def _with_ids(links: Links, dst_ids: Indices | None, src_ids: Indices | None) -> Links:
    """Return links between places, counted from 0, as links between ids."""
    return Links(
        links.rows + 1 if dst_ids is None else dst_ids[links.rows],
        links.cols + 1 if src_ids is None else src_ids[links.cols],
        links.values,
    )


def _finish(slabs: Iterator[Links], error: Exception | None) -> None:
    """Let the file check its sum after the last part, and raise what went wrong before."""
    if error is not None:
        raise error
    for _ in slabs:
        pass
