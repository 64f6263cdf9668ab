# SPDX-License-Identifier: Apache-2.0
"""The check that runs at every call: whether all of an array lies between limits, in as few operations as can be.

It allocates nothing, and a step in which nothing is wrong pays for nothing else.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

#: no quantity is as large as this, and every common fill value is larger: 1e20 (CMIP), 9.97e36 (netCDF), 1e30
LARGEST: Final = 1.0e19
#: rows that share one row of repeated limits: numpy's inner loop is then long enough
_TILE: Final = 16

_less_equal: Final = np.less_equal  #: a name less to look up, at every call

Limits = NDArray[np.float32]


class Band:
    """Limits of the channels of an array.

    Parameters
    ----------
    array : contiguous array, shape (n, C)
        What is watched; kept, never copied.
    low, high : float32 arrays, shape (C,)
        Limits that are allowed themselves; -inf and inf where there are none, which then means +-`LARGEST`.
    """

    def __init__(self, array: NDArray[Any], low: Limits, high: Limits) -> None:
        n, channels = array.shape
        self.low = np.maximum(low, np.float32(-LARGEST)).astype(array.dtype)
        self.high = np.minimum(high, np.float32(LARGEST)).astype(array.dtype)
        self._flat = array.reshape(-1)
        self._channels = channels
        self._marks = bytearray(2 * self._flat.size)
        self._not_below, self._not_above = np.frombuffer(self._marks, np.bool_).reshape(2, -1)
        whole = n // _TILE * _TILE * channels
        self._parts = [
            self._part(slice(first, last), rows)
            for first, last, rows in ((0, whole, _TILE), (whole, self._flat.size, n % _TILE))
            if last > first
        ]

    def _part(self, span: slice, rows: int) -> tuple[NDArray[Any], ...]:
        low, high = np.tile(self.low, rows), np.tile(self.high, rows)
        values, not_below, not_above = (
            array[span].reshape(-1, low.size) for array in (self._flat, self._not_below, self._not_above)
        )
        # Shapes that are equal spare numpy the search for a common one, which is what a single column waits for.
        return (low[np.newaxis], high[np.newaxis], values, not_below, not_above)

    def holds(self) -> bool:
        """Return whether everything lies between its limits; a NaN lies nowhere."""
        for low, high, values, not_below, not_above in self._parts:
            _less_equal(low, values, not_below)
            _less_equal(values, high, not_above)
        return 0 not in self._marks

    def outside(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[Any]]:
        """Return rows, channels and values of what the last `holds` found outside."""
        places = np.flatnonzero(~(self._not_below & self._not_above))
        rows, channels = np.divmod(places, self._channels)
        return rows, channels, self._flat[places]


def inward(low: float, high: float) -> tuple[np.float32, np.float32]:
    """Return the float32 numbers next to two limits that lie between them: what passes them passes the limits."""
    first, last = np.float32(low), np.float32(high)
    if float(first) < low:
        first = np.nextafter(first, np.float32(np.inf))
    if float(last) > high:
        last = np.nextafter(last, np.float32(-np.inf))
    return first, last
