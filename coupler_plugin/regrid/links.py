# SPDX-License-Identifier: Apache-2.0
"""Links: which destination takes what share of which source, as three columns of equal length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.regrid.geometry import Indices, Values


@dataclass
class Links:
    """Links from source to destination cells.

    Attributes
    ----------
    rows, cols : int64 arrays, shape (n,)
        Destination and source: places counted from 0 in a grid, or ids, as whoever holds the links says.
    values : float64 array, shape (n,)
        Weights.
    """

    rows: Indices
    cols: Indices
    values: Values

    @classmethod
    def none(cls) -> Links:
        """Return no links."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))

    @classmethod
    def concatenate(cls, parts: Sequence[Links]) -> Links:
        """Return the links of all parts, one after another."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("rows", "cols", "values")))

    @property
    def n(self) -> int:
        """Number of links."""
        return self.values.size

    def where(self, keep: NDArray[Any]) -> Links:
        """Return the links at the places or at the True entries of `keep`."""
        return Links(self.rows[keep], self.cols[keep], self.values[keep])

    def sorted(self) -> Links:
        """Return the links in the order of rows and, within a row, of columns; equal ones keep their order."""
        rising = (self.rows[1:] > self.rows[:-1]) | (
            (self.rows[1:] == self.rows[:-1]) & (self.cols[1:] >= self.cols[:-1])
        )
        return self if rising.all() else self.where(np.lexsort((self.cols, self.rows)))

    def merged(self) -> Links:
        """Return sorted links without repeated pairs, whose weights are added, and without weights of zero."""
        links = self.sorted()
        if not links.n:
            return links
        new = np.flatnonzero(
            np.concatenate([[True], (links.rows[1:] != links.rows[:-1]) | (links.cols[1:] != links.cols[:-1])])
        )
        merged = Links(links.rows[new], links.cols[new], np.add.reduceat(links.values, new))
        return merged.where(merged.values != 0.0)

    def row_sums(self, rows: int) -> Values:
        """Return the sum of the weights of each row, shape (rows,)."""
        return np.bincount(self.rows, weights=self.values, minlength=rows).astype(np.float64, copy=False)
