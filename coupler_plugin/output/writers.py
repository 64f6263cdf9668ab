# SPDX-License-Identifier: Apache-2.0
"""The files that a run writes as it goes: its histories and its record, opened, written and closed as one thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from coupler_plugin import report
from coupler_plugin.accumulate import Accumulator
from coupler_plugin.cells import Cells
from coupler_plugin.clock import Clock
from coupler_plugin.config import Config
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.exchange import Exchange
from coupler_plugin.fields import Fields
from coupler_plugin.output.history import RUNNING, stamp
from coupler_plugin.output.record import Recorder
from coupler_plugin.output.stream import Stream
from coupler_plugin.parallel import together
from coupler_plugin.windows import Window, Windows

if TYPE_CHECKING:
    from mpi4py import MPI


class Writers:
    """The histories and the record of a run.

    Parameters
    ----------
    config : Config
    windows : Windows
        Of the run; those on whose alarms something is written are opened.
    fields : Fields
    clock : Clock
    comm : mpi4py.MPI.Comm or None

    Attributes
    ----------
    histories : list of Stream
        In the order of the coupling file.
    patience : float
        Seconds that records of the histories may wait in memory; more than 0 is for who closes them in any case.
    """

    def __init__(self, config: Config, windows: Windows, fields: Fields, clock: Clock, comm: MPI.Comm | None) -> None:
        self._config = config
        self._windows = windows
        self._comm = comm
        self.patience = 0.0
        self.histories: list[Stream] = []
        for index, history in enumerate(config.history):
            with config.blaming("history", index, "every"):
                window = windows.open(history.every)
            self.histories.append(Stream(history, window, fields, clock))
        self._recorder: Recorder | None = None
        if config.record:
            with config.blaming("record", "every"):
                window = windows.open(config.record.every)
            self._recorder = Recorder(config.record, window, fields, clock)

    def asks(self, emulators: Sequence[ColumnEmulator]) -> set[str]:
        """Return the fields that the plugin must keep to write them."""
        recorded = self._recorder.asks(emulators) if self._recorder else set()
        return recorded.union(*(history.names for history in self.histories))

    def connect(self, exchange: Exchange, emulators: Sequence[ColumnEmulator]) -> None:
        """Resolve where the fields come from; again after an array was bound anew."""
        for history in self.histories:
            history.connect(exchange, emulators)
        if self._recorder:
            self._recorder.connect(exchange, emulators, self._windows)

    def flags_of(self, emulator: ColumnEmulator, but: Window) -> list[Accumulator]:
        """Return the accumulators of the flags of an emulator's answers, without those of the window `but`."""
        histories = [history for history in self.histories if history.window is not but]
        return [flags for history in histories for flags in history.flags_of(emulator)]

    def open(self, cells: Cells, emulators: Sequence[ColumnEmulator], resume: bool) -> None:
        """Make the files, or go on with those that an earlier part of the run wrote; a collective call."""
        made_by = provenance(self._config, emulators)
        for history in self.histories:
            history.open(cells, made_by, self._comm, resume, self.patience)
        if self._recorder:
            of_record = {**made_by, "title": "Recorded fields of a host and its emulators"}
            self._recorder.open(cells, of_record, emulators, self._comm, resume)

    def look(self, now: int) -> None:
        """Take what emulators are about to write over, where a record is due."""
        if self._recorder and self._recorder.window.alarm.next <= now:
            self._recorder.look()

    def write(self, now: int) -> None:
        """Write the intervals that end now; a collective call."""
        for history in self.histories:
            if history.window.alarm.next <= now:
                history.write()
        if self._recorder and self._recorder.window.alarm.next <= now:
            self._recorder.write()

    def flush(self) -> None:
        """Bring what waits in memory to the disk; a collective call."""
        for history in self.histories:
            together(self._comm, history.flush)
        if self._recorder:
            self._recorder.flush()

    def finalize(self) -> None:
        """Note in the histories that the host called finalize; a collective call."""
        for history in self.histories:
            together(self._comm, history.finalize)

    def close(self) -> None:
        """Finish the files, whatever has happened before; a collective call."""
        for history in self.histories:
            together(self._comm, history.close)
        if self._recorder:
            self._recorder.close()


def provenance(config: Config, emulators: Sequence[ColumnEmulator]) -> Mapping[str, str]:
    """Return what made the files of a run, as their global attributes."""
    found = report.versions()
    return {
        "title": "Fields of coupled emulators and of their host",
        "source": "; ".join(f"{e.name} {e.manifest.version} ({e.file.path.name})" for e in emulators)
        or "a host without emulators",
        "history": f"{stamp()}: written by coupler_plugin {found['coupler_plugin']}",
        "versions": ", ".join(f"{name} {version}" for name, version in found.items()),
        "model_sha256": " ".join(emulator.file.sha256 for emulator in emulators),
        "coupling_file_sha256": config.sha256,
        "coupling_file": config.text,
        "status": RUNNING,
    }
