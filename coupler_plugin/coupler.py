# SPDX-License-Identifier: Apache-2.0
"""The coupling step: accumulate, and when an alarm rings import, run, export and write history.

In-line hosts (through the bridge) and Python programs use this one class, so that both give the same bits.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from coupler_plugin import meeting, report
from coupler_plugin.accumulate import Accumulator
from coupler_plugin.cells import Cells, HostArray
from coupler_plugin.clock import Alarm, Clock, parse_interval
from coupler_plugin.config import Config, RestartSection, faults, load_config, parse_constant
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.emulator.device import choose
from coupler_plugin.emulator.gridded import GridEmulator, grid_of
from coupler_plugin.emulator.load import load
from coupler_plugin.emulator.planning import Planner
from coupler_plugin.emulator.ports import Reader
from coupler_plugin.energy import Meter
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.exchange import Exchange, Window, producers
from coupler_plugin.fields import Conversion, Fields
from coupler_plugin.guard.surround import Surveyor
from coupler_plugin.history import stamp
from coupler_plugin.meeting import meet
from coupler_plugin.memory import check_fit, recall, restore
from coupler_plugin.parallel import allgather, rank_of, together
from coupler_plugin.record import Recorder
from coupler_plugin.restart import Memory, RestartFiles
from coupler_plugin.stream import Stream
from coupler_plugin.timers import Timers

if TYPE_CHECKING:
    from mpi4py import MPI

logger = logging.getLogger("coupler_plugin")

_NEVER = 2**63


@dataclass
class Scheduled:
    """An emulator, the window whose alarm it runs on, and the accumulators that average its answers."""

    emulator: ColumnEmulator
    window: Window
    samples: list[Accumulator]


class Coupler:
    """Couples the emulators of a coupling file to a host.

    Parameters
    ----------
    config : str, Path or Config
        The coupling file.
    comm : mpi4py.MPI.Comm, optional
        Communicator of the ranks that share the host's cells; the caller keeps it. None: a serial host.
    start : str
        Time at the beginning of the first step, ``YYYY-MM-DD[THH:MM[:SS]]``.
    dt : float
        Length of the host's step [s].

    Raises
    ------
    CouplerError
        with a status and a sentence, on every rank.
    """

    #: threads that torch has now, set by the coupler that needed them last
    _threads: ClassVar[int] = 0

    def __init__(self, config: str | Path | Config, *, comm: MPI.Comm | None = None, start: str, dt: float) -> None:
        self.comm = comm
        meet(comm, "init", meeting.PATIENCE)
        self.timers = Timers()
        #: what the run cost, once it is finalized, where the coupling file asks for a report
        self.report: dict[str, Any] = {}
        self.config = config if isinstance(config, Config) else load_config(config, comm)[0]
        self._settle_threads()
        section = self.config.report
        self._meter = Meter(comm) if section and section.energy == "measure" else None
        if section and (section.trace or section.html):
            self.timers.events = []
        self.clock = Clock(start, dt, self.config.calendar)
        self.fields = Fields(self.config.fields)
        self.emulators = [self._load(index) for index in range(len(self.config.emulators))]
        self.cells: Cells | None = None
        self._check()
        self._windows: dict[str, Window] = {}
        for index, emulator in enumerate(self.emulators):
            with self.config.blaming("emulators", index, "every"):
                self._windows.setdefault(emulator.every, Window(Alarm(self.clock, emulator.every)))
        #: seconds that records of the histories may wait in memory; more than 0 is for who closes them in any case
        self.patience = 0.0
        self._streams: list[Stream] = []
        for index, history in enumerate(self.config.history):
            with self.config.blaming("history", index, "every"):
                window = self._windows.setdefault(history.every, Window(Alarm(self.clock, history.every)))
            self._streams.append(Stream(history, window, self.fields, self.clock))
        self._recorder: Recorder | None = None
        if self.config.record:
            with self.config.blaming("record", "every"):
                every = self.config.record.every
                window = self._windows.setdefault(every, Window(Alarm(self.clock, every)))
            self._recorder = Recorder(self.config.record, window, self.fields, self.clock)
        self._restart: RestartFiles | None = None
        self._restart_alarm: Alarm | None = None
        if self.config.restart and self.config.restart.every:
            with self.config.blaming("restart", "every"):
                self._restart_alarm = Alarm(self.clock, self.config.restart.every)
        self._alarms = [window.alarm for window in self._windows.values()]
        if self._restart_alarm:
            self._alarms.append(self._restart_alarm)
        #: the restart that this run went on from: its time, or None
        self.restarted_from: str | None = None
        self._inference = torch.inference_mode()
        self._is_prepared = self._is_finalized = False

    @property
    def streams(self) -> Sequence[Stream]:
        """The histories, in the order of the coupling file."""
        return self._streams

    def set_cells(
        self,
        ids: ArrayLike,
        lon: ArrayLike,
        lat: ArrayLike,
        area: ArrayLike | None = None,
        corner_lon: ArrayLike | None = None,
        corner_lat: ArrayLike | None = None,
    ) -> None:
        """Say which cells this rank owns; a collective call, once, before `bind`.

        Parameters
        ----------
        ids : integer array of any shape
            Global ids, 1-based and unique over all ranks; 0 marks a place without a cell.
        lon, lat : arrays of that shape
            Centres [degrees_east, degrees_north].
        area : array of that shape, optional
            Areas [m2].
        corner_lon, corner_lat : arrays of that shape and one more dimension, the last, optional
            Corners [degrees_east, degrees_north] in order around each cell, for emulators on a grid of their own.
        """
        self._expect("set_cells", self.cells is None, "the cells are set already and stay for the run")
        self._meet("set_cells")
        self.cells = together(self.comm, lambda: Cells(ids, lon, lat, area, corner_lon, corner_lat)).check_owned_once(
            self.comm
        )
        named = [(self.fields[name], text) for name, text in self.config.constants.items()]
        constants = {entry.name: parse_constant(entry, text) for entry, text in named}
        self._exchange = Exchange(self.fields, self.clock, self.cells, constants, self.emulators)

    def bind(self, name: str, array: NDArray[Any], units: str | None = None) -> None:
        """Hand over an array of the host, which is read or written in place at every step from now on.

        Parameters
        ----------
        name : str
            The field, or one of its aliases. A field that nothing asks for is accepted and left alone.
        array : float32 or float64 array
            Of the shape of the cells, or with one more dimension of levels. Bind it again after reallocation.
        units : str, optional
            Default: the field's canonical units.
        """
        self._expect("bind", self.cells is not None, "call set_cells before it")
        self._exchange.bind(name, array, units)
        if self._is_prepared:
            self._connect()

    def step(self) -> None:
        """Take one step of the host, whose arrays hold the values of the step that ends now; a collective call."""
        if not self._is_prepared:
            self._prepare()
        elif self._is_finalized:
            self._expect("step", True, "")
        began = perf_counter()
        clock = self.clock
        clock.advance()
        if self._updates:
            self._accumulate()
        seconds = self.timers.seconds
        seconds["accumulate"] += perf_counter() - began
        if clock.now >= self._next_alarm:
            if torch.is_inference_mode_enabled():
                self._ring()
            else:
                with self._inference:
                    self._ring()
        seconds["step"] += perf_counter() - began

    def write_restart(self) -> None:
        """Write a restart of the present time, whatever its alarm says; a collective call."""
        self._expect("write_restart", self._is_prepared, "take a step before it")
        self._expect("write_restart", self._restart is not None, "the coupling file has no section 'restart:'")
        assert self._restart
        self._meet("write_restart")
        for stream in self._streams:  # a run that goes on from here finds in its histories all that was before
            together(self.comm, stream.flush)
        if self._recorder:
            self._recorder.flush()
        self._restart.write(self.clock.stamp(self.clock.now), self._recall())

    def _recall(self) -> Memory:
        memory = recall(self.clock, self.emulators, self._windows)
        return replace(memory, facts={**memory.facts, "coupling_file_sha256": self._config_hash()})

    def has_restart(self) -> bool:
        """Return whether the first step will go on from a restart; a collective call, after `set_cells`."""
        section, stamp = self.config.restart, self.clock.stamp(self.clock.start)
        return section is not None and section.read != "never" and self._restart_files(section, {}).exists(stamp)

    def first_call(self, emulator: ColumnEmulator) -> int:
        """Return when an emulator is due for the first time [microseconds since 0001-01-01]."""
        return self._windows[emulator.every].alarm.next

    def finalize(self) -> None:
        """End the run: close the history file and write the report; a collective call."""
        self._expect("finalize", True, "")
        self._meet("finalize")
        self._is_finalized = True
        self.close_history()
        if self.config.report:
            self.report = report.summarise(
                self.config.report, self.comm, self.clock, self.cells, self.emulators, self.timers,
                self.config.threads, self._meter,
            )  # fmt: skip
            report.write(self.report, self.config.report, self.comm)

    def close_history(self) -> None:
        """Finish the files of history and record, whatever has happened before; a collective call."""
        since = perf_counter()
        for stream in self._streams:
            together(self.comm, stream.close)
        if self._recorder:
            self._recorder.close()
        self.timers.seconds["write"] += perf_counter() - since  # no part of a step, and of no timeline

    # --- before the first step ----------------------------------------------------------------------------------

    def _load(self, index: int) -> ColumnEmulator:
        """Load an emulator of the coupling file."""
        section = self.config.emulators[index]
        with self.config.blaming("emulators", index, "device"):
            device = choose(section.device, self.comm)
        with self.config.blaming("emulators", index, "model"):
            file = load(section.model, self.comm, section.sha256, device=device)
        with self.config.blaming("emulators", index, "outputs" if section.outputs else "model"):
            grid = section.grid or grid_of(file.manifest)
            if grid is None and file.manifest.kind == "tile":
                raise CouplerError(
                    Status.CONFIG,
                    f"the emulator '{file.manifest.name}' sees tiles of a grid, but neither its manifest nor the "
                    "coupling file names one; write 'grid:' beside 'model:'.",
                )
            if grid is not None:
                return GridEmulator(file, section, grid, self.comm)
            return ColumnEmulator(file, section)

    def _meet(self, call: str) -> None:
        """Wait for all ranks; when they do not come, this coupler is at its end: ranks are at different calls."""
        try:
            meet(self.comm, call, parse_interval(self.config.timeout).micro / 1e6)
        except CouplerError:
            self._is_finalized = True
            raise

    def _settle_threads(self) -> None:
        """Give torch the threads of this coupler; the number is the process's, and another coupler may have its own."""
        torch.set_num_threads(self.config.threads)
        Coupler._threads = self.config.threads

    def _expect(self, call: str, condition: bool, remedy: str) -> None:
        if self._is_finalized:
            raise CouplerError(Status.ORDER, f"{call}: this coupler is finalized; initialise a new one.")
        if not condition:
            raise CouplerError(Status.ORDER, f"{call}: {remedy}.")

    def _check(self) -> None:
        """Check what needs no host: names and units of all that the emulators and the history name."""
        for _, error in faults(self.config):
            raise error
        for index, emulator in enumerate(self.emulators):
            for entry in (*emulator.manifest.inputs, *emulator.manifest.static, *emulator.outputs):
                with self.config.blaming("emulators", index, "model"):
                    self.fields.conversion(entry.name, self.fields[entry.name].units, entry.units)
        producers(self.fields, self.emulators)

    def _prepare(self) -> None:
        self._expect("step", self.cells is not None, "call set_cells and bind before the first step")
        self._meet("the first step")
        self._lay_out()
        for emulator in self.emulators:
            self._prepare_emulator(emulator)
        memory = self._read_restart(self.config.restart) if self.config.restart else None
        for emulator in self._gridded:
            together(self.comm, partial(self._static_readers, emulator))
            emulator.own.fetch_static()
        together(self.comm, self._connect)
        if memory:
            together(self.comm, lambda: restore(memory, self.emulators, self._windows))
        assert self.cells is not None
        for stream in self._streams:
            stream.open(self.cells, self._provenance(), self.comm, self.restarted_from is not None, self.patience)
        if self._recorder:
            provenance = {**self._provenance(), "title": "Recorded fields of a host and its emulators"}
            self._recorder.open(self.cells, provenance, self.emulators, self.comm, self.restarted_from is not None)
        self._is_prepared = True

    @property
    def _gridded(self) -> list[GridEmulator]:
        return [emulator for emulator in self.emulators if isinstance(emulator, GridEmulator)]

    def _lay_out(self) -> None:
        """Plan the grids of the emulators that have one of their own; a collective call."""
        assert self.cells is not None
        planner = Planner(self.config.regrid, self.fields, self.cells, self.comm)
        for emulator in self._gridded:
            asked = [*emulator.asks, *emulator.of_host(self.fields)]
            mine = {self.fields[name].name for name in asked if self._exchange.travels(name, emulator)}
            inputs = set().union(*allgather(self.comm, mine))  # a rank that lacks one says so when it connects
            outputs = {entry.name for entry in emulator.manifest.outputs}
            plan = planner.plan(emulator.name, emulator.grid, inputs, outputs, emulator.manifest.tile)
            emulator.lay_out(plan, self.cells)
            emulator.read_static(self.fields)

    def _static_readers(self, emulator: ColumnEmulator) -> list[tuple[Reader, Conversion]]:
        return [
            emulator.static_reader(entry, self._exchange.usual(entry))
            or self._exchange.reader(emulator, entry, "last", self._windows, is_static=True)
            for entry in emulator.manifest.static
        ]

    def _prepare_emulator(self, emulator: ColumnEmulator) -> None:
        cells = self.cells
        assert cells is not None
        if isinstance(emulator, GridEmulator):
            emulator.prepare(cells)
        else:
            together(self.comm, lambda: emulator.prepare(cells))
        keeps_bits = emulator.keeps_bits or emulator.file.draws
        if emulator.block != "exact" and not keeps_bits and rank_of(self.comm) == 0:
            logger.warning(
                "the emulator '%s' gives a cell other last bits at another place of a block: they will depend on the "
                "number of ranks. Unset MKL_CBWR, or set it to AUTO.",
                emulator.name,
            )

    def _connect(self) -> None:
        """Resolve where every input comes from and every output goes; again after an array was bound anew."""
        exchange, windows = self._exchange, self._windows
        asked = {name for stream in self._streams for name in stream.names}
        for emulator in self.emulators:
            asked |= {self.fields[name].name for name in emulator.asks}
        if self._recorder:
            asked |= self._recorder.asks(self.emulators)
        assert self.cells is not None
        surveyor = Surveyor(self.fields, self.clock, self.cells, exchange, windows)
        for emulator in self._gridded:
            emulator.own.begin()
        for emulator in self.emulators:
            inputs = [exchange.reader(emulator, e, e.aggregate, windows) for e in emulator.manifest.inputs]
            static = self._static_readers(emulator)
            receivers = exchange.receivers(emulator, asked)
            emulator.connect(inputs, static, *receivers, surveyor.surround(emulator), surveyor.compare(emulator))
        for stream in self._streams:
            stream.connect(exchange, self.emulators)
        if self._recorder:
            self._recorder.connect(exchange, self.emulators, windows)
        self._schedule = [
            Scheduled(
                emulator,
                windows[emulator.every],
                [
                    *exchange.samples(emulator, windows),
                    *(
                        flags
                        for stream in self._streams
                        if stream.window is not windows[emulator.every]
                        for flags in stream.flags_of(emulator)
                    ),
                ],
            )
            for emulator in self.emulators
        ]
        self._updates = [
            accumulator.update
            for window in windows.values()
            if window.alarm.interval.micro != self.clock.dt  # a window of one step is read from the host as it is
            for accumulator in window.accumulators.values()
            if isinstance(accumulator.source, HostArray) and accumulator.aggregate != "last"
        ]
        self._next_alarm = self._soonest()

    def _provenance(self) -> dict[str, str]:
        """Return what made the files of this run, as their global attributes."""
        found = report.versions()
        return {
            "title": "Fields of coupled emulators and of their host",
            "source": "; ".join(f"{e.name} {e.manifest.version} ({e.file.path.name})" for e in self.emulators),
            "history": f"{stamp()}: written by coupler_plugin {found['coupler_plugin']}",
            "versions": ", ".join(f"{name} {version}" for name, version in found.items()),
            "model_sha256": " ".join(emulator.file.sha256 for emulator in self.emulators),
            "coupling_file_sha256": self._config_hash(),
            "coupling_file": self.config.text,
        }

    def _config_hash(self) -> str:
        return sha256(self.config.text.encode()).hexdigest()

    def _restart_files(self, section: RestartSection, own: Mapping[str, Cells]) -> RestartFiles:
        assert self.cells is not None
        return RestartFiles(section.dir, section.name, section.keep, self.cells, own, self.comm)

    def _read_restart(self, section: RestartSection) -> Memory | None:
        """Return what the run goes on from, if there is a restart of its start."""
        self._restart = self._restart_files(section, {e.key: e.cells for e in self._gridded})
        stamp = self.clock.stamp(self.clock.start)
        if section.read == "never" or not (self._restart.exists(stamp) or section.read == "required"):
            return None
        memory = self._restart.read(stamp)
        together(self.comm, lambda: check_fit(memory.facts, self.clock, self.emulators, section.accept))
        self.restarted_from = stamp
        return memory

    @np.errstate(all="ignore")  # places without a cell may hold anything; what matters is checked, not warned of
    def _accumulate(self) -> None:
        for update in self._updates:
            update()

    # --- when an alarm rings ------------------------------------------------------------------------------------

    def _ring(self) -> None:
        now = self.clock.now
        if self.timers.events is not None:
            self.timers.events.clear()
        saves = self._restart_alarm is not None and self._restart_alarm.rings()
        if Coupler._threads != self.config.threads:
            self._settle_threads()
        try:
            if self._recorder and self._recorder.window.alarm.next <= now:
                self._recorder.look()
            for scheduled in self._schedule:
                if scheduled.window.alarm.next <= now:
                    self._run(scheduled)
            if self._streams or self._recorder:
                self._write(now)
        finally:  # after an error, a host that goes on meets the next alarms at their own times
            for window in self._windows.values():
                if window.alarm.next <= now:
                    window.finish()
            if saves and self._restart_alarm:
                self._restart_alarm.reset()
            self._next_alarm = self._soonest()
        if saves:
            since = perf_counter()
            self.write_restart()
            self.timers.add("write", since)

    def _write(self, now: int) -> None:
        """Write the records that are due."""
        since = perf_counter()
        for stream in self._streams:
            if stream.window.alarm.next <= now:
                stream.write()
        if self._recorder and self._recorder.window.alarm.next <= now:
            self._recorder.write()
        self.timers.add("write", since)

    def _soonest(self) -> int:
        """Return the next moment at which something is due."""
        soonest = _NEVER
        for alarm in self._alarms:
            if alarm.next < soonest:
                soonest = alarm.next
        return soonest

    def _run(self, scheduled: Scheduled) -> None:
        try:
            begin, end = scheduled.window.alarm.last, self.clock.now
            if self.comm is None:
                scheduled.emulator.run(begin, end, self.timers)
            else:  # a rank that failed alone would leave the others waiting in their next collective call
                done = together(self.comm, lambda: self._run_here(scheduled.emulator, begin, end))
                self.timers.add("wait", done)
        except CouplerError as error:
            raise CouplerError(error.status, f"at {self.clock.date(self.clock.now)}: {error}") from error
        for accumulator in scheduled.samples:
            accumulator.update()

    def _run_here(self, emulator: ColumnEmulator, begin: int, end: int) -> float:
        """Run an emulator and return when this rank was done; from then on it waits for the others."""
        emulator.run(begin, end, self.timers)
        return perf_counter()
