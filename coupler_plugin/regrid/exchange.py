# SPDX-License-Identifier: Apache-2.0
"""The exchange of a route: brings the values of the cells that this rank needs from their owners, in one call of MPI.

Ranks talk to those alone from which they need cells, or which need theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.parallel import allgather, rank_of
from coupler_plugin.regrid.geometry import Indices, Values
from coupler_plugin.regrid.rendezvous import Mail

if TYPE_CHECKING:
    from mpi4py import MPI


class Exchange:
    """A planned exchange.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or None
    owners, places : int64 arrays, shape (needed,)
        Who owns each cell that this rank needs, and its place there.
    n : int
        Cells that this rank owns.

    Attributes
    ----------
    size : int
        Rows that a call returns.
    slots : int64 array, shape (needed,)
        The row of each needed cell among them.
    """

    def __init__(self, comm: MPI.Comm | None, owners: Indices, places: Indices, n: int) -> None:
        self._comm = comm
        self._buffers: dict[int, tuple[Values, Values]] = {}
        rank = rank_of(comm)
        local = owners == rank
        self._is_local = all(allgather(comm, bool(local.all())))
        if self._is_local:
            # No copy at all: rows are the caller's own.
            self.size, self.slots = n, places
            return
        # First the cells that are here, then those of each other rank in turn.
        order = np.concatenate([np.flatnonzero(local), _by_rank(owners, ~local)])
        self.size = owners.size
        self.slots = np.empty(owners.size, np.int64)
        self.slots[order] = np.arange(owners.size)
        self._local = places[local]
        mail = Mail(comm, owners[~local])
        self._packed = mail.send(places[~local])
        sources, self._receive_counts = np.unique(owners[~local], return_counts=True)
        targets, self._send_counts = np.unique(mail.senders, return_counts=True)
        self._neighbours = cast("MPI.Intracomm", comm).Create_dist_graph_adjacent(sources.tolist(), targets.tolist())

    def __call__(self, values: Values) -> Values:
        """Return the values, shape (size, fields), of the cells that this rank needs; a collective call.

        The result is the argument itself, or a buffer that the next call with as many fields writes again.
        """
        if self._is_local:
            return values
        fields = values.shape[1]
        packed, received = self._buffers_of(fields)
        np.take(values, self._packed, axis=0, out=packed)
        np.take(values, self._local, axis=0, out=received[: self._local.size])
        self._neighbours.Neighbor_alltoallv(
            [packed, self._send_counts * fields], [received[self._local.size :], self._receive_counts * fields]
        )
        return received

    def free(self) -> None:
        """Give back what MPI keeps for the exchange, which cannot be used any more; a collective call."""
        if not self._is_local:
            self._neighbours.Free()

    def _buffers_of(self, fields: int) -> tuple[Values, Values]:
        """Return buffers for packing and receiving, made in the first call with so many fields."""
        if fields not in self._buffers:
            self._buffers[fields] = (np.empty((self._packed.size, fields)), np.empty((self.size, fields)))
        return self._buffers[fields]


def _by_rank(owners: Indices, remote: NDArray[np.bool_]) -> Indices:
    places = np.flatnonzero(remote)
    return places[np.argsort(owners[places], kind="stable")]
