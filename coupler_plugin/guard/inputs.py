# SPDX-License-Identifier: Apache-2.0
"""Inputs before the network sees them: whether they are possible at all, and like those it was trained on.

One comparison with the narrower of both limits finds whether there is anything to look into.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.cells import Cells, Values
from coupler_plugin.emulator.blocks import Blocks
from coupler_plugin.emulator.drawing import DrawnBlocks
from coupler_plugin.emulator.gather import Gathered
from coupler_plugin.emulator.manifest import Manifest
from coupler_plugin.emulator.tiles import Tiles
from coupler_plugin.errors import CouplerError
from coupler_plugin.fields import Conversion
from coupler_plugin.guard.band import LARGEST, Band, Limits, Outside
from coupler_plugin.guard.distance import Distance
from coupler_plugin.guard.plan import Plan
from coupler_plugin.guard.sentences import alternatives, stop, with_units
from coupler_plugin.guard.tally import NONE, Rows, Tally

#: share of a range by which rounding and conversion may exceed it
_SLACK: Final = 1.0e-6


@dataclass(frozen=True)
class Physical:
    """What the values of an input can be at all.

    Attributes
    ----------
    name : str
        The field.
    size : int
        Its channels.
    giver : str
        Where it comes from: the host, another emulator, ...
    units : str
        Canonical units.
    conversion : Conversion
        From these to the emulator's units.
    low, high : float
        Limits in canonical units.
    """

    name: str
    size: int
    giver: str
    units: str
    conversion: Conversion
    low: float = float("-inf")
    high: float = float("inf")

    def limits(self) -> tuple[float, float]:
        """Return the limits in the emulator's units, widened by what rounding may do."""
        low, high = (self.conversion.scale * limit + self.conversion.offset for limit in (self.low, self.high))
        slack = _SLACK * max(high - low, abs(low), abs(high)) if np.isfinite([low, high]).all() else 0.0
        return low - slack, high + slack

    def canonical(self, value: float) -> float:
        """Return a value of the emulator in canonical units."""
        return (value - self.conversion.offset) / self.conversion.scale


class Inputs:
    """Watches the block of inputs of one emulator.

    Attributes
    ----------
    band : Band
        Their limits: physical, and of the training data.
    bad : array of int
        Cells of this call whose inputs cannot be right.
    unseen : array of int
        Cells of this call whose inputs lie outside the training data.
    score : float64 array, shape (n,)
        For blending, how far outside: standard deviations beyond the training range of an input, or the distance beyond
        the largest one as its multiple, whichever is more; 0 inside.
    """

    def __init__(
        self,
        plan: Plan,
        manifest: Manifest,
        cells: Cells,
        blocks: Blocks | DrawnBlocks | Gathered | Tiles,
        physical: Sequence[Physical],
        tally: Tally,
    ) -> None:
        self._plan = plan
        self._name = manifest.name
        self._cells = cells
        self._blocks = blocks
        self._physical = physical
        self._tally = tally
        self._entry_of = np.repeat(np.arange(len(physical)), [entry.size for entry in physical])
        self._low, self._high = physical_limits(physical, plan.has_ranges)
        self._train_low, self._train_high, self._scale, mean = _statistics(manifest, plan)
        self._neutral = np.where(np.isfinite(mean), mean, _middle(self._low, self._high)).astype(np.float32)
        tight = np.maximum(self._low, self._train_low), np.minimum(self._high, self._train_high)
        self.band = Band(blocks.inputs, *tight)
        self._distance: Distance | None = None
        #: static inputs that cannot be right: which, the value of the first cell, and the cells
        self._static: list[tuple[Physical, float, Rows]] = []
        if plan.uses_distance:
            self._distance = Distance(manifest, blocks.inputs)
        self.bad = self.unseen = NONE
        self.score: Values = np.zeros(cells.n)

    def look_at_static(self, values: NDArray[np.float32], physical: Sequence[Physical], can_wait: bool) -> None:
        """Find static inputs that cannot be right, and replace them by what can be.

        Parameters
        ----------
        values : float32 array, shape (n, S)
        physical : sequence of Physical
        can_wait : bool
            Leave it to the first call to stop, which may find that no answer is asked for in these cells.
        """
        self._static.clear()
        low, high = physical_limits(physical, self._plan.has_ranges)
        first = 0
        for entry in physical:
            channels = slice(first, first + entry.size)
            first += entry.size
            part = values[:, channels]
            is_inside = (part >= low[channels]) & (part <= high[channels])
            rows = np.flatnonzero(~is_inside.all(axis=1))
            if rows.size:
                self._static.append((entry, float(part[rows[0]][~is_inside[rows[0]]][0]), rows))
                np.copyto(part, _middle(low[channels], high[channels]), where=~is_inside)
        if self._plan.input == "stop" and not can_wait:
            self._reject_static(None)

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to look at beside the limits."""
        return not self._static and self._distance is None

    def look(self, exempt: NDArray[np.bool_] | None, outside: int) -> None:
        """Find what is bad or unseen, and replace what is bad by what can be.

        Parameters
        ----------
        exempt : bool array, shape (n,), or None
            Cells in which no answer is asked for: what is bad there is replaced in silence.
        outside : int
            How many numbers lie outside the band, as the import noted them in its `places`.

        Raises
        ------
        CouplerError
            RUN, when an input is bad and the plan is to stop.
        """
        if self.unseen.size:
            self.score[self.unseen] = 0.0
        self.bad = self.unseen = NONE
        if outside:
            self._sort(self.band.at(self.band.places[:outside]), exempt)
        if self._static:
            self._reject_static(exempt)
        if self._distance is not None and self._distance.is_exceeded():
            excess = self._distance.excess()
            np.maximum(self.score, excess, out=self.score)
            self.unseen = np.union1d(self.unseen, np.flatnonzero(excess > 0.0))
        if self.unseen.size and (self.bad.size or exempt is not None):
            self._leave_out(self.bad if exempt is None else np.union1d(self.bad, np.flatnonzero(exempt)))

    def _leave_out(self, rows: Rows) -> None:
        """Forget that some cells are unseen, for which no answer is used anyway."""
        self.score[rows] = 0.0
        self.unseen = np.setdiff1d(self.unseen, rows, assume_unique=True)

    @np.errstate(all="ignore")  # what is no number is looked for, not warned of
    def _sort(self, found: Outside, exempt: NDArray[np.bool_] | None) -> None:
        """Tell what cannot be right from what is only new to the network."""
        rows, channels, values = found
        is_fine = (values >= self._low.take(channels)) & (values <= self._high.take(channels))
        if not is_fine.all():
            self._reject(rows[~is_fine], channels[~is_fine], exempt)
            rows, channels, values = rows[is_fine], channels[is_fine], values[is_fine]
        if self._plan.unseen == "blend":
            beyond = np.maximum(self._train_low[channels] - values, values - self._train_high[channels])
            score = (beyond / self._scale[channels]).astype(np.float64)
            np.maximum.at(self.score, rows, score)  # quick between arrays of one kind only
        if self._plan.unseen != "off" and rows.size:
            self.unseen = rows[np.concatenate([[True], rows[1:] > rows[:-1]])]

    def _reject(self, rows: Rows, channels: Rows, exempt: NDArray[np.bool_] | None) -> None:
        is_exempt = np.zeros(rows.size, bool) if exempt is None else exempt[rows]
        for place in np.unique(self._entry_of[channels[~is_exempt]]):
            mine = np.flatnonzero(~is_exempt & (self._entry_of[channels] == place))
            if self._plan.input == "stop":
                value = self._blocks.inputs[rows[mine[0]], channels[mine[0]]]
                entry = self._physical[place]
                what = f"the input '{entry.name}' of the emulator '{self._name}'"
                raise impossible(what, float(value), entry, self._cells, np.unique(rows[mine]))
            self._tally.count("input", self._physical[place].name, np.unique(rows[mine]))
        self.bad = np.unique(rows)
        newest = self._blocks.newest()
        self._blocks.inputs[rows, channels] = self._neutral[channels] if newest is None else newest[rows, channels]

    def _reject_static(self, exempt: NDArray[np.bool_] | None) -> None:
        for entry, value, found in self._static:
            rows = found if exempt is None else found[~exempt[found]]
            if rows.size and self._plan.input == "stop":
                what = f"the static input '{entry.name}' of the emulator '{self._name}'"
                raise impossible(what, value, entry, self._cells, rows)
            self._tally.count("input", entry.name, rows)
            self.bad = np.union1d(self.bad, found)


def impossible(what: str, value: float, entry: Physical, cells: Cells, rows: Rows) -> CouplerError:
    """Return the error of an input that cannot be."""
    value = entry.canonical(value)
    has_range = np.isfinite([value, entry.low, entry.high]).all()
    why = f"outside its physical range of {entry.low:g} to {with_units(entry.high, entry.units)}" if has_range else ""
    remedy = f"look at what {entry.giver} gives there, {alternatives('input', ('hold', 'fallback'))}"
    return stop(what, value, entry.units, why, cells, rows, remedy)


def physical_limits(physical: Sequence[Physical], has_ranges: bool) -> tuple[Limits, Limits]:
    """Return the limits of all channels in the emulator's units; without ranges, those of any quantity."""
    sizes = [entry.size for entry in physical]
    ranges = [entry.limits() if has_ranges else (-np.inf, np.inf) for entry in physical]
    limits = np.array(ranges).reshape(-1, 2).clip(-LARGEST, LARGEST)
    low, high = (np.repeat(column, sizes).astype(np.float32) for column in limits.T)
    return low, high


def _statistics(manifest: Manifest, plan: Plan) -> tuple[Any, ...]:
    """Return for each channel the training range, the width that counts as one, and the mean (NaN: unknown)."""
    columns: list[tuple[float, float, float, float]] = []
    for entry in manifest.inputs:
        found = entry.statistics
        if found is None:
            values = (-np.inf, np.inf, 1.0, np.nan)
        else:
            # A quantity that was constant in training has no width of its own.
            width = found.std if found.std > 0 else 0.01 * abs(found.mean) or 1.0
            values = (found.min, found.max, width, found.mean)
        columns += [values] * entry.size
    low, high, scale, mean = np.array(columns, np.float32).reshape(-1, 4).T.copy()
    if plan.unseen == "off":
        low, high = np.full_like(low, -np.inf), np.full_like(high, np.inf)
    return low, high, scale, mean


def _middle(low: Limits, high: Limits) -> Limits:
    """Return a value inside limits: half-way, or 0 where there are none."""
    return np.where(high - low < LARGEST, 0.5 * low + 0.5 * high, np.float32(0.0)).astype(np.float32)
