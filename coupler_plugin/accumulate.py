# SPDX-License-Identifier: Apache-2.0
"""Accumulation: from the host's values at each step to one value per window.

Sums are kept in float64 in the host's own layout, so that a step costs one in-place operation per field whatever the
kind and the strides of the host's array; places without a cell are left out when the window is read.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.layout import Layout

_UFUNC: Final = {"mean": np.add, "sum": np.add, "min": np.minimum, "max": np.maximum}
EMPTY: Final = {"mean": 0.0, "sum": 0.0, "min": np.inf, "max": -np.inf}


class Source(Protocol):
    """An array over the cells: one of the host (`cells.HostArray`) or one of the plugin (`cells.HeldArray`)."""

    size: int

    @property
    def view(self) -> NDArray[Any]:
        """The memory, with the levels last."""

    def lay_out(self, array: NDArray[Any]) -> Layout:
        """Return where the cells lie in an array of the shape of `view`."""

    def pack(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the cells' part, shape (n, size), of an array in the layout of `view`."""

    def unpack(self, values: NDArray[Any], array: NDArray[Any]) -> None:
        """Put values of shape (n, size) into an array in the layout of `view`."""

    def read(self, values: NDArray[Any]) -> None:
        """Copy the cells' values as they are now into `values`, shape (n, size)."""


class Accumulator:
    """Aggregates an array over a window.

    Parameters
    ----------
    aggregate : str
        mean, sum, min, max or last.
    source : Source
        What is accumulated, in its own units.

    Attributes
    ----------
    count : int
        Samples in the window so far. A window without a sample has the present value of its source.
    layout : Layout or None
        Where the cells lie in what is accumulated; None for "last".
    """

    def __init__(self, aggregate: str, source: Source) -> None:
        self.aggregate = aggregate
        self.source = source  #: may be replaced by other memory of the same layout in the middle of a window
        self.count = 0
        self.layout: Layout | None = None
        self._buffer: NDArray[np.float64] | None = None
        if aggregate != "last":
            self._ufunc = _UFUNC[aggregate]
            self._buffer = np.full(source.view.shape, EMPTY[aggregate])
            self.layout = source.lay_out(self._buffer)

    def update(self) -> None:
        """Take a sample."""
        self.count += 1
        if self._buffer is not None:
            self._ufunc(self._buffer, self.source.view, out=self._buffer)

    def read(self, values: NDArray[np.float64]) -> None:
        """Write the value of the window into `values`, shape (n, size)."""
        if self._buffer is None or self.count == 0:
            self.source.read(values)
        elif self.aggregate == "mean":
            np.divide(self.source.pack(self._buffer), self.count, out=values)
        else:
            np.copyto(values, self.source.pack(self._buffer))

    def recall(self) -> NDArray[np.float64] | None:
        """Return what the window holds so far, shape (n, size); None for one that holds nothing."""
        return None if self._buffer is None or self.count == 0 else self.source.pack(self._buffer)

    def restore(self, count: int, values: NDArray[np.float64]) -> None:
        """Go on with a window that was recalled after `count` samples."""
        assert self._buffer is not None
        self.count = count
        self.source.unpack(values, self._buffer)

    def reset(self) -> None:
        """Begin the next window."""
        if self.count and self._buffer is not None:
            self._buffer.fill(EMPTY[self.aggregate])
        self.count = 0
