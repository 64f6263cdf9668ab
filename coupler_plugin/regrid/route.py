# SPDX-License-Identifier: Apache-2.0
"""A route carries fields from the cells of one grid to those of another, each spread over the ranks in its own way.

Planned once, from ids alone: a rank gets the links of its own destination cells and learns who owns their sources.
Then, in every call: pack all fields, one exchange, one sparse product over (cells, fields). A row adds its sources in
the order of their ids, whoever owns them, so that every decomposition gives the same bits.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.sparse  # type: ignore[import-untyped]
from numpy.typing import NDArray

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.parallel import allgather, together
from coupler_plugin.regrid.exchange import Exchange
from coupler_plugin.regrid.geometry import Indices, Values
from coupler_plugin.regrid.links import Links
from coupler_plugin.regrid.rendezvous import Directory, Mail
from coupler_plugin.regrid.scatter import scatter_file

if TYPE_CHECKING:
    from mpi4py import MPI

_SMALL = 1e-6  # share of a row's weights that counts as nothing, as in xESMF
_ROUNDING = 1e-9  # what a sum of weights may lack to one


class Route:
    """A planned way from source to destination cells.

    Parameters
    ----------
    src_ids, dst_ids : int64 arrays, shapes (sources of this rank,) and (destinations of this rank,)
        Ids of the cells that this rank owns, in the order of its arrays.
    links : Links or None
        Any part of all links, with ids in `rows` and `cols`; together the ranks give each link once. None when both
        sides have the same grid, and values only change hands.
    comm : mpi4py.MPI.Comm or None
    unowned : "error" or "mask"
        Links from or to cells that no rank owns are an error, or are left out as if the cells were masked.
    least_share : float
        A row of which some sources are left out, or are NaN when `skip_nan` is set, is divided by the share of its
        weights that remains, provided that this share is at least so large; else the destination keeps its value.
        0 renormalises whatever there is, 1 flags every incomplete row.
    skip_nan : bool
        Treat values that are NaN as missing; otherwise they spread.
    of_one : bool
        A row whose weights add up to less than one is incomplete too, as on the rim of a grid.

    Attributes
    ----------
    is_identity : bool
        Sources and destinations are the same cells in the same places: a call returns its argument.
    matrix : scipy.sparse.csr_array, shape (destinations of this rank, cells that this rank needs)
        The weights, without those of sources that are left out.
    mapped : bool array, shape (destinations of this rank,)
        Destinations that get values.
    share : float64 array, shape (destinations of this rank,)
        The part of their weights that is there; 0 where that is too little.
    unmapped : int
        Destinations of all ranks that get none, and keep what the host has.
    dropped : int
        Links of all ranks that were left out because nobody owns one of their ends.

    Raises
    ------
    CouplerError
        CELLS on every rank: cells that are owned twice, or by nobody though `unowned` is "error".
    """

    def __init__(
        self,
        src_ids: Indices,
        dst_ids: Indices,
        links: Links | None,
        *,
        comm: MPI.Comm | None = None,
        unowned: Literal["error", "mask"] = "error",
        least_share: float = 0.0,
        skip_nan: bool = False,
        of_one: bool = False,
    ) -> None:
        self.n_src, self.n_dst = src_ids.size, dst_ids.size
        self._comm, self._skip_nan = comm, skip_nan
        self._least = min(max(least_share, _SMALL), 1.0 - _SMALL)
        sources = Directory(comm, src_ids, "source")
        destinations = Directory(comm, dst_ids, "destination")
        if links is None:
            links = Links(dst_ids, dst_ids, np.ones(dst_ids.size))
        rows, dropped_rows = _own_rows(comm, links, destinations, unowned)
        needed, column = np.unique(rows.cols, return_inverse=True)
        owners, places = sources.find(needed)
        missing = owners < 0
        together(comm, partial(_check_found, needed[missing], "source", unowned))
        given = ~missing[column]
        self.dropped = sum(allgather(comm, dropped_rows + int(np.count_nonzero(~given))))
        self._total = rows.row_sums(self.n_dst)
        if of_one:
            self._total[(self._total > 0.0) & (self._total < 1.0 - _ROUNDING)] = 1.0
        self._exchange = Exchange(comm, owners[~missing], places[~missing], self.n_src)
        slot = np.full(needed.size, -1)
        slot[~missing] = self._exchange.slots
        self.matrix = self._matrix_of(Links(rows.rows, slot[column], rows.values).where(given))
        share = self._share_of(np.ones((self._exchange.size, 1)))[:, 0]
        self.mapped: NDArray[np.bool_] = share >= self._least
        self.share: Values = np.where(self.mapped, share, 0.0)
        self._scale = np.ones(self.n_dst)
        self._scale[self.mapped] = 1.0 / share[self.mapped]
        self._is_scaled = bool(np.any(self._scale != 1.0))
        self.unmapped = sum(allgather(comm, int(np.count_nonzero(~self.mapped))))
        self.is_identity = all(allgather(comm, self._maps_to_itself(src_ids, dst_ids)))

    @classmethod
    def from_file(
        cls,
        path: Path,
        src_ids: Indices,
        dst_ids: Indices,
        *,
        comm: MPI.Comm | None = None,
        unowned: Literal["error", "mask"] = "error",
        least_share: float = 0.0,
        skip_nan: bool = False,
        of_one: bool = False,
    ) -> Route:
        """Return the route of a weight file, which rank 0 reads and hands out in parts; `Route` says more.

        Parameters
        ----------
        path : Path
            A file of `cache.weights_file`, or any that `weight_files` reads.
        """
        links = scatter_file(comm, path)
        return cls(
            src_ids,
            dst_ids,
            links,
            comm=comm,
            unowned=unowned,
            least_share=least_share,
            skip_nan=skip_nan,
            of_one=of_one,
        )

    def __call__(self, values: Values, out: Values | None = None) -> Values:
        """Return the values on the destination cells; a collective call.

        Parameters
        ----------
        values : float64 array, shape (sources, fields)
        out : float64 array, shape (destinations, fields), optional
            Takes the result; destinations that get no value keep what is in it. Without it they are NaN.

        Returns
        -------
        float64 array, shape (destinations, fields)
            `out` if it is given, `values` itself for an identity.

        Raises
        ------
        CouplerError
            ARRAY, when shapes do not fit.
        """
        self._check_shapes(values, out)
        if self.is_identity and not self._skip_nan:
            if out is None:
                return values
            np.copyto(out, values)
            return out
        received = self._exchange(values)
        if self._skip_nan and np.isnan(received).any():
            return self._without_nan(received, out)
        result: Values = self.matrix @ received
        if self._is_scaled:
            result *= self._scale[:, np.newaxis]
        return self._deliver(result, self.mapped[:, np.newaxis], out)

    def largest_share(self, classes: NDArray[np.int64], out: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Return the class that covers the largest share of each destination; a collective call.

        Parameters
        ----------
        classes : int64 array, shape (sources,)
        out : int64 array, shape (destinations,), optional
            Takes the result; destinations that get no value keep what is in it. Without it they are 0.

        Returns
        -------
        int64 array, shape (destinations,)
            Of classes with equal shares the lowest.
        """
        received = self._exchange(classes.astype(np.float64)[:, np.newaxis])[:, 0].astype(np.int64)
        out = np.zeros(self.n_dst, np.int64) if out is None else out
        row = np.repeat(np.arange(self.n_dst), np.diff(self.matrix.indptr))
        shares = Links(row, received[self.matrix.indices], self.matrix.data).merged()
        # By row and falling share; a stable order leaves the lowest class first among equals.
        order = np.lexsort((-shares.values, shares.rows))
        first = order[np.flatnonzero(np.diff(shares.rows[order], prepend=-1))]
        first = first[self.mapped[shares.rows[first]]]
        out[shares.rows[first]] = shares.cols[first]
        return out

    def largest(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the largest value among the sources of each destination, 0 where it has none; a collective call.

        Parameters
        ----------
        values : array, shape (sources, fields)
            Not negative.
        """
        received = self._exchange(values.astype(np.float64))
        found = np.zeros((self.n_dst, values.shape[1]))
        filled = np.flatnonzero(np.diff(self.matrix.indptr))
        if filled.size:
            found[filled] = np.maximum.reduceat(received[self.matrix.indices], self.matrix.indptr[filled])
        return found.astype(values.dtype)

    def imbalance(self, values: Values, src_area: Values, result: Values, dst_area: Values) -> Values:
        """Return how much of the area integral of each field was lost or gained, relative to it; a collective call.

        Parameters
        ----------
        values, result : float64 arrays, shapes (sources, fields) and (destinations, fields)
        src_area, dst_area : float64 arrays, shapes (sources,) and (destinations,)
            Areas of the parts of cells that both grids cover, in the same units.

        Returns
        -------
        float64 array, shape (fields,)
            (integral of `result` over mapped cells - integral of `values`) / integral of |`values`|.
        """
        local = np.stack([src_area @ values, dst_area[self.mapped] @ result[self.mapped], src_area @ np.abs(values)])
        before, after, size = np.sum(allgather(self._comm, local), axis=0)
        change: Values = (after - before) / np.where(size > 0.0, size, 1.0)
        return change

    def free(self) -> None:
        """Give back what MPI keeps for the route, which cannot be used any more; a collective call."""
        self._exchange.free()

    def _matrix_of(self, links: Links) -> scipy.sparse.csr_array:
        """Return links, sorted by row and id, as a matrix that keeps this order within rows."""
        ends = np.cumsum(np.bincount(links.rows, minlength=self.n_dst))
        parts = (links.values, links.cols.astype(np.int32), np.concatenate([[0], ends]).astype(np.int64))
        return scipy.sparse.csr_array(parts, shape=(self.n_dst, self._exchange.size))

    def _share_of(self, present: Values) -> Values:
        """Return, for each row, the share of its weights whose sources are `present` (1 or 0)."""
        total = np.where(self._total != 0.0, self._total, np.inf)
        share: Values = (self.matrix @ present) / total[:, np.newaxis]
        return share

    def _without_nan(self, received: Values, out: Values | None) -> Values:
        present = ~np.isnan(received)
        share = self._share_of(present.astype(np.float64))
        taken = share >= self._least
        result: Values = self.matrix @ np.where(present, received, 0.0)
        # Multiplied, not divided, as where nothing is missing: a row's bits depend on its own sources alone.
        result *= np.divide(1.0, share, out=np.ones_like(share), where=taken)
        return self._deliver(result, taken, out)

    def _deliver(self, result: Values, taken: NDArray[np.bool_], out: Values | None) -> Values:
        """Return `result` where it is `taken`, shape (destinations, 1 or fields), and elsewhere what `out` holds."""
        whole = bool(taken.all())
        if out is not None:
            np.copyto(out, result, where=True if whole else taken)
            return out
        return result if whole else np.where(taken, result, np.nan)

    def _maps_to_itself(self, src_ids: Indices, dst_ids: Indices) -> bool:
        matrix = self.matrix
        return bool(
            np.array_equal(src_ids, dst_ids)
            and matrix.nnz == self.n_dst == self._exchange.size
            and np.all(matrix.data == 1.0)
            and np.array_equal(matrix.indices, np.arange(self.n_dst))
        )

    def _check_shapes(self, values: Values, out: Values | None) -> None:
        for name, array, cells in (("values", values, self.n_src), ("out", out, self.n_dst)):
            if array is not None and (array.ndim != 2 or array.shape[0] != cells or array.dtype != np.float64):
                raise CouplerError(
                    Status.ARRAY,
                    f"route: '{name}' is of kind {array.dtype} and shape {array.shape}; give real64 ({cells}, fields).",
                )


def _own_rows(comm: MPI.Comm | None, links: Links, destinations: Directory, unowned: str) -> tuple[Links, int]:
    """Return the links of this rank's destinations, with their places as rows, in the order of place and source id."""
    distinct, row = np.unique(links.rows, return_inverse=True)
    owners, places = destinations.find(distinct)
    together(comm, partial(_check_found, distinct[owners < 0], "destination", unowned))
    known = owners[row] >= 0
    mail = Mail(comm, owners[row][known])
    columns = (places[row], links.cols, links.values)
    return Links(*(mail.send(column[known]) for column in columns)).sorted(), int(np.count_nonzero(~known))


def _check_found(ids: Indices, what: str, unowned: str) -> None:
    if ids.size and unowned == "error":
        raise CouplerError(
            Status.CELLS,
            f"the {what} cell {ids[0]} has weights, but no rank owns it ({ids.size} such cells were looked for by this "
            "rank); give all cells of the grid, or treat cells that are not there as masked.",
        )
