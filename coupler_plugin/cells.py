# SPDX-License-Identifier: Apache-2.0
"""The cells of this rank, and the host's arrays over them.

A host may keep its cells in any shape: packed, (i, j) tiles, ragged blocks with unused places. `Cells` knows that
shape and which places hold a cell; `HostArray` moves values between an array of that shape and packed columns.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.layout import Layout
from coupler_plugin.parallel import allgather, together

if TYPE_CHECKING:
    from mpi4py import MPI

Values = NDArray[np.float64]


class Cells:
    """The cells that this rank owns.

    Parameters
    ----------
    ids : integer array of the host's shape
        Global ids, 1-based; 0 marks a place without a cell.
    lon, lat : arrays of the same shape
        Centres [degrees_east, degrees_north].
    area : array of the same shape, optional
        Areas [m2].
    corner_lon, corner_lat : arrays with one more dimension, the last, optional
        Corners [degrees_east, degrees_north] in order around the cell; one with fewer repeats its last.

    Attributes
    ----------
    shape : tuple of int
        Shape of the host's arrays.
    n : int
        Number of cells of this rank.
    ids, lon, lat : arrays, shape (n,)
    area : float64 array, shape (n,), or None
    corner_lon, corner_lat : float64 arrays, shape (n, corners), or None

    Raises
    ------
    CouplerError
        ARRAY for shapes that differ, CELLS for ids or coordinates that cannot be right.
    """

    def __init__(
        self,
        ids: ArrayLike,
        lon: ArrayLike,
        lat: ArrayLike,
        area: ArrayLike | None = None,
        corner_lon: ArrayLike | None = None,
        corner_lat: ArrayLike | None = None,
    ) -> None:
        host_ids = np.asarray(ids)
        if host_ids.dtype.kind not in "iu":
            raise CouplerError(Status.ARRAY, f"set_cells: 'id' is of kind {host_ids.dtype}; give integers.")
        self.shape = host_ids.shape
        if np.any(host_ids < 0):
            raise CouplerError(Status.CELLS, f"set_cells: 'id' has the value {host_ids.min()}; ids start at 1.")
        #: whether a place of the host's arrays holds a cell
        self.mask = host_ids > 0
        self.n = int(np.count_nonzero(self.mask))
        #: places of the cells in the flattened host array; None when every place holds one
        self.places = None if self.n == host_ids.size else np.flatnonzero(self.mask)
        #: addresses of the cells in arrays of some strides, where they lie at no even distance
        self.tables: dict[tuple[int, ...], NDArray[np.int64]] = {}
        self.ids = host_ids[self.mask].astype(np.int64)
        self.lon = self._coordinate("lon", lon, -360.0, 360.0)
        self.lat = self._coordinate("lat", lat, -90.0, 90.0)
        self.area = None if area is None else self._coordinate("area", area, 0.0, np.inf)
        self.corner_lon, self.corner_lat = self._corners(corner_lon, corner_lat)

    @cached_property
    def sin_lat(self) -> Values:
        """Sines of the latitudes, which the sun is asked for at every step; shape (n,)."""
        return np.asarray(np.sin(np.deg2rad(self.lat)))

    @cached_property
    def cos_lat(self) -> Values:
        """Cosines of the latitudes, shape (n,)."""
        return np.asarray(np.cos(np.deg2rad(self.lat)))

    @cached_property
    def tan_lat(self) -> Values:
        """Tangents of the latitudes, shape (n,)."""
        return np.asarray(np.tan(np.deg2rad(self.lat)))

    def _corners(self, lon: ArrayLike | None, lat: ArrayLike | None) -> tuple[Values | None, Values | None]:
        if lon is None and lat is None:
            return None, None
        shapes = [None if part is None else np.shape(part) for part in (lon, lat)]
        shape = shapes[0] or ()
        if shapes[0] != shapes[1] or shape[:-1] != self.shape or shape[-1] < 3:
            raise CouplerError(
                Status.ARRAY,
                f"set_cells: the corners have the shapes {shapes} where 'id' has {self.shape}; give longitudes and "
                "latitudes of at least three corners a cell, in the last dimension.",
            )
        return tuple(np.asarray(part)[self.mask].astype(np.float64) for part in (lon, lat))  # type: ignore[return-value]

    def _coordinate(self, name: str, values: ArrayLike, low: float, high: float) -> Values:
        array = np.asarray(values)
        if array.shape != self.shape:
            raise CouplerError(
                Status.ARRAY,
                f"set_cells: '{name}' has the shape {array.shape[::-1]} (first dimension fastest) where 'id' has "
                f"{self.shape[::-1]}.",
            )
        packed = array[self.mask].astype(np.float64)
        wrong = np.flatnonzero(~((packed >= low) & (packed <= high)))
        if wrong.size:
            raise CouplerError(
                Status.CELLS,
                f"set_cells: '{name}' of cell {self.ids[wrong[0]]} is {packed[wrong[0]]:g}, outside "
                f"[{low:g}, {high:g}]; {wrong.size} cells of this rank are wrong.",
            )
        return packed

    def check_owned_once(self, comm: MPI.Comm | None) -> Cells:
        """Check that no id is given twice, on one rank or on two, and return the cells; a collective call."""
        if comm is not None:
            for what, given in (("area", self.area), ("corners", self.corner_lon)):
                has_it = allgather(comm, given is not None)
                if any(has_it) and not all(has_it):
                    raise CouplerError(
                        Status.CELLS, f"set_cells: '{what}' is given on some ranks only; give it on all or none."
                    )
        together(comm, partial(self._check_unique, self._exchange_ids(comm)))
        return self

    def _exchange_ids(self, comm: MPI.Comm | None) -> NDArray[np.int64]:
        """Return the ids that this rank has to look at: of all ranks, those that are its rank modulo their number."""
        if comm is None:
            return self.ids
        parts = [self.ids[self.ids % comm.Get_size() == rank] for rank in range(comm.Get_size())]
        return np.concatenate(comm.alltoall(parts))

    @staticmethod
    def _check_unique(ids: NDArray[np.int64]) -> None:
        unique, counts = np.unique(ids, return_counts=True)
        if unique.size < ids.size:
            raise CouplerError(
                Status.CELLS,
                f"set_cells: the id {unique[counts > 1][0]} is given to {counts.max()} cells; ids are global and "
                "unique.",
            )


class HostArray:
    """An array of the host that is read or written in place.

    Parameters
    ----------
    name : str
        The field, for errors.
    array : real array
        Of the cells' shape, or with one more dimension of levels at any position. It is kept, never copied.
    cells : Cells

    Attributes
    ----------
    size : int
        Number of levels; 1 for an array of the cells' shape.
    view : array
        The host's memory with the levels last: shape (*cells.shape, size).
    layout : Layout
        Where the cells lie in it.
    memory : str
        Where the array lies, for errors.

    Raises
    ------
    CouplerError
        ARRAY, when the kind or shape does not fit.
    """

    memory: Final = "the host's memory"

    def __init__(self, name: str, array: NDArray[Any], cells: Cells) -> None:
        if not isinstance(array, np.ndarray):  # a number would be copied, and an answer written to the copy
            raise CouplerError(Status.ARRAY, f"bind: '{name}' is no array but {type(array).__name__}; give an array.")
        if array.dtype not in (np.float32, np.float64):
            raise CouplerError(
                Status.ARRAY, f"bind: '{name}' is of kind {array.dtype}; give an array of real32 or real64."
            )
        self._cells = cells
        axis = level_axis(name, array.shape, cells.shape)
        self.view = array[..., np.newaxis] if axis is None else np.moveaxis(array, axis, -1)
        self.size = self.view.shape[-1]
        self.layout = self.lay_out(self.view)

    def lay_out(self, array: NDArray[Any]) -> Layout:
        """Return where the cells lie in an array of the shape of `view`."""
        return Layout(array, self._cells.places, self._cells.tables)

    def pack(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the cells' part, shape (n, size), of a contiguous array in the layout of `view`."""
        flat = array.reshape(-1, self.size)
        return flat if self._cells.places is None else flat[self._cells.places]

    def unpack(self, values: NDArray[Any], array: NDArray[Any]) -> None:
        """Put values of shape (n, size) into the cells' places of an array in the layout of `view`."""
        array[self._cells.mask] = values

    def read(self, values: Values) -> None:
        """Copy the cells' values of the host into `values`, shape (n, size)."""
        self.layout.read(values)

    def write(self, values: Values, which: NDArray[np.bool_] | None = None) -> None:
        """Copy `values`, shape (n, size), into the host's places of the cells (or of those in `which`) and no other."""
        self.layout.write(np.ascontiguousarray(values), which)


class PackedArray:
    """An array whose cells lie side by side already, as a source of accumulators.

    Parameters
    ----------
    view : array, shape (n, size)
        Its memory.

    Attributes
    ----------
    size : int
        Number of levels.
    """

    def __init__(self, view: NDArray[Any]) -> None:
        self.size = view.shape[1]
        self._view = view

    @property
    def view(self) -> NDArray[Any]:
        """The memory, shape (n, size)."""
        return self._view

    def lay_out(self, array: NDArray[Any]) -> Layout:
        """Return where the cells lie in an array of the shape of `view`."""
        return Layout(array, None, {})

    def pack(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return `array` itself: it is packed already."""
        return array

    def unpack(self, values: NDArray[Any], array: NDArray[Any]) -> None:
        """Copy `values` into an array of the same shape."""
        np.copyto(array, values)

    def read(self, values: Values) -> None:
        """Copy the cells' values into `values`, shape (n, size)."""
        np.copyto(values, self.view)


class HeldArray(PackedArray):
    """An array of the plugin's own over the cells of this rank: what an emulator gave last.

    Parameters
    ----------
    n, size : int
        Cells and levels.
    """

    def __init__(self, n: int, size: int) -> None:
        super().__init__(np.full((n, size), np.nan))


def level_axis(name: str, given: tuple[int, ...], shape: tuple[int, ...]) -> int | None:
    """Return the dimension of levels of an array of the shape `given` over cells of `shape`; None: it has none.

    Raises
    ------
    CouplerError
        ARRAY, when there is no such dimension, or more than one.
    """
    if given == shape:
        return None
    axes = [axis for axis in range(len(given)) if given[:axis] + given[axis + 1 :] == shape]
    if len(axes) == 1:
        return axes[0]
    # Host shapes are told as the host wrote them: Fortran order is the reverse of the view's.
    found, wanted = given[::-1], shape[::-1]
    if axes:
        raise CouplerError(
            Status.ARRAY,
            f"bind: '{name}' has the shape {found}, in which the dimension of levels cannot be told from the cells' "
            f"{wanted}; bind slices instead.",
        )
    raise CouplerError(
        Status.ARRAY,
        f"bind: '{name}' has the shape {found} (first dimension fastest), but set_cells gave cells of the shape "
        f"{wanted}; give that shape, or one more dimension of levels.",
    )
