# SPDX-License-Identifier: Apache-2.0
"""The ways of numbers into the block of an emulator and out of it: read, converted, summed, written.

All that can be resolved is resolved before the first step, so that a call only moves numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.cells import HostArray, Values
from coupler_plugin.emulator.manifest import Output, Variable
from coupler_plugin.fields import Conversion
from coupler_plugin.guard.guard import Guard

#: writes the value of a window that begins and ends at two times into an array of shape (n, size)
Reader = Callable[[NDArray[np.float64], int, int], None]


@dataclass
class Import:
    """One input on its way into the block: read, converted, put into its channels."""

    name: str
    reader: Reader
    conversion: Conversion
    target: NDArray[np.float32]
    values: Values = field(init=False)

    def __post_init__(self) -> None:
        self.values = np.empty(self.target.shape)

    def run(self, begin: int, end: int) -> None:
        """Bring the value of the window from `begin` to `end` into the channels."""
        if self.conversion.is_identity:
            self.reader(self.target, begin, end)  # type: ignore[arg-type]
            return
        self.reader(self.values, begin, end)
        self.conversion.apply(self.values, self.values)
        np.copyto(self.target, self.values, casting="same_kind")


@dataclass
class Export:
    """One output on its way out: converted, or summed from other exports, and written to the host or held.

    Attributes
    ----------
    source : array, shape (n, size)
        Channels of the outputs, or the values of another export.
    values : float64 array, shape (n, size)
        What is exported, in the units of the receiver.
    terms : list of (factor, Export)
        For a closure: what it sums.
    is_direct : bool
        Whether the source goes to the host as it is, and nobody else needs `values`.
    place : int
        Of the output in the manifest.
    own : (HostArray, Conversion), optional
        The host's own values, and how they come to the units of the receiver.
    """

    source: NDArray[np.floating]
    conversion: Conversion
    values: Values
    host: HostArray | None = None
    terms: Sequence[tuple[float, Export]] = ()
    is_direct: bool = False
    place: int = 0
    own: tuple[HostArray, Conversion] | None = None

    def run(self) -> None:
        """Hand the output on."""
        if self.is_direct:
            assert self.host is not None
            self.host.write(self.source)
            return
        self._compute()
        if self.host is not None:
            self.host.write(self.values)

    @np.errstate(all="ignore")  # the host's own value may be anything
    def run_mixed(self, guard: Guard) -> None:
        """Hand the output on where the host does not keep its own value, blended with it where that is asked for."""
        self._compute()
        is_kept = guard.kept[:, self.place]
        if self.own is not None:
            own = np.empty_like(self.values)
            array, conversion = self.own
            array.read(own)
            conversion.apply(own, own)
            rows = np.flatnonzero((guard.weight < 1.0) & ~is_kept)
            if not all(term.own for _, term in self.terms) or not self.terms:  # else its terms are blended already
                weight = guard.weight[rows, np.newaxis]
                self.values[rows] = weight * self.values[rows] + (1.0 - weight) * own[rows]
            self.values[is_kept] = own[is_kept]
        if self.host is not None:
            self.host.write(self.values, ~is_kept)

    def _compute(self) -> None:
        if self.terms:
            (factor, first), *others = self.terms
            np.multiply(first.values, factor, out=self.values)
            for factor, term in others:
                np.add(self.values, term.values * factor, out=self.values)
        else:
            self.conversion.apply(self.source, self.values)


def make_imports(
    entries: Sequence[Variable], readers: Sequence[tuple[Reader, Conversion]], block: NDArray[np.float32]
) -> list[Import]:
    """Return the imports of entries, into the channels of a block of shape (n, C) one after the other."""
    imports = []
    first = 0
    for entry, (reader, conversion) in zip(entries, readers, strict=True):
        size = entry.size
        imports.append(Import(entry.name, reader, conversion, block[:, first : first + size]))
        first += size
    return imports


def make_exports(
    entries: Sequence[Output],
    used: Collection[str],
    answers: NDArray[Any],
    held: Mapping[str, tuple[Values, Conversion]],
    hosts: Mapping[str, tuple[HostArray, Conversion]],
    own: Mapping[str, Conversion],
) -> list[Export]:
    """Return the exports of the outputs, in an order in which the terms of a closure come before it.

    Parameters
    ----------
    entries
        Outputs of the manifest, in its order.
    used
        Names of those that go to the host.
    answers : array, shape (n, O)
    held, hosts
        As `ColumnEmulator.connect` has them.
    own
        How the host's own values come to canonical units.
    """
    channels = _channels(entries, answers)
    to_plugin: dict[str, Export] = {}
    to_host: dict[str, Export] = {}
    exports: list[Export] = []
    units = {entry.name: entry.units for entry in entries}

    def closure(entry: Output, conversion: Conversion, receiver: Mapping[str, Export]) -> list[tuple[float, Export]]:
        """Return what the closure of an output sums, in the units of its receiver, which need not take the terms."""
        if conversion.offset or any(units[name] != entry.units for name in entry.closure):
            return []  # scales with an offset, as of temperature, do not keep sums
        terms = []
        for name, factor in entry.closure.items():
            term = receiver.get(name)
            if term is None or term.conversion != conversion:
                term = Export(channels[name], conversion, np.empty(channels[name].shape))
                exports.append(term)
            terms.append((factor, term))
        return terms

    for place, entry in sorted(enumerate(entries), key=lambda item: bool(item[1].closure)):
        source = channels[entry.name]
        if entry.name in held:
            values, conversion = held[entry.name]
            terms = closure(entry, conversion, to_plugin)
            mine = (hosts[entry.name][0], own[entry.name]) if entry.name in hosts else None
            to_plugin[entry.name] = Export(source, conversion, values, None, terms, False, place, mine)
            exports.append(to_plugin[entry.name])
        if entry.name in hosts and entry.name in used:
            host, conversion = hosts[entry.name]
            terms = closure(entry, conversion, to_host)
            mine, values = (host, Conversion()), np.empty(source.shape)
            to_host[entry.name] = Export(source, conversion, values, host, terms, False, place, mine)
            exports.append(to_host[entry.name])
    summed = {id(term) for export in exports for _, term in export.terms}
    for export in exports:
        export.is_direct = (
            export.host is not None and export.conversion.is_identity and not export.terms and id(export) not in summed
        )
    return exports


def _channels(entries: Sequence[Output], block: NDArray[Any]) -> dict[str, NDArray[Any]]:
    parts = np.split(block, np.cumsum([entry.size for entry in entries])[:-1], axis=1)
    return {entry.name: part for entry, part in zip(entries, parts, strict=True)}
