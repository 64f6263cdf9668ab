# SPDX-License-Identifier: Apache-2.0
"""The check that runs at every call: whether all of an array lies between limits, in as few operations as can be.

It allocates nothing, and a step in which nothing is wrong pays for nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: no quantity is as large as this, and every common fill value is larger: 1e20 (CMIP), 9.97e36 (netCDF), 1e30
LARGEST: Final = 1.0e19
#: numbers in a tile: as many rows as there are room for, so that numpy's inner loop is long
_TILE: Final = 2048
#: tiles that are looked at together, so that they stay in the cache from the first look to the second
_TILES: Final = 64
#: names less to look up at every call
_less_equal: Final = np.less_equal
_minimum: Final = np.minimum.reduce
_maximum: Final = np.maximum.reduce

Limits = NDArray[np.float32]
Rows = NDArray[np.intp]
Outside = tuple[Rows, Rows, NDArray[Any]]  #: rows, channels and values


class Part(NamedTuple):
    """Rows that are looked at together: tiles of equal length, one below the other."""

    first: int  #: place of their first number in the array
    tiles: NDArray[Any]
    low: NDArray[Any]  #: limits of the numbers of a tile
    high: NDArray[Any]
    lowest: NDArray[Any]  #: extremes over the tiles
    highest: NDArray[Any]
    not_below: NDArray[np.bool_]  #: whether these lie within the limits
    not_above: NDArray[np.bool_]
    marks: bytearray  #: the memory of both, which is quick to search


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
        n, self._channels = array.shape
        self.low = np.maximum(low, np.float32(-LARGEST)).astype(array.dtype)
        self.high = np.minimum(high, np.float32(LARGEST)).astype(array.dtype)
        self._flat = array.reshape(-1)
        self._rows = rows = max(1, _TILE // max(1, self._channels))
        whole = n // rows * rows
        self._tiled = [
            self._part(first, min(first + _TILES * rows, whole), rows) for first in range(0, whole, _TILES * rows)
        ]
        self._rest = [self._part(whole, n, n - whole)] if whole < n else []

    def _part(self, first: int, last: int, rows: int) -> Part:
        """Return tiles of `rows` rows."""
        low, high = np.tile(self.low, rows), np.tile(self.high, rows)
        tiles = self._flat[first * self._channels : last * self._channels].reshape(-1, low.size)
        marks = bytearray(2 * low.size)
        not_below, not_above = np.frombuffer(marks, np.bool_).reshape(2, -1)
        # The rest is one tile, which is its own lowest and highest.
        is_tiled = rows == self._rows
        lowest, highest = (np.empty_like(low), np.empty_like(high)) if is_tiled else (tiles[0], tiles[0])
        return Part(first * self._channels, tiles, low, high, lowest, highest, not_below, not_above, marks)

    def outside(self) -> Outside | None:
        """Return what lies outside, or None; a NaN lies nowhere inside."""
        found: list[Part] | None = None
        for part in self._tiled:
            _, tiles, low, high, lowest, highest, not_below, not_above, marks = part
            _minimum(tiles, axis=0, out=lowest)
            _maximum(tiles, axis=0, out=highest)
            _less_equal(low, lowest, not_below)
            _less_equal(highest, high, not_above)
            if 0 in marks:
                found = [*(found or ()), part]
        for part in self._rest:
            _, _, low, high, values, _, not_below, not_above, marks = part
            _less_equal(low, values, not_below)
            _less_equal(values, high, not_above)
            if 0 in marks:
                found = [*(found or ()), part]
        return None if found is None else self._locate(found)

    def _locate(self, parts: Sequence[Part]) -> Outside:
        """Return what lies outside in parts that have such, in the order of rows."""
        found = []
        for part in parts:
            # Only columns of the tiles in which an extreme lies outside; methods, which cost less than functions.
            (columns,) = (~(part.not_below & part.not_above)).nonzero()
            values = part.tiles.take(columns, axis=1)
            is_inside = (values >= part.low.take(columns)) & (values <= part.high.take(columns))
            tile, column = (~is_inside).nonzero()
            found.append(part.first + tile * part.low.size + columns.take(column))
        places = found[0] if len(found) == 1 else np.concatenate(found)
        rows = places // self._channels
        return rows, places - rows * self._channels, self._flat.take(places)


def inward(low: float, high: float) -> tuple[np.float32, np.float32]:
    """Return the float32 numbers next to two limits that lie between them: what passes them passes the limits."""
    first, last = np.float32(low), np.float32(high)
    if float(first) < low:
        first = np.nextafter(first, np.float32(np.inf))
    if float(last) > high:
        last = np.nextafter(last, np.float32(-np.inf))
    return first, last
