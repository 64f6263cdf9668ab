# SPDX-License-Identifier: Apache-2.0
"""`mode: shadow`: an emulator runs beside the host's scheme, and only the differences are kept.

They are summed by cell, so that neither a restart nor the number of ranks changes what the report says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.cells import Values
from coupler_plugin.fields import Conversion
from coupler_plugin.guard.reading import Reading


@dataclass
class Comparing:
    """One output beside the host's own values.

    Attributes
    ----------
    name, units : str
        The field and its canonical units.
    place : int
        Of the output in the manifest.
    source : array, shape (n, size)
        The emulator's answers.
    conversion : Conversion
        From its units to canonical ones.
    host : Reading
        The host's own values, as means over the window in canonical units; its `values` have the shape (n, size).
    sums : float64 array, shape (n, 4)
        For each cell: number of values, sum of the differences, of their squares, and the largest.
    """

    name: str
    units: str
    place: int
    source: NDArray[np.floating]
    conversion: Conversion
    host: Reading
    sums: Values

    @np.errstate(all="ignore")  # what is no number is looked for, not warned of
    def run(self, begin: int, end: int, kept: NDArray[np.bool_]) -> None:
        """Take the differences of a window, but for cells in which the host's value would have stayed.

        Parameters
        ----------
        begin, end : int
            The window [microseconds since 0001-01-01].
        kept : bool array, shape (n, outputs)
            Where it would have.
        """
        self.host.run(begin, end)
        difference: Values = np.empty(self.source.shape)
        self.conversion.apply(self.source, difference)
        difference -= self.host.values
        is_used = np.isfinite(difference) & ~kept[:, self.place, np.newaxis]
        difference[~is_used] = 0.0
        for level in range(self.source.shape[-1]):  # one by one: a sum over levels is then the same on any rank
            part = difference[:, level]
            self.sums[:, 0] += is_used[:, level]
            self.sums[:, 1] += part
            self.sums[:, 2] += part * part
            np.maximum(self.sums[:, 3], np.abs(part), out=self.sums[:, 3])


def summary(units: str, sums: Values, area: Values | None) -> Mapping[str, Any]:
    """Return the differences over all cells.

    Parameters
    ----------
    sums : float64 array, shape (cells, 4)
        Of all ranks, ordered by id.
    area : float64 array, shape (cells,), or None
        Weights; None counts all cells alike.
    """
    weights = np.ones(len(sums)) if area is None else area
    total = float(np.sum(weights * sums[:, 0]))
    mean, square = (float(np.sum(weights * sums[:, column])) / total if total else 0.0 for column in (1, 2))
    return {
        "units": units,
        "mean_difference": mean,
        "rmse": float(np.sqrt(square)),
        "largest_difference": float(sums[:, 3].max(initial=0.0)),
        "values": int(sums[:, 0].sum()),
        "weights": "cells" if area is None else "area",
    }
