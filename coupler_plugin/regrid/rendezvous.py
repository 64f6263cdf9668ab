# SPDX-License-Identifier: Apache-2.0
"""Who owns which cell, found out without any rank knowing all cells.

Every id has a home rank, its remainder by the number of ranks. Owners tell the homes what they own; whoever looks for
a cell asks its home. Each rank holds its own ids and those that it is the home of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.parallel import size_of, together
from coupler_plugin.regrid.geometry import Indices

if TYPE_CHECKING:
    from mpi4py import MPI


class Mail:
    """Sends rows of arrays to the ranks that are named for them, and answers back.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or None
    ranks : int array, shape (n,)
        Where each row goes. A collective call.

    Attributes
    ----------
    senders : int64 array, shape (received,)
        The rank that sent each row.
    """

    def __init__(self, comm: MPI.Comm | None, ranks: Indices) -> None:
        self._comm = comm
        size = size_of(comm)
        self._order = np.argsort(ranks, kind="stable")
        self._sent = np.bincount(ranks, minlength=size).astype(np.int64)
        self._received = self._sent.copy()
        if comm is not None:
            comm.Alltoall(self._sent, self._received)
        self.senders: Indices = np.repeat(np.arange(size), self._received)

    def send(self, column: NDArray[Any]) -> NDArray[Any]:
        """Return the rows that all ranks sent here, in the order of ranks and of their rows."""
        return self._exchange(column[self._order], self._sent, self._received)

    def answer(self, column: NDArray[Any]) -> NDArray[Any]:
        """Return, for each row that was sent, what its receiver says to it; `column` answers to `send`'s rows."""
        back = self._exchange(column, self._received, self._sent)
        answers = np.empty_like(back)
        answers[self._order] = back
        return answers

    def _exchange(self, column: NDArray[Any], sent: Indices, received: Indices) -> NDArray[Any]:
        if self._comm is None:
            return column
        result = np.empty(int(received.sum()), column.dtype)
        self._comm.Alltoallv([np.ascontiguousarray(column), sent], [result, received])
        return result


class Directory:
    """Knows for every id its owner and its place there.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or None
    ids : int64 array, shape (cells of this rank,)
        Ids of the cells that this rank owns, in the order of its arrays. A collective call.
    what : str
        What errors call the cells.

    Raises
    ------
    CouplerError
        CELLS on every rank, when an id is below 1 or is owned twice.
    """

    def __init__(self, comm: MPI.Comm | None, ids: Indices, what: str) -> None:
        self._comm = comm
        self._size = size_of(comm)
        together(comm, lambda: _check_ids(ids, what))
        mail = Mail(comm, ids % self._size)
        known, places = mail.send(ids), mail.send(np.arange(ids.size))
        order = np.argsort(known, kind="stable")
        self._ids, self._places, self._owners = known[order], places[order], mail.senders[order]
        together(comm, lambda: self._check_owned_once(what))

    def find(self, ids: Indices) -> tuple[Indices, Indices]:
        """Return the owner of each id, -1 where nobody owns it, and its place there. A collective call."""
        mail = Mail(self._comm, ids % self._size)
        asked = mail.send(ids)
        if not self._ids.size:
            nobody = np.full(asked.size, -1)
            return mail.answer(nobody), mail.answer(nobody)
        near = np.minimum(np.searchsorted(self._ids, asked), self._ids.size - 1)
        known = self._ids[near] == asked
        return (
            mail.answer(np.where(known, self._owners[near], -1)),
            mail.answer(np.where(known, self._places[near], -1)),
        )

    def _check_owned_once(self, what: str) -> None:
        twice = np.flatnonzero(self._ids[1:] == self._ids[:-1])
        if twice.size:
            first = twice[0]
            raise CouplerError(
                Status.CELLS,
                f"the {what} cell {self._ids[first]} is owned twice, by the ranks {self._owners[first]} and "
                f"{self._owners[first + 1]} ({twice.size} cells are); a cell has one owner.",
            )


def _check_ids(ids: Indices, what: str) -> None:
    if ids.size and ids.min() < 1:
        raise CouplerError(Status.CELLS, f"a {what} cell has the id {ids.min()}; ids start at 1.")
