# SPDX-License-Identifier: Apache-2.0
"""Budgets: sums of answers that must be a number, or must not exceed what is there; closed by scaling, in float64.

One native pass looks at every cell and closes where it must; it allocates nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from coupler_plugin._native import ffi, lib
from coupler_plugin.cells import Values
from coupler_plugin.emulator.manifest import Budget
from coupler_plugin.guard.band import LARGEST
from coupler_plugin.guard.reading import Reading
from coupler_plugin.guard.tally import NONE, Rows

#: share by which float32 rounding inside a network may miss a budget; more is an intervention
_ROUNDING: Final = 1.0e-5
#: outcome of a cell in which more than rounding was closed
_BROKEN: Final = 2
#: outcome of one that could not be closed, because nobody knows what there is
_UNKNOWN: Final = 3


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

    def close(self, values: Values, kept: NDArray[np.bool_], begin: int, end: int) -> tuple[Rows, Rows, Rows]:
        """Scale the terms where the budget is broken.

        Parameters
        ----------
        values : float64 array, shape (n, O)
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
        unknown : int array
            Cells whose terms have a limit that is no number.
        """
        outcome = np.empty(len(values), np.int8)
        available = self._available(begin, end)
        is_sum = self.budget.equals is not None
        target = self.budget.equals if self.budget.equals is not None else self.budget.at_most
        plan = ffi.new("packing_budget *")
        plan.values, plan.cells, plan.channels = ffi.from_buffer("double[]", values), len(values), values.shape[1]
        plan.terms, plan.n_terms = self._terms, len(self.factors)
        plan.kept = ffi.from_buffer("char[]", kept)
        plan.is_sum, plan.target = is_sum, target if isinstance(target, float) else 0.0
        plan.available = ffi.NULL if available is None else ffi.from_buffer("double[]", available)
        plan.seconds = (end - begin) * 1.0e-6 if self.budget.per_step else 1.0
        plan.slack, plan.rounding = self._slack, _ROUNDING
        plan.outcome = ffi.from_buffer("char[]", outcome)
        if not lib.packing_close(plan):
            return NONE, NONE, NONE
        is_unknown = outcome == _UNKNOWN
        closed = np.flatnonzero(outcome.astype(bool) & ~is_unknown)
        return closed, np.flatnonzero(outcome == _BROKEN), np.flatnonzero(is_unknown)

    @property
    def text(self) -> str:
        """What is broken, for errors."""
        names = " + ".join(self.budget.terms)
        if self.budget.equals is not None:
            return f"where {names} is not {self.budget.equals:g}"
        return f"where {names} exceeds {self.limit}"

    @property
    def limit(self) -> str:
        """What the terms may not exceed, for errors."""
        limit = self.budget.at_most
        return " + ".join(limit) if isinstance(limit, dict) else f"{limit:g}"

    def _available(self, begin: int, end: int) -> Values | None:
        """Return what there is for the terms in each cell, NaN where a field of it is no number or a fill value.

        None where the budget has one number.
        """
        if not self.supply:
            return None
        with np.errstate(all="ignore"):  # what is no number is looked for, not warned of
            amounts = [factor * reading.run(begin, end) for factor, reading in self.supply]
            available: Values = np.maximum(sum(amounts[1:], amounts[0]), 0.0)
            for amount in amounts:
                available[~(np.abs(amount) <= LARGEST)] = np.nan
        return available

    @cached_property
    def _terms(self) -> Any:
        """The terms as native/packing.h has them."""
        return ffi.new("packing_term[]", list(zip(self.channels.tolist(), self.factors.tolist(), strict=True)))

    @property
    def _slack(self) -> float:
        """Share by which a budget that was closed in float64 may still be missed."""
        return 4.0 * float(np.finfo(np.float64).eps) * len(self.factors)
