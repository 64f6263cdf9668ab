# SPDX-License-Identifier: Apache-2.0
"""The ways of numbers into the block of an emulator and out of it: read, converted, summed, written.

Before the first step all ways are laid down as a plan of native/packing.h; a call is then one native pass in and one
out. Two things are left to numpy: values that are computed at each call, such as the height of the sun, which the pass
takes from memory of their own, and answers beside which the host's own values stay or are blended in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from coupler_plugin._native import ffi, lib
from coupler_plugin.accumulate import Accumulator
from coupler_plugin.cells import HostArray, Values
from coupler_plugin.device_arrays import DeviceAccumulator, DeviceArray
from coupler_plugin.emulator.manifest import Output, Variable
from coupler_plugin.fields import Conversion
from coupler_plugin.guard.band import Band
from coupler_plugin.layout import Layout

#: writes the value of a window that begins and ends at two times into an array of shape (n, size)
Reader = Callable[[NDArray[np.float64], int, int], None]


class Verdict(Protocol):
    """What was decided about answers on the host's cells: by a guard, or by what came back from another grid."""

    kept: NDArray[np.bool_]
    weight: Values


@dataclass(frozen=True)
class Sampled:
    """Reads what an accumulator holds."""

    accumulator: Accumulator

    def __call__(self, values: Values, begin: int, end: int) -> None:
        """Write the value of the window."""
        self.accumulator.read(values)


@dataclass(frozen=True)
class Fixed:
    """Reads a number that is the same everywhere and at all times."""

    number: float

    def __call__(self, values: Values, begin: int, end: int) -> None:
        """Write the number."""
        values.fill(self.number)


class Imports:
    """All inputs of an emulator on their way into its block.

    Parameters
    ----------
    entries : sequence of Variable
    readers : sequence of (Reader, Conversion)
        Of each entry.
    block : contiguous float32 array, shape (n, C)
        The entries take its channels one after the other.
    band : Band
        What the guard allows in it.
    """

    def __init__(
        self,
        entries: Sequence[Variable],
        readers: Sequence[tuple[Reader, Conversion]],
        block: NDArray[np.float32],
        band: Band,
    ) -> None:
        self._inputs = ffi.new("packing_input[]", len(entries))
        self._sampled: list[tuple[Accumulator, Any]] = []
        self._computed: list[tuple[Reader, Values]] = []
        n, channels = block.shape
        layouts = []
        for entry, (reader, conversion), record in zip(entries, readers, self._inputs, strict=True):
            record.levels, record.scale, record.offset = entry.size, conversion.scale, conversion.offset
            if isinstance(reader, Sampled) and not isinstance(reader.accumulator, DeviceAccumulator):
                accumulator = reader.accumulator
                layout = accumulator.source.lay_out(accumulator.source.view)
                if accumulator.layout is not None:
                    record.window, record.is_mean = accumulator.layout.struct[0], accumulator.aggregate == "mean"
                    self._sampled.append((accumulator, record))
                    layouts.append(accumulator.layout)
            else:
                values = np.empty((n, entry.size))
                if isinstance(reader, Fixed):
                    values = np.broadcast_to(np.float64(reader.number), values.shape)
                else:
                    self._computed.append((reader, values))
                layout = Layout(values, None, {})
            record.present = layout.struct[0]
            layouts.append(layout)
        memory = ffi.from_buffer("float[]", block)
        places = ffi.from_buffer("int64_t[]", band.places)
        self._plan = ffi.new(
            "packing_imports *", (self._inputs, len(entries), memory, n, channels, band.struct[0], places)
        )
        self._kept = layouts, memory, band, places

    def run(self, begin: int, end: int) -> int:
        """Bring the values of the window from `begin` to `end` into the block.

        Returns
        -------
        int
            How many lie outside the band, which has their `places`.
        """
        for reader, values in self._computed:
            reader(values, begin, end)
        for accumulator, record in self._sampled:
            record.count = accumulator.count
        outside: int = lib.packing_import(self._plan)
        return outside


@dataclass
class Export:
    """One output on its way out: converted, or summed from other exports, and written to the host or held.

    Attributes
    ----------
    source : array, shape (n, size)
        Channels of the outputs.
    first : int
        The first of them.
    values : float64 array, shape (n, size)
        What is exported, in the units of the receiver; for an array in the host's memory, only where `run_mixed` has
        run.
    terms : list of (factor, Export)
        For a closure: what it sums.
    is_term : bool
        Whether it goes nowhere, and is only a term of others.
    place : int
        Of the output in the manifest.
    own : (HostArray, Conversion), optional
        The host's own values, and how they come to the units of the receiver.
    """

    source: NDArray[np.floating]
    first: int
    conversion: Conversion
    values: Values
    host: HostArray | DeviceArray | None = None
    terms: Sequence[tuple[float, Export]] = ()
    is_term: bool = False
    place: int = 0
    own: tuple[HostArray | DeviceArray, Conversion] | None = None

    @np.errstate(all="ignore")  # the host's own value may be anything
    def run_mixed(self, verdict: Verdict) -> None:
        """Hand the output on where the host does not keep its own value, blended with it where that is asked for."""
        self._compute()
        is_kept = verdict.kept[:, self.place]
        if self.own is not None:
            own = np.empty_like(self.values)
            array, conversion = self.own
            array.read(own)
            conversion.apply(own, own)
            rows = np.flatnonzero((verdict.weight < 1.0) & ~is_kept)
            if not all(term.own for _, term in self.terms) or not self.terms:  # else its terms are blended already
                weight = verdict.weight[rows, np.newaxis]
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


class Exports:
    """All outputs of an emulator on their way out.

    Parameters
    ----------
    entries : sequence of Output
        Outputs of the manifest, in its order.
    used : collection of str
        Names of those that go to the host.
    answers : contiguous array, shape (n, O)
    held, hosts
        As `ColumnEmulator.connect` has them.
    own : mapping of str to Conversion
        How the host's own values come to canonical units.

    Attributes
    ----------
    held : list of Export
        Those that go to memory of the plugin.
    run : callable
        Hands all answers on.
    """

    def __init__(
        self,
        entries: Sequence[Output],
        used: Collection[str],
        answers: NDArray[Any],
        held: Mapping[str, tuple[Values, Conversion]],
        hosts: Mapping[str, tuple[HostArray | DeviceArray, Conversion]],
        own: Mapping[str, Conversion],
    ) -> None:
        self._exports = _exports(entries, used, answers, held, hosts, own)
        self.held = [export for export in self._exports if export.host is None and not export.is_term]
        written = [export for export in self._exports if not export.is_term]
        outputs = ffi.new("packing_output[]", len(written))
        kept: list[Any] = [outputs]
        for export, record in zip(written, outputs, strict=True):
            layout = export.host.layout if isinstance(export.host, HostArray) else Layout(export.values, None, {})
            record.target = layout.struct[0]
            record.channel, record.levels = export.first, export.source.shape[1]
            record.scale, record.offset = export.conversion.scale, export.conversion.offset
            terms = ffi.new("packing_term[]", [(term.first, factor) for factor, term in export.terms])
            record.terms, record.n_terms = terms, len(export.terms)
            kept += [layout, terms]
        memory = ffi.from_buffer(answers)
        shape = answers.shape
        self._plan = ffi.new("packing_exports *", (outputs, len(written), memory, answers.dtype == np.float64, *shape))
        self._kept = [*kept, memory]
        self.run: Callable[[], None] = partial(lib.packing_export, self._plan)
        self._on_devices = [(export.host, export.values) for export in written if isinstance(export.host, DeviceArray)]
        if self._on_devices:
            self.run = self._run_and_send

    def _run_and_send(self) -> None:
        lib.packing_export(self._plan)
        for array, values in self._on_devices:
            array.write(values)

    def run_mixed(self, verdict: Verdict) -> None:
        """Hand answers on where the host does not keep its own values, blended with them where that is asked for."""
        for export in self._exports:
            export.run_mixed(verdict)


def _exports(
    entries: Sequence[Output],
    used: Collection[str],
    answers: NDArray[Any],
    held: Mapping[str, tuple[Values, Conversion]],
    hosts: Mapping[str, tuple[HostArray | DeviceArray, Conversion]],
    own: Mapping[str, Conversion],
) -> list[Export]:
    """Return the exports of the outputs, in an order in which the terms of a closure come before it."""
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
                term = Export(*channels[name], conversion, np.empty(channels[name][0].shape), is_term=True)
                exports.append(term)
            terms.append((factor, term))
        return terms

    for place, entry in sorted(enumerate(entries), key=lambda item: bool(item[1].closure)):
        source = channels[entry.name]
        if entry.name in held:
            values, conversion = held[entry.name]
            terms = closure(entry, conversion, to_plugin)
            mine = (hosts[entry.name][0], own[entry.name]) if entry.name in hosts else None
            to_plugin[entry.name] = Export(*source, conversion, values, None, terms, False, place, mine)
            exports.append(to_plugin[entry.name])
        if entry.name in hosts and entry.name in used:
            host, conversion = hosts[entry.name]
            terms = closure(entry, conversion, to_host)
            mine, values = (host, Conversion()), np.empty(source[0].shape)
            to_host[entry.name] = Export(*source, conversion, values, host, terms, False, place, mine)
            exports.append(to_host[entry.name])
    return exports


def _channels(entries: Sequence[Output], block: NDArray[Any]) -> dict[str, tuple[NDArray[Any], int]]:
    """Return the channels of each output, and the place of the first."""
    ends = np.cumsum([entry.size for entry in entries]).tolist()
    return {
        entry.name: (block[:, end - entry.size : end], end - entry.size)
        for entry, end in zip(entries, ends, strict=True)
    }
