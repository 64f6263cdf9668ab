# SPDX-License-Identifier: Apache-2.0
"""The coupling step: accumulate, and when an alarm rings import, run, export and write.

In-line hosts (through the bridge) and Python programs use this one class, so that both give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from coupler_plugin import meeting, report
from coupler_plugin.calls import Calls
from coupler_plugin.cells import Cells
from coupler_plugin.clock import Clock, parse_interval
from coupler_plugin.config import Config, load_config
from coupler_plugin.config.constants import parse_constant
from coupler_plugin.config.faults import faults
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.emulator.from_config import load_emulators
from coupler_plugin.errors import CouplerError, RanksAwayError, Status
from coupler_plugin.exchange import Exchange, producers
from coupler_plugin.fields import Fields
from coupler_plugin.meeting import meet
from coupler_plugin.output.writers import Writers
from coupler_plugin.parallel import never_alone, together
from coupler_plugin.report.energy import Meter
from coupler_plugin.restart.restarts import Restarts
from coupler_plugin.timers import Timers
from coupler_plugin.windows import Windows
from coupler_plugin.wiring import Scheduled, Wiring

if TYPE_CHECKING:
    from mpi4py import MPI

_NEVER = 2**63


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

    def __init__(self, config: str | Path | Config, *, comm: MPI.Comm | None = None, start: str, dt: float) -> None:
        self.comm = comm
        meet(comm, "init", meeting.PATIENCE)
        self.timers = Timers()
        #: what the run cost, once it is finalized, where the coupling file asks for a report
        self.report: dict[str, Any] = {}
        self.config = config if isinstance(config, Config) else load_config(config, comm)
        Calls.take_threads(self.config.threads)
        section = self.config.report
        self._meter = Meter(comm) if section and section.energy == "measure" else None
        if section and (section.trace or section.html):
            self.timers.events = []
        self.clock = Clock(start, dt, self.config.calendar)
        self.fields = Fields(self.config.fields)
        self.emulators = load_emulators(self.config, comm)
        self.cells: Cells | None = None
        self._check()
        self._windows = Windows(self.clock)
        for index, emulator in enumerate(self.emulators):
            with self.config.blaming("emulators", index, "every"):
                self._windows.open(emulator.every)
        self.writers = Writers(self.config, self._windows, self.fields, self.clock, comm)
        self._is_written = bool(self.config.history or self.config.record)
        restart = self.config.restart
        self._restarts = Restarts(self.config, restart, self.clock, comm) if restart else None
        if self._restarts:
            self._restarts.check_names(self.emulators)
        self._alarms = [window.alarm for window in self._windows.values()]
        self._restart_alarm = self._restarts.alarm if self._restarts else None
        if self._restart_alarm:
            self._alarms.append(self._restart_alarm)
        self._schedule: list[Scheduled] = []
        self._updates: list[Callable[[], None]] = []
        self._inference = torch.inference_mode()
        self._calls = Calls(self.emulators, self.clock, self.timers, self.config.threads, comm)
        self._is_prepared = self._is_finalized = self._is_begun = False
        #: whether a step may begin without any further question
        self._is_ready = False

    @property
    def restarted_from(self) -> str | None:
        """Time of the restart that this run went on from."""
        return self._restarts.read_from if self._restarts else None

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
        self._wiring = Wiring(
            self.config, self.fields, self.clock, self.cells, self._exchange, self._windows, self.emulators,
            self.writers, self.comm,
        )  # fmt: skip

    def bind(self, name: str, array: NDArray[Any] | torch.Tensor, units: str | None = None) -> None:
        """Hand over an array of the host, which is read or written in place at every step from now on.

        Parameters
        ----------
        name : str
            The field, or one of its aliases. A field that nothing asks for is accepted and left alone.
        array : float32 or float64 array or tensor
            Of the shape of the cells, or with one more dimension of levels. Bind it again after reallocation. A tensor
            may lie on a GPU: it is accumulated there, and all that the host does with it must be done before a step.
        units : str, optional
            Default: the field's canonical units.
        """
        self._expect("bind", self.cells is not None, "call set_cells before it")
        self._exchange.bind(name, array, units, self._is_prepared)
        if self._is_prepared:
            self._expect("bind", not self._is_begun, "call step_end before it")
            for emulator in self._calls.lagged:
                with suppress(Exception):  # the next step will raise it
                    emulator.wait()  # the thread works with what is connected now
            self._connect()

    def step(self) -> None:
        """Take one step of the host, whose arrays hold the values of the step that ends now; a collective call."""
        if not self._is_ready:
            self._get_ready("step")
        began = perf_counter()
        clock = self.clock
        clock.advance()
        if self._updates:
            self._accumulate()
        seconds = self.timers.seconds
        seconds["accumulate"] += perf_counter() - began
        if self._calls.lagged:
            self._calls.arrive(self._schedule)
        if clock.now >= self._next_alarm:
            if torch.is_inference_mode_enabled():
                self._ring()
            else:
                with self._inference:
                    self._ring()
        seconds["step"] += perf_counter() - began

    def step_begin(self) -> None:
        """Do what a step begins with, and let the first emulator that is due run beside the host; a collective call.

        Inputs are taken now. Until `step_end` the host does what needs no output, and changes no array that is bound.
        """
        if not self._is_ready:
            self._get_ready("step_begin")
        began = perf_counter()
        self.clock.advance()
        self._accumulate()
        self._calls.arrive(self._schedule)
        self._is_begun, self._is_ready = True, False
        due = [one for one in self._schedule if one.window.alarm.next <= self.clock.now]
        if due and due[0].emulator.can_run_beside:
            self._calls.run_ahead(due[0])
        self.timers.seconds["step"] += perf_counter() - began

    def step_end(self) -> None:
        """Do what is left of a step: wait for what runs beside the host, run the rest, write; a collective call."""
        self._expect("step_end", self._is_begun, "call step_begin before it")
        began = perf_counter()
        self._is_begun, self._is_ready = False, True
        try:
            if self.clock.now >= self._next_alarm:
                with self._inference:
                    self._ring()
        finally:
            self._calls.forget()
        self.timers.seconds["step"] += perf_counter() - began

    def write_restart(self) -> None:
        """Write a restart of the present time, whatever its alarm says; a collective call."""
        self._expect("write_restart", self._is_prepared, "take a step before it")
        self._expect("write_restart", not self._is_begun, "call step_end before it")
        self._expect("write_restart", self._restarts is not None, "the coupling file has no section 'restart:'")
        assert self._restarts
        self._meet("write_restart")
        for emulator in self._calls.lagged:
            together(self.comm, emulator.wait)
        self.writers.flush()  # a run that goes on from here finds in its histories all that was before
        self._restarts.write(self.emulators, self._windows)

    def has_restart(self) -> bool:
        """Return whether the first step will go on from a restart; a collective call, after `set_cells`."""
        assert self.cells is not None
        return self._restarts is not None and self._restarts.exists(self.cells)

    def first_call(self, emulator: ColumnEmulator) -> int:
        """Return when an emulator is due for the first time [microseconds since 0001-01-01]."""
        return self._windows[emulator.every].alarm.next

    def finalize(self) -> None:
        """End the run: close what was written and write the report; a collective call."""
        self._expect("finalize", True, "")
        self._meet("finalize")
        self.writers.finalize()
        self._is_finalized, self._is_ready = True, False
        self._calls.end()
        self.close_writers()
        if self.config.report:
            self.report = report.summarise(
                self.config.report, self.comm, self.clock, self.cells, self.emulators, self.timers,
                self.config.threads, self._meter,
            )  # fmt: skip
            report.write(self.report, self.config.report, self.comm)

    def close_writers(self) -> None:
        """Finish the files of histories and record, whatever has happened before; a collective call."""
        since = perf_counter()
        self.writers.close()
        self.timers.seconds["write"] += perf_counter() - since  # no part of a step, and of no timeline

    # --- before the first step ----------------------------------------------------------------------------------

    def check_fields(self) -> None:
        """Check that every input is given and every output goes somewhere, for who takes no step; a collective call.

        Weights of emulators that have a grid of their own are made.

        Raises
        ------
        CouplerError
            as the first step would.
        """
        self._wiring.prepare()
        together(self.comm, self._connect)

    def _meet(self, call: str) -> None:
        """Wait for all ranks; when they do not come, this coupler is at its end: ranks are at different calls."""
        try:
            meet(self.comm, call, parse_interval(self.config.timeout).micro / 1e6)
        except CouplerError:
            self._is_finalized, self._is_ready = True, False
            raise

    def _get_ready(self, call: str) -> None:
        """Prepare the first step, or say why there can be none."""
        self._expect(call, not self._is_begun, "call step_end before it")
        if not self._is_prepared:
            self._prepare()
        self._is_ready = True

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
        assert self.cells is not None
        with never_alone(self.comm, "before the first step"):
            for window in self._windows.values():
                window.accumulators.clear()  # of a first step that failed: arrays may have been bound anew since
            self._wiring.prepare()
            if self._restarts:
                self._restarts.read(self.cells, self.emulators)
            self._wiring.fetch_static()
            together(self.comm, self._connect)
            if self._restarts:
                self._restarts.restore(self.emulators, self._windows)
            self.writers.open(self.cells, self.emulators, resume=self.restarted_from is not None)
        self._is_prepared = True

    def _connect(self) -> None:
        """Resolve where every input comes from and every output goes; again after an array was bound anew."""
        self._schedule, self._updates = self._wiring.connect()
        self._next_alarm = self._soonest()

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
        self._calls.settle()
        try:
            if self._is_written:
                self.writers.look(now)
            for scheduled in self._schedule:
                if scheduled.window.alarm.next <= now:
                    self._calls.run(scheduled)
            if self._is_written:
                since = perf_counter()
                self.writers.write(now)
                self.timers.add("write", since)
            if self._calls.lagged:
                self._calls.launch()
        except RanksAwayError:
            self._is_finalized = True
            raise
        except CouplerError:
            if self._calls.lagged:  # they are called whatever befell the others
                self._calls.launch()
            raise
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

    def _soonest(self) -> int:
        """Return the next moment at which something is due."""
        soonest = _NEVER
        for alarm in self._alarms:
            if alarm.next < soonest:
                soonest = alarm.next
        return soonest
