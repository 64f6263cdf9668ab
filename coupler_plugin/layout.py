# SPDX-License-Identifier: Apache-2.0
"""Where the numbers of an array over the cells lie in memory, as the native loops of a step take it.

A host's array may have any strides and places without a cell. What all cells have in common is found once, when the
array is bound: most lie at one distance from the next, and need no table of addresses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coupler_plugin._native import ffi, lib


class Layout:
    """Memory of an array over the cells; `struct` describes it to native/packing.h.

    Parameters
    ----------
    view : float32 or float64 array, shape (*cells, levels)
        The memory, of any strides; kept.
    places : int array, or None
        Places of the cells in the flattened dimensions of the cells; None when every place holds one.
    tables : dict
        Tables of addresses by strides, which arrays over the same cells share.
    """

    def __init__(
        self,
        view: NDArray[Any],
        places: NDArray[np.intp] | None,
        tables: dict[tuple[int, ...], NDArray[np.int64]],
    ) -> None:
        offset = _offsets(view.shape[:-1], view.strides[:-1])
        if places is not None:
            offset = offset[places]
        self.n, self.levels = offset.size, view.shape[-1]
        first = int(offset[0]) if self.n else 0
        stride = int(offset[1]) - first if self.n > 1 else 0
        is_even = bool(np.all(np.diff(offset) == stride))
        if not is_even:
            offset = tables.setdefault(view.strides[:-1], offset)
        #: what `struct` points to
        self._kept = (view, None if is_even else offset)
        self.struct = ffi.new(
            "packing_array *",
            {
                "first": ffi.cast("char *", view.__array_interface__["data"][0] + (first if is_even else 0)),
                "offset": ffi.NULL if is_even else ffi.from_buffer("int64_t[]", offset),
                "stride": stride,
                "level": view.strides[-1],
                "is_double": view.dtype == np.float64,
            },
        )

    def read(self, values: NDArray[np.float64]) -> None:
        """Copy the cells' values into `values`, contiguous, shape (n, levels)."""
        lib.packing_read(self.struct, self.n, self.levels, ffi.from_buffer("double[]", values))

    def write(self, values: NDArray[np.float64], which: NDArray[np.bool_] | None = None) -> None:
        """Copy `values`, contiguous, shape (n, levels), to the cells (or to those in `which`) and nowhere else."""
        chosen = ffi.NULL if which is None else ffi.from_buffer("char[]", which)
        lib.packing_write(self.struct, self.n, self.levels, ffi.from_buffer("double[]", values), chosen)


def _offsets(shape: tuple[int, ...], strides: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the distance of each place from the first [bytes], in the order of the flattened dimensions."""
    offset = np.zeros(1, np.int64)
    for extent, stride in zip(shape, strides, strict=True):
        offset = np.add.outer(offset, np.arange(extent, dtype=np.int64) * stride).reshape(-1)
    return offset
