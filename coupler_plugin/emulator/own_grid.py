# SPDX-License-Identifier: Apache-2.0
"""The ways between the host's cells and an emulator's own grid: planned once, then travelled in every call.

All fields that go by the same weights go together, in one exchange. Towards the emulator, fields keep the units of
whoever gives them; back, answers keep the units of the emulator. What a guard withheld comes back as missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.cells import Cells, Values
from coupler_plugin.emulator.manifest import Output
from coupler_plugin.emulator.ports import Reader
from coupler_plugin.guard.tally import FLAGS
from coupler_plugin.regrid import Balance, Route

if TYPE_CHECKING:
    from coupler_plugin.emulator.planning import GridPlan

_NO_CLASS: Final = np.iinfo(np.int64).min


@dataclass
class _Way:
    """Fields that travel towards the emulator by one route, as numbers or as classes."""

    route: Route
    is_class: bool
    balance: Balance | None
    names: list[str] = field(default_factory=list)
    readers: list[tuple[Reader, slice]] = field(default_factory=list)
    fills: list[float] = field(default_factory=list)
    host: Values = field(default_factory=lambda: np.empty((0, 0)))
    own: Values = field(default_factory=lambda: np.empty((0, 0)))

    def add(self, name: str, reader: Reader, size: int, fill: float) -> slice:
        """Take on a field of `size` channels, and return where they will be."""
        columns = slice(len(self.fills), len(self.fills) + size)
        self.readers.append((reader, columns))
        self.fills += [fill] * size
        self.names += [name] * size
        return columns

    def fetch(self, begin: int, end: int) -> None:
        """Read the values of a window and carry them; a collective call."""
        if self.own.shape[1] != len(self.fills):
            self.host = np.empty((self.route.n_src, len(self.fills)))
            self.own = np.tile(np.array(self.fills), (self.route.n_dst, 1))
        for reader, columns in self.readers:
            values = np.empty((len(self.host), columns.stop - columns.start))
            reader(values, begin, end)
            self.host[:, columns] = values
        _carry(self.route, self.is_class, self.host, self.own)


@dataclass(frozen=True)
class _WayBack:
    """Outputs that travel back by one route: their places in the manifest, and their channels."""

    route: Route
    is_class: bool
    balance: Balance | None
    names: list[str]
    places: NDArray[np.int64]
    channels: NDArray[np.int64]


class OwnGrid:
    """An emulator's own grid in a run.

    Parameters
    ----------
    plan : GridPlan
    host_cells : int
        Cells of the host on this rank.
    outputs : sequence of Output
        Of the manifest.

    Attributes
    ----------
    cells : Cells
        The emulator's cells of this rank.
    answers : float64 array, shape (host's cells, O)
        What came back last, NaN where nothing did.
    kept : bool array, shape (host's cells, outputs)
        Where the host's own value stays.
    weight : float64 array, shape (host's cells,)
        Share of the answers in what is handed on.
    flags : uint8 array, shape (host's cells, outputs)
        The most serious flag of the cells that an answer comes from.
    """

    def __init__(self, plan: GridPlan, host_cells: int, outputs: Sequence[Output]) -> None:
        self._plan = plan
        self.cells: Cells = plan.cells
        self.answers: Values = np.full((host_cells, sum(entry.size for entry in outputs)), np.nan)
        self.kept: NDArray[np.bool_] = np.ones((host_cells, len(outputs)), bool)
        self.weight: Values = np.ones(host_cells)
        self.flags: NDArray[np.uint8] = np.full((host_cells, len(outputs)), FLAGS["no_answer"], np.uint8)
        self.is_mixed = False
        #: the largest relative change of the area integral of each field that any call found
        self.imbalance: dict[str, float] = {}
        ends = np.cumsum([entry.size for entry in outputs])
        #: channels of each output in `answers`
        self.channels = [slice(int(end) - entry.size, int(end)) for end, entry in zip(ends, outputs, strict=True)]
        self._ways: dict[bool, dict[tuple[str, bool], _Way]] = {False: {}, True: {}}
        self._static: dict[str, Reader] = {}
        self._has_static = False
        self._back = _ways_back(plan, outputs, self.channels)

    def begin(self) -> None:
        """Forget all readers, because an array was bound anew."""
        self._ways[False] = {}

    def carried(self, name: str, size: int, reader: Reader, fill: float, is_static: bool) -> Reader:
        """Return the reader of a field on the emulator's cells.

        Parameters
        ----------
        name : str
            The field.
        size : int
            Its channels.
        reader : callable
            Reads it on the host's cells.
        fill : float
            The value of cells that get none.
        is_static : bool
            Whether it is carried once and for all.
        """
        if is_static and name in self._static:
            return self._static[name]
        method = self._plan.method(name)
        key = (self._plan.weights_of(method), method == "largest_share")
        balance = None if key[1] else self._plan.balances.get((True, key[0]))
        way = self._ways[is_static].setdefault(key, _Way(self._plan.inward[key[0]], key[1], balance))
        given = partial(_give, way, way.add(name, reader, size, fill))
        if is_static:
            self._static[name] = given
        return given

    def fetch(self, begin: int, end: int) -> None:
        """Bring the values of a window to the emulator's cells; a collective call."""
        for way in self._ways[False].values():
            way.fetch(begin, end)
            self._weigh(way.balance, way.names, way.host, way.own)

    def fetch_static(self) -> None:
        """Bring the static fields to the emulator's cells, once; a collective call."""
        if not self._has_static:
            self._has_static = True
            for way in self._ways[True].values():
                way.fetch(0, 0)

    def deliver(self, answers: NDArray[Any], flags: NDArray[np.uint8], weight: Values | None) -> None:
        """Bring answers to the host's cells; a collective call.

        Parameters
        ----------
        answers : float array, shape (emulator's cells, O s s)
            With s * s numbers of the finer grid for each channel. NaN: withheld.
        flags : uint8 array, shape (emulator's cells, outputs)
        weight : float64 array, shape (emulator's cells,), or None
            Share of the answers; None: one everywhere.
        """
        values, codes = self._finer(answers), np.repeat(flags, self._plan.scale**2, axis=0)
        for way in self._back:
            part = np.full((len(self.answers), way.channels.size), np.nan)
            mine = np.ascontiguousarray(values[:, way.channels], np.float64)
            _carry(way.route, way.is_class, mine, part)
            self._weigh(way.balance, way.names, mine, part)
            self.answers[:, way.channels] = part
            self.flags[:, way.places] = way.route.largest(codes[:, way.places])
        for place, channels in enumerate(self.channels):
            np.isnan(self.answers[:, channels]).any(axis=1, out=self.kept[:, place])
        self.flags[self.kept & (self.flags == 0)] = FLAGS["no_answer"]
        if weight is not None:
            self.weight.fill(1.0)
            self._back[0].route(np.repeat(weight, self._plan.scale**2)[:, np.newaxis], self.weight[:, np.newaxis])
        self.is_mixed = bool(self.kept.any()) or weight is not None

    def recall(self) -> dict[str, NDArray[Any]]:
        """Return what a run has to go on from, arrays over the host's cells."""
        return {"host.answers": self.answers, "host.weight": self.weight, "host.flags": self.flags}

    def restore(self, memory: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what was recalled."""
        for name, target in self.recall().items():
            np.copyto(target, memory[name])
        for place, channels in enumerate(self.channels):
            self.kept[:, place] = np.isnan(self.answers[:, channels]).any(axis=1)
        self.is_mixed = bool(self.kept.any() or np.any(self.weight < 1.0))

    def _weigh(self, balance: Balance | None, names: Sequence[str], values: Values, result: Values) -> None:
        """Keep the largest imbalance of each field; where an answer was withheld there is nothing to compare."""
        if balance is None:
            return
        for name, change in zip(names, balance.imbalance(values, result).tolist(), strict=True):
            if np.isfinite(change):
                self.imbalance[name] = max(self.imbalance.get(name, 0.0), abs(change))

    @property
    def unmapped(self) -> int:
        """Cells of the host, of all ranks, that some answer does not reach."""
        return max(route.unmapped for route in self._plan.outward.values())

    def _finer(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return answers as shape (cells of the finer grid, O)."""
        parts = self._plan.scale**2
        if parts == 1:
            return values
        return values.reshape(len(values), -1, parts).swapaxes(1, 2).reshape(len(values) * parts, -1)


def _ways_back(plan: GridPlan, outputs: Sequence[Output], channels: Sequence[slice]) -> list[_WayBack]:
    found: dict[tuple[str, bool], list[int]] = {}
    for place, entry in enumerate(outputs):
        method = plan.method(entry.name)
        found.setdefault((plan.weights_of(method), method == "largest_share"), []).append(place)
    ways = []
    for (name, is_class), places in sorted(found.items()):
        mine = [np.arange(channels[place].start, channels[place].stop) for place in places]
        names = [outputs[place].name for place in places for _ in range(outputs[place].size)]
        balance = None if is_class else plan.balances.get((False, name))
        route = plan.outward[name]
        ways.append(_WayBack(route, is_class, balance, names, np.array(places), np.concatenate(mine)))
    return ways


def _carry(route: Route, is_class: bool, values: Values, out: Values) -> None:
    """Bring numbers, or numbers of classes, from one side to the other; places that get none keep what `out` holds.

    What is no number stays none: as a class it is one of its own, which may have the largest share.
    """
    if not is_class:
        route(values, out)
        return
    with np.errstate(invalid="ignore"):
        classes = np.where(np.isfinite(values), np.rint(values), _NO_CLASS).astype(np.int64)
    for channel in range(values.shape[1]):
        found = route.largest_share(classes[:, channel])
        np.copyto(out[:, channel], np.where(found == _NO_CLASS, np.nan, found), where=route.mapped)


def _give(way: _Way, columns: slice, values: NDArray[Any], begin: int, end: int) -> None:
    np.copyto(values, way.own[:, columns], casting="same_kind")
