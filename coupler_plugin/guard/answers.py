# SPDX-License-Identifier: Apache-2.0
"""Answers before anyone else sees them: finite, in range, not changing too fast, and in keeping with their budgets.

One comparison finds whether anything is wrong; what follows allocates, and happens only then.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.cells import Cells
from coupler_plugin.emulator.manifest import Manifest
from coupler_plugin.errors import CouplerError
from coupler_plugin.guard.band import LARGEST, Band, Outside, inward
from coupler_plugin.guard.budget import Closing
from coupler_plugin.guard.plan import Plan
from coupler_plugin.guard.sentences import alternatives, stop, with_units
from coupler_plugin.guard.tally import NONE, Rows, Tally


class Answers:
    """Watches the answers of one emulator and corrects them in place.

    Parameters
    ----------
    plan : Plan
    manifest : Manifest
    cells : Cells
    values : float array, shape (n, O)
        The answers, in the manifest's order of channels and its units.
    previous : array like `values`, or None
        The answers that were in force before this call, NaN where the host's own were; None: nothing asks for them.
    kept : bool array, shape (n, outputs)
        Where the host's own value stays; set here, too.
    tally : Tally

    Attributes
    ----------
    band : Band
        Their limits.
    bound : collection of str
        Outputs of which the host has a value of its own.
    budgets : sequence of Closing
    lost : array of int
        Cells of this call whose answers were not finite.
    was_blended : bool array, shape (n,)
        Where the host's own value was blended into the answers before.
    """

    def __init__(
        self,
        plan: Plan,
        manifest: Manifest,
        cells: Cells,
        values: NDArray[np.floating],
        previous: NDArray[np.floating] | None,
        kept: NDArray[np.bool_],
        tally: Tally,
    ) -> None:
        self.bound: Collection[str] = ()
        self.budgets: Sequence[Closing] = ()
        self.lost = NONE
        self.was_blended = np.zeros(cells.n, bool)
        self._plan = plan
        self._outputs = manifest.outputs
        self._name = manifest.name
        self._cells = cells
        self._values = values
        self._previous = previous
        self._kept = kept
        self._tally = tally
        self._output_of = np.repeat(np.arange(len(plan.outputs)), [entry.size for entry in manifest.outputs])
        self._low, self._high = self._limits()
        self.band = Band(values, self._low, self._high)
        self._change: NDArray[np.floating] = values[:0]
        self._change_band: Band | None = None
        if previous is not None and any(output.max_change < np.inf for output in plan.outputs):
            largest = np.array([plan.outputs[place].max_change for place in self._output_of], np.float32)
            self._change = np.zeros_like(values)
            self._change_band = Band(self._change, -largest, largest)
        #: cells in which a closure has to be summed again
        self._changed: list[Rows] = []

    def _limits(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the limits of all channels."""
        limits = [
            inward(output.low, output.high) if output.range != "off" else inward(-np.inf, np.inf)
            for output in self._plan.outputs
        ]
        low, high = (np.array(column, np.float32)[self._output_of] for column in zip(*limits, strict=True))
        return low, high

    def correct(self, begin: int, end: int, lost: Rows = NONE) -> None:
        """Look at the answers of a window, and act where one is wrong.

        Parameters
        ----------
        begin, end : int
            The window [microseconds since 0001-01-01].
        lost : int array
            Cells whose new state is not finite.

        Raises
        ------
        CouplerError
            RUN, when the plan is to stop, or there is nothing to hold.
        """
        self._changed.clear()
        self.lost = NONE
        found = self.band.outside()
        if is_wrong := found is not None or bool(lost.size):
            self._sort(found or (NONE, NONE, NONE), lost)
        if self._change_band is not None:
            self._limit_change(self._change_band)
        if self._plan.budget != "off":
            for closing in self.budgets:
                self._close(closing, begin, end)
        if self._changed or is_wrong:
            self._sum_again()

    def hold(self, place: int, rows: Rows, why: str) -> None:
        """Keep the previous answers of an output and of all that is bound to it.

        Where the host's own value was in force before, whole or blended in, or no answer has been given yet, the host's
        own value stays.

        Raises
        ------
        CouplerError
            RUN, when the host has none.
        """
        assert self._previous is not None
        channels = np.flatnonzero(np.isin(self._output_of, self._plan.outputs[place].group))
        before = self._previous[rows[:, None], channels]
        is_lacking = np.isnan(before).any(axis=1) | self.was_blended[rows]
        self.give_back(place, rows[is_lacking], f"{why}, and there is no previous answer to hold")
        self._values[rows[~is_lacking, None], channels] = before[~is_lacking]

    def give_back(self, place: int, rows: Rows, why: str) -> None:
        """Leave an output, and all that is bound to it, to the host."""
        for member in self._plan.outputs[place].group:
            name = self._plan.outputs[member].name
            if rows.size and name not in self.bound:
                raise self._stop(place, rows, why, f"the host has bound no '{name}' that could stay instead")
            self._kept[rows, member] = True

    # --- one guard after the other --------------------------------------------------------------------------------

    @np.errstate(all="ignore")  # what is no number is looked for, not warned of
    def _sort(self, found: Outside, lost: Rows) -> None:
        """Act on answers that are not finite, then on those outside their range."""
        rows, channels, values = found
        is_wild = ~(np.abs(values) <= LARGEST)
        outputs = self._output_of[channels]
        for place, output in enumerate(self._plan.outputs):
            wild = np.union1d(rows[is_wild & (outputs == place)], lost)
            self._act("finite", output.finite, place, wild, "which is no answer")
        for place, entry in enumerate(self._outputs):
            if not entry.closure:
                self._limit_range(place, np.unique(rows[~is_wild & (outputs == place)]))

    def _limit_range(self, place: int, rows: Rows) -> None:
        output = self._plan.outputs[place]
        low, high = self._low[output.channels], self._high[output.channels]
        part = self._values[rows, output.channels]
        # What was held meanwhile is in its range again.
        rows = rows[~((part >= low) & (part <= high)).all(axis=1)]
        units = self._outputs[place].units
        why = f"outside its range of {output.low:g} to {with_units(output.high, units)}"
        rows = self._act("range", output.range, place, rows, why)
        if not self._outputs[place].closure:  # a sum is what its terms make it
            self._values[rows, output.channels] = np.clip(self._values[rows, output.channels], low, high)

    @np.errstate(all="ignore")  # what is no number is looked for, not warned of
    def _limit_change(self, band: Band) -> None:
        assert self._previous is not None
        np.subtract(self._values, self._previous, out=self._change)
        found = band.outside()
        if found is None:
            return
        rows, channels, change = found
        is_known = ~np.isnan(change)  # a first answer follows on none
        for place, output in enumerate(self._plan.outputs):
            if output.max_change < np.inf:
                mine = np.unique(rows[is_known & (self._output_of[channels] == place)])
                why = f"more than {with_units(output.max_change, self._outputs[place].units)} from the call before"
                mine = self._act("rate", output.rate, place, mine, why)
                low, high = band.low[output.channels], band.high[output.channels]
                change = np.clip(self._change[mine, output.channels], low, high)
                self._values[mine, output.channels] = self._previous[mine, output.channels] + change

    def _close(self, closing: Closing, begin: int, end: int) -> None:
        kept: NDArray[np.bool_] = np.any(self._kept[:, closing.outputs], axis=1)
        values = np.array(self._values, np.float64, copy=self._plan.budget == "stop" or None)
        changed, broken, unknown = closing.close(values, kept, begin, end)
        for place in closing.outputs if unknown.size else ():
            why = f"where {closing.limit}, its limit, is not known"
            self._act("finite", self._plan.outputs[place].finite, place, unknown, why)
        if not changed.size:
            return
        if broken.size and self._plan.budget == "stop":
            remedy = "look at the emulator, or write 'budget: close' under its 'guard:'"
            raise self._stop(closing.outputs[0], broken, closing.text, remedy)
        self._changed.append(changed)
        for place in closing.outputs:
            self._tally.count("budget", self._plan.outputs[place].name, broken)
            self._tally.mark("budget", broken, place)

    @np.errstate(all="ignore")  # what is no number is looked for, not warned of
    def _sum_again(self) -> None:
        """Sum the closures of which a term was changed, and see whether what comes out is in its range."""
        rows = np.unique(np.concatenate([NONE, *self._changed]))
        channels = {output.name: output.channels for output in self._plan.outputs}
        for place, entry in enumerate(self._outputs):
            if entry.closure:
                terms = (factor * self._values[rows, channels[name]] for name, factor in entry.closure.items())
                self._values[rows, channels[entry.name]] = sum(terms, np.zeros((), self._values.dtype))
                self._limit_range(place, np.arange(len(self._values)))

    # --- acting ---------------------------------------------------------------------------------------------------

    def _act(self, kind: str, action: str, place: int, rows: Rows, why: str) -> Rows:
        """Do what the plan says about an output in cells; return those in which it is to be clipped."""
        rows = rows[~self._kept[rows, place]]
        if not rows.size:
            return rows
        if action == "stop":
            advice = alternatives(kind, ("hold", "fallback"))
            raise self._stop(place, rows, why, f"look at the emulator and its inputs there, {advice}")
        self._tally.count(kind, self._plan.outputs[place].name, rows)
        self._tally.mark(kind, rows, place)
        if kind == "finite":
            self.lost = np.union1d(self.lost, rows)
        if action == "clip":
            self._changed.append(rows)
            return rows
        if action == "hold":
            self.hold(place, rows, why)
        else:
            self.give_back(place, rows, why)
        return NONE

    def _stop(self, place: int, rows: Rows, why: str, remedy: str) -> CouplerError:
        output = self._plan.outputs[place]
        part = self._values[rows[0], output.channels]
        is_inside = (part >= self._low[output.channels]) & (part <= self._high[output.channels])
        what = f"the output '{output.name}' of the emulator '{self._name}'"
        value = float(part[np.argmin(is_inside)])
        return stop(what, value, self._outputs[place].units, why, self._cells, rows, remedy)
