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
        return self._close_limit(values, kept, (end - begin) * 1.0e-6, self._available(len(values), begin, end))

    @property
    def text(self) -> str:
        """What is broken, for errors."""
        names = " + ".join(self.budget.terms)
        if self.budget.equals is not None:
            return f"where {names} is not {self.budget.equals:g}"
        limit = self.budget.at_most
        return f"where {names} exceeds {' + '.join(limit) if isinstance(limit, dict) else f'{limit:g}'}"

    def _close_sum(self, values: NDArray[np.floating], kept: NDArray[np.bool_], target: float) -> tuple[Rows, Rows]:
        terms = values[:, self.channels]
        lowest = terms.min(axis=1)
        np.maximum(terms, 0.0, out=terms)
        total = self._sum(terms)
        error = np.abs(total - target)
        is_broken = ~((error <= self._rounding * target) & (lowest >= 0.0)) & ~kept
        rows = np.flatnonzero(is_broken)
        # Where there is nothing to scale, all terms have the same share.
        is_empty = total[rows] <= 0.0
        terms, total = terms[rows], np.where(is_empty, self.factors.sum(), total[rows])
        terms[is_empty] = 1.0
        values[rows[:, None], self.channels] = terms * (target / total)[:, None]
        return rows, rows[np.maximum(error, -lowest)[rows] > _ROUNDING * target]

    def _close_limit(
        self, values: NDArray[np.floating], kept: NDArray[np.bool_], seconds: float, available: Values
    ) -> tuple[Rows, Rows]:
        terms = values[:, self.channels]
        demand = self._sum(np.maximum(terms, 0.0))
        if self.budget.per_step:
            demand *= seconds
        rows = np.flatnonzero((demand > available * (1.0 + self._rounding)) & ~kept)
        terms, demand, available = terms[rows], demand[rows], available[rows]
        values[rows[:, None], self.channels] = np.where(terms > 0.0, terms * (available / demand)[:, None], terms)
        return rows, rows[demand * (1.0 - _ROUNDING) > available]

    def _available(self, n: int, begin: int, end: int) -> Values:
        if not self.supply:
            assert isinstance(self.budget.at_most, float)
            return np.full(n, self.budget.at_most)
        available = np.zeros(n)
        for factor, reading in self.supply:
            available += factor * reading.run(begin, end)
        return np.maximum(available, 0.0)

    def _sum(self, terms: NDArray[np.floating]) -> Values:
        total = np.zeros(len(terms))
        for column, factor in enumerate(self.factors):
            total += factor * terms[:, column]
        return total

    @property
    def _rounding(self) -> float:
        """Share by which a budget that was closed in float64 may still be missed."""
        return 4.0 * float(np.finfo(np.float64).eps) * len(self.factors)
