# SPDX-License-Identifier: Apache-2.0
"""The check that runs at every call: whether all of an array lies between limits.

It is one native pass that allocates nothing, and a step in which nothing is wrong pays for nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from coupler_plugin._native import ffi, lib

#: no quantity is as large as this, and every common fill value is larger: 1e20 (CMIP), 9.97e36 (netCDF), 1e30
LARGEST: Final = 1.0e19
#: numbers for which limits are repeated, so that the inner loop is long
_RUN: Final = 256

Limits = NDArray[np.float32]
Rows = NDArray[np.intp]
Outside = tuple[Rows, Rows, NDArray[Any]]  #: rows, channels and values


class Band:
    """Limits of the channels of an array.

    Parameters
    ----------
    array : contiguous array, shape (n, C)
        What is watched; kept, never copied.
    low, high : float32 arrays, shape (C,)
        Limits that are allowed themselves; -inf and inf where there are none, which then means +-`LARGEST`.

    Attributes
    ----------
    struct : cdata
        The band as native/packing.h has it.
    count : callable
        Returns how many numbers lie outside; a NaN lies nowhere inside.
    """

    def __init__(self, array: NDArray[Any], low: Limits, high: Limits) -> None:
        self.low = np.maximum(low, np.float32(-LARGEST), dtype=np.float32)
        self.high = np.minimum(high, np.float32(LARGEST), dtype=np.float32)
        self._channels = max(1, array.shape[1])
        self._flat = array.reshape(-1)
        runs = [np.tile(limit, -(-_RUN // self._channels)) for limit in (self.low, self.high)]
        #: what `struct` points to
        self._kept = [ffi.from_buffer(self._flat), *(ffi.from_buffer("float[]", run) for run in runs)]
        values, low_run, high_run = self._kept
        length = max(1, runs[0].size)
        self.struct = ffi.new(
            "packing_band *", (values, array.size, array.dtype == np.float64, low_run, high_run, length)
        )
        self.count: Callable[[], int] = partial(lib.packing_outside, self.struct)

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """Room for the places of all numbers, in which an import notes those that lie outside."""
        return np.empty(self._flat.size, np.int64)

    def outside(self) -> Outside | None:
        """Return what lies outside, in the order of rows, or None."""
        places = np.empty(self.count(), np.int64)
        if not places.size:
            return None
        lib.packing_locate(self.struct, ffi.from_buffer("int64_t[]", places))
        return self.at(places)

    def at(self, places: NDArray[np.int64]) -> Outside:
        """Return what lies at places of the array, counted through its rows."""
        rows, channels = np.divmod(places, self._channels)
        return rows, channels, self._flat.take(places)


def unlimited(array: NDArray[Any]) -> Band:
    """Return a band in which every quantity is allowed."""
    limit = np.full(array.shape[1], np.inf, np.float32)
    return Band(array, -limit, limit)


def inward(low: float, high: float) -> tuple[np.float32, np.float32]:
    """Return the float32 numbers next to two limits that lie between them: what passes them passes the limits."""
    first, last = np.float32(low), np.float32(high)
    if float(first) < low:
        first = np.nextafter(first, np.float32(np.inf))
    if float(last) > high:
        last = np.nextafter(last, np.float32(-np.inf))
    return first, last
