# SPDX-License-Identifier: Apache-2.0
"""Budgets: sums of answers that must be a number, or must not exceed what is there; closed by scaling, in float64.

Sums run over channels one by one, so that a cell's bits do not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.cells import Values
from coupler_plugin.emulator.manifest import Budget
from coupler_plugin.guard.reading import Reading
from coupler_plugin.guard.tally import Rows

#: share by which float32 rounding inside a network may miss a budget; more is an intervention
_ROUNDING: Final = 1.0e-5


@dataclass(frozen=True)
class Closing:
    """One budget of an emulator.

    Attributes
    ----------
    budget : Budget
    outputs : tuple of int
        Its terms, as places among the outputs.
    channels : int array, shape (k,)
        Channels of all terms.
    factors : float64 array, shape (k,)
        Their factors, with the conversion to the units in which they are summed.
    supply : sequence of (float, Reading)
        The fields of ``at_most`` with their factors.
    """

    budget: Budget
    outputs: tuple[int, ...]
    channels: Rows
    factors: Values
    supply: Sequence[tuple[float, Reading]] = ()

    @np.errstate(all="ignore")  # what is no number is looked for, not warned of
    def close(self, values: NDArray[np.floating], kept: NDArray[np.bool_], begin: int, end: int) -> tuple[Rows, Rows]:
        """Scale the terms where the budget is broken.

        Parameters
        ----------
        values : float array, shape (n, O)
            The answers; changed in place.
        kept : bool array, shape (n,)
            Cells that are left alone.
        begin, end : int
            The window [microseconds since 0001-01-01].

        Returns
        -------
        changed : int array
            Cells whose terms were scaled.
        broken : int array
            Those in which it was by more than rounding.
        """
        if self.budget.equals is not None:
            return self._close_sum(values, kept, self.budget.equals)
        return self._close_limit(values, kept, (end - begin) * 1.0e-6, self._available(begin, end))

    @property
    def text(self) -> str:
        """What is broken, for errors."""
        names = " + ".join(self.budget.terms)
        if self.budget.equals is not None:
            return f"where {names} is not {self.budget.equals:g}"
        limit = self.budget.at_most
        return f"where {names} exceeds {' + '.join(limit) if isinstance(limit, dict) else f'{limit:g}'}"

    def _close_sum(self, values: NDArray[np.floating], kept: NDArray[np.bool_], target: float) -> tuple[Rows, Rows]:
        total, lowest = self._sum(values), self._lowest(values)
        error = np.maximum(np.abs(total - target), -lowest)
        rows = np.flatnonzero(~((error <= self._rounding * target) & (lowest >= 0.0)) & ~kept)
        terms, total = np.maximum(values[rows[:, None], self.channels], 0.0), total[rows]
        # Where there is nothing to scale, all terms have the same share.
        is_empty = total <= 0.0
        terms[is_empty], total[is_empty] = 1.0, self.factors.sum()
        values[rows[:, None], self.channels] = terms * (target / total)[:, None]
        return rows, rows[error[rows] > _ROUNDING * target]

    def _close_limit(
        self, values: NDArray[np.floating], kept: NDArray[np.bool_], seconds: float, available: Values | float
    ) -> tuple[Rows, Rows]:
        demand = self._sum(values)
        if self.budget.per_step:
            demand *= seconds
        rows = np.flatnonzero((demand > available * (1.0 + self._rounding)) & ~kept)
        terms, demand = values[rows[:, None], self.channels], demand[rows]
        available = np.broadcast_to(available, kept.shape)[rows]
        values[rows[:, None], self.channels] = np.where(terms > 0.0, terms * (available / demand)[:, None], terms)
        return rows, rows[demand * (1.0 - _ROUNDING) > available]

    def _available(self, begin: int, end: int) -> Values | float:
        """Return what there is for the terms."""
        if isinstance(self.budget.at_most, float):
            return self.budget.at_most
        amounts = [factor * reading.run(begin, end) for factor, reading in self.supply]
        available: Values = np.maximum(sum(amounts[1:], amounts[0]), 0.0)
        return available

    def _sum(self, values: NDArray[np.floating]) -> Values:
        """Return the sum of the terms, those below 0 left out; shape (n,)."""
        total = np.zeros(len(values))
        for channel, factor in zip(self.channels, self.factors, strict=True):
            total += factor * np.maximum(values[:, channel], 0.0)
        return total

    def _lowest(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        lowest = values[:, self.channels[0]].copy()
        for channel in self.channels[1:]:
            np.minimum(lowest, values[:, channel], out=lowest)
        return lowest

    @property
    def _rounding(self) -> float:
        """Share by which a budget that was closed in float64 may still be missed."""
        return 4.0 * float(np.finfo(np.float64).eps) * len(self.factors)
