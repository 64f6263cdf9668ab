# SPDX-License-Identifier: Apache-2.0
"""One history of a run: which accumulators its fields come from, and when they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from coupler_plugin.accumulate import Accumulator
from coupler_plugin.cells import Cells, Values
from coupler_plugin.clock import Clock
from coupler_plugin.config.files import METHODS, HistorySection
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.exchange import Exchange, producers
from coupler_plugin.fields import Conversion, Fields
from coupler_plugin.guard.flags import FlagArray, flag_attributes
from coupler_plugin.output.history import Column, History
from coupler_plugin.output.table import Table
from coupler_plugin.windows import Window

if TYPE_CHECKING:
    from mpi4py import MPI

#: method of a history -> aggregate of an accumulator
_AGGREGATES: Final = {"mean": "mean", "min": "min", "max": "max", "point": "last"}


class Sink(Protocol):
    """Where the intervals of a history go: a file, or what looks at them."""

    def write(self, begin: int, end: int, record: Values) -> None:
        """Take one interval [microseconds since 0001-01-01] of this rank's cells; a collective call.

        `record` has the columns of the fields and after them one for each flag; it is written over at the next.
        """

    def flush(self) -> None:
        """Bring what waits to the disk."""

    def close(self) -> None:
        """Finish."""


class Stream:
    """A history file and what is written to it.

    Parameters
    ----------
    section : HistorySection
    window : Window
        Whose alarm it is written on.
    fields : Fields
    clock : Clock

    Attributes
    ----------
    names : set of str
        The fields.
    sink : Sink, optional
        Takes the intervals in the place of a file; set before the first step.
    """

    def __init__(self, section: HistorySection, window: Window, fields: Fields, clock: Clock) -> None:
        self.section = section
        self.window = window
        self.names = {fields[name].name for name in section.names}
        self._fields = fields
        self._clock = clock
        self._from = clock.parse(section.from_) if section.from_ else 0
        self.sink: Sink | None = None
        self._sources: dict[str, tuple[Column, Accumulator, Conversion]] = {}

    def connect(self, exchange: Exchange, emulators: Sequence[ColumnEmulator]) -> None:
        """Resolve where the fields come from; again after an array was bound anew."""
        self._sources = {}
        for name, method in self.section.entries:
            entry = self._fields[name]
            called = entry.name if method in ("mean", "point") else f"{entry.name}_{method}"
            source, conversion = exchange.statistic(name, _AGGREGATES[method], self.window)
            self._sources[called] = (Column(called, entry, source.source.size, METHODS[method]), source, conversion)
        # The most serious flag of an interval counts; a value at a point in time has the flag of its own answer.
        aggregate = "last" if self.section.entries[0][1] == "point" else "max"
        computed = producers(self._fields, emulators)
        #: flags of the answers among the fields, by emulator
        self._flags: dict[str, tuple[ColumnEmulator, Accumulator]] = {}
        for emulator in emulators:
            for place, output in enumerate(emulator.manifest.outputs):
                name = self._fields[output.name].name
                if name in self.names and computed.get(name) is emulator:
                    flags = FlagArray(emulator.flags, place)
                    self._flags[name] = emulator, self.window.accumulator(f"{name}_flag", aggregate, flags)
        width = sum(column.levels for column in self.columns)
        #: an interval, made once: the fields, then the flags
        self._record: Values = np.empty((exchange.n, width + len(self._flags)))
        self._table = Table([(source, conversion) for _, source, conversion in self._sources.values()], self._record)
        self._flag_columns = [
            (flags, self._record[:, width + place, np.newaxis]) for place, (_, flags) in enumerate(self._flags.values())
        ]

    @property
    def columns(self) -> list[Column]:
        """The fields as a file has them, without their flags; once connected."""
        return [column for column, _, _ in self._sources.values()]

    def split(self, record: Values) -> dict[str, Values]:
        """Return the fields of an interval by name, each of shape (..., levels); without flags."""
        ends = np.cumsum([column.levels for column in self.columns])
        parts = np.split(record, ends, axis=-1)[:-1]
        return {column.name: part for column, part in zip(self.columns, parts, strict=True)}

    def flags_of(self, emulator: ColumnEmulator) -> list[Accumulator]:
        """Return the accumulators of the flags of an emulator's answers; they take a sample when it has run."""
        return [flags for owner, flags in self._flags.values() if owner is emulator]

    def open(
        self, cells: Cells, provenance: Mapping[str, str], comm: MPI.Comm | None, resume: bool, patience: float
    ) -> None:
        """Create the file, or go on with it; a collective call."""
        if self.sink is not None:
            return
        flags = {name: flag_attributes(name) for name in self._flags}
        self.sink = History(
            self.section.file, self.columns, flags, cells, self._clock, provenance, comm,
            grid=self.section.grid, resume=resume, patience=patience,
        )  # fmt: skip

    def write(self) -> None:
        """Write the interval that ends now; a collective call."""
        assert self.sink
        begin = self.window.alarm.last
        if begin < self._from:
            return
        self._table.read()
        for flags, column in self._flag_columns:
            flags.read(column)
        self.sink.write(begin, self._clock.now, self._record)

    def flush(self) -> None:
        """Bring records that wait in memory to the disk; on rank 0."""
        if self.sink:
            self.sink.flush()

    def finalize(self) -> None:
        """Note in the file that the host called finalize; on rank 0."""
        if isinstance(self.sink, History):
            self.sink.finalize()

    def close(self) -> None:
        """Finish the file."""
        if self.sink:
            self.sink.close()
