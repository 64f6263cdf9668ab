# SPDX-License-Identifier: Apache-2.0
"""The coupling step: accumulate, and when an alarm rings import, run, export and write history.

In-line hosts (through the bridge) and Python programs use this one class, so that both give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from coupler_plugin import report
from coupler_plugin.accumulate import Accumulator, Source
from coupler_plugin.cells import Cells, HeldArray, HostArray
from coupler_plugin.clock import Alarm, Clock
from coupler_plugin.config import Config, Constant, load_config, parse_constant
from coupler_plugin.derived import DERIVED, Sun
from coupler_plugin.emulator.column import ColumnEmulator, Reader
from coupler_plugin.emulator.load import load
from coupler_plugin.emulator.manifest import Variable
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.fields import Conversion, Fields
from coupler_plugin.history import History
from coupler_plugin.parallel import together

if TYPE_CHECKING:
    from mpi4py import MPI


@dataclass
class Window:
    """What shares an alarm: its accumulators start anew together when it has rung."""

    alarm: Alarm
    accumulators: dict[tuple[str, str], Accumulator] = field(default_factory=dict)

    def finish(self) -> None:
        """Begin the next window."""
        for accumulator in self.accumulators.values():
            accumulator.reset()
        self.alarm.reset()


@dataclass(frozen=True)
class Binding:
    """An array of the host and its units."""

    array: HostArray
    units: str


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

    def __init__(
        self, config: str | Path | Config, *, comm: MPI.Comm | None = None, start: str, dt: float
    ) -> None:
        self.comm = comm
        self.timers = report.Timers()
        self._text = ""
        self.config = config if isinstance(config, Config) else self._load(config)
        torch.set_num_threads(self.config.threads)
        self.clock = Clock(start, dt, self.config.calendar)
        self.fields = Fields(self.config.fields)
        self.constants = {
            self.fields[name].name: parse_constant(name, text) for name, text in self.config.constants.items()
        }
        self.emulators = [ColumnEmulator(load(section.model, comm), section) for section in self.config.emulators]
        self.cells: Cells | None = None
        self._bindings: dict[str, Binding] = {}
        self._windows: dict[str, Window] = {}
        self._history: History | None = None
        self._is_prepared = self._is_finalized = False
        self._producers = self._find_producers()
        for emulator in self.emulators:
            self._check_units(emulator)
            self._window(emulator.every)
        if self.config.history:
            self._window(self.config.history.every)
            self._history_from = self.clock.parse(self.config.history.from_) if self.config.history.from_ else 0

    def set_cells(self, ids: ArrayLike, lon: ArrayLike, lat: ArrayLike, area: ArrayLike | None = None) -> None:
        """Say which cells this rank owns; a collective call, once, before `bind`.

        Parameters
        ----------
        ids : integer array of any shape
            Global ids, 1-based and unique over all ranks; 0 marks a place without a cell.
        lon, lat : arrays of that shape
            Centres [degrees_east, degrees_north].
        area : array of that shape, optional
            Areas [m2].
        """
        self._expect("set_cells", self.cells is None, "the cells are set already and stay for the run")
        self.cells = together(self.comm, lambda: Cells(ids, lon, lat, area, self.comm))

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
        assert self.cells is not None
        entry = self.fields[name]
        units = entry.units if units is None else units
        self.fields.conversion(entry.name, units, entry.units)
        binding = Binding(HostArray(name, array, self.cells), units)
        before = self._bindings.get(entry.name)
        if before and (before.array.size, before.units) != (binding.array.size, units):
            raise CouplerError(
                Status.ARRAY,
                f"bind: '{name}' was bound with {before.array.size} levels in '{before.units}' and is now bound with "
                f"{binding.array.size} levels in '{units}'; an array that is bound again keeps both.",
            )
        self._bindings[entry.name] = binding
        if self._is_prepared:
            self._connect()

    def step(self) -> None:
        """Take one step of the host: its arrays hold the values of the step that ends now."""
        since = began = perf_counter()
        if not self._is_prepared:
            self._prepare()
        self.clock.advance()
        for update in self._updates:
            update()
        self.timers.seconds["accumulate"] += perf_counter() - since
        if self.clock.now >= self._next_alarm:
            self._ring()
        self.timers.seconds["step"] += perf_counter() - began

    def finalize(self) -> None:
        """End the run: close the history file and write the report; a collective call."""
        self._expect("finalize", True, "")
        self._is_finalized = True
        if self._history:
            together(self.comm, self._history.close)
        if self.config.report:
            report.write(report.summarise(self), self.config.report, self.comm)

    # --- at start -----------------------------------------------------------------------------------------------

    def _load(self, path: str | Path) -> Config:
        config, self._text = together(self.comm, lambda: load_config(path))
        return config

    def _expect(self, call: str, condition: bool, remedy: str) -> None:
        if self._is_finalized:
            raise CouplerError(Status.ORDER, f"{call}: this coupler is finalized; initialise a new one.")
        if not condition:
            raise CouplerError(Status.ORDER, f"{call}: {remedy}.")

    def _find_producers(self) -> dict[str, ColumnEmulator]:
        producers: dict[str, ColumnEmulator] = {}
        for emulator in self.emulators:
            for output in emulator.outputs:
                name = self.fields[output.name].name
                if name in producers:
                    raise CouplerError(
                        Status.CONFIG,
                        f"the emulators '{producers[name].name}' and '{emulator.name}' both compute '{name}'; choose with "
                        "'outputs:' which of them gives it.",
                    )
                producers[name] = emulator
        return producers

    def _check_units(self, emulator: ColumnEmulator) -> None:
        for entry in (*emulator.manifest.inputs, *emulator.manifest.static, *emulator.outputs):
            self.fields.conversion(entry.name, self.fields[entry.name].units, entry.units)

    def _window(self, every: str) -> Window:
        if every not in self._windows:
            self._windows[every] = Window(Alarm(self.clock, every))
        return self._windows[every]

    # --- at the first step --------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        self._expect("step", self.cells is not None, "call set_cells and bind before the first step")
        together(self.comm, self._prepare_emulators)
        together(self.comm, self._connect)
        if self.config.history:
            self._open_history()
        self._is_prepared = True

    def _prepare_emulators(self) -> None:
        assert self.cells is not None
        self._held: dict[str, HeldArray] = {}
        for emulator in self.emulators:
            emulator.prepare(self.cells)
            for output in emulator.outputs:
                name = self.fields[output.name].name
                self._held[name] = HeldArray(self.cells.n, output.size)

    def _connect(self) -> None:
        """Resolve where every input comes from and every output goes; again after an array was bound anew."""
        self._history_readers = self._connect_history()
        asked = {self.fields[name].name for name in (self.config.history.fields if self.config.history else ())}
        for index, emulator in enumerate(self.emulators):
            window = self._window(emulator.every)
            inputs = [self._input(emulator, entry, entry.aggregate, window) for entry in emulator.manifest.inputs]
            static = [self._input(emulator, entry, "last", window) for entry in emulator.manifest.static]
            for later in self.emulators[index + 1 :]:
                asked |= {self.fields[entry.name].name for entry in later.manifest.inputs}
            held, hosts = {}, {}
            for output in emulator.outputs:
                entry = self.fields[output.name]
                binding = self._bindings.get(entry.name)
                if entry.name in asked:
                    conversion = self.fields.conversion(entry.name, output.units, entry.units)
                    held[output.name] = (self._held[entry.name].view, conversion)
                elif binding is None:
                    raise CouplerError(
                        Status.FIELD,
                        f"the output '{entry.name}' of the emulator '{emulator.name}' goes nowhere; bind an array for it, "
                        "list it under 'history: fields:', or leave it out of the emulator's 'outputs:'.",
                    )
                if binding is not None:
                    self._check_size(emulator, output, binding.array.size)
                    hosts[output.name] = (
                        binding.array,
                        self.fields.conversion(entry.name, output.units, binding.units),
                    )
            emulator.connect(inputs, static, held, hosts)
        self._updates = [
            accumulator.update
            for window in self._windows.values()
            if window.alarm.interval.micro != self.clock.dt  # a window of one step is read from the host as it is
            for accumulator in window.accumulators.values()
            if isinstance(accumulator.source, HostArray) and accumulator.aggregate != "last"
        ]
        self._next_alarm = min((window.alarm.next for window in self._windows.values()), default=2**63)

    def _input(
        self, emulator: ColumnEmulator, wanted: Variable, aggregate: str, window: Window
    ) -> tuple[Reader, Conversion]:
        """Return the reader of an input and the conversion to the units that the emulator wants."""
        entry = self.fields[wanted.name]
        producer = self._producers.get(entry.name)
        source: Source
        if producer is not None and producer is not emulator:
            if self.emulators.index(producer) > self.emulators.index(emulator):
                raise CouplerError(
                    Status.CONFIG,
                    f"the emulator '{emulator.name}' takes '{entry.name}' from '{producer.name}', which runs after it; list "
                    f"'{producer.name}' first.",
                )
            source, units = self._held_source(emulator, producer, entry.name), entry.units
        elif entry.name in self._bindings:
            binding = self._bindings[entry.name]
            source, units = binding.array, binding.units
        elif entry.name in self.constants:
            constant = self.constants[entry.name]
            return partial(_fill, constant), self.fields.conversion(entry.name, constant.units, wanted.units)
        elif entry.name in DERIVED:
            return partial(self._derive, entry.name), self.fields.conversion(
                entry.name, DERIVED[entry.name][0], wanted.units
            )
        else:
            raise CouplerError(
                Status.FIELD,
                f"the input '{entry.name}' ({entry.long_name}) of the emulator '{emulator.name}' is not bound; bind an array "
                f"for it (units: '{entry.units}' or any that convert), or give one number under 'constants:'.",
            )
        self._check_size(emulator, wanted, source.size)
        accumulator = self._accumulator(window, entry.name, aggregate, source)
        return partial(_read, accumulator), self.fields.conversion(entry.name, units, wanted.units)

    def _held_source(self, emulator: ColumnEmulator, producer: ColumnEmulator, name: str) -> HeldArray:
        """Return the array of an earlier emulator's answers, with the host's own values until it has run."""
        held = self._held[name]
        if producer.calls == 0:
            binding = self._bindings.get(name)
            if binding is not None:
                binding.array.read(held.view)
                conversion = self.fields.conversion(name, binding.units, self.fields[name].units)
                held.view *= conversion.scale
                held.view += conversion.offset
            elif self._window(producer.every).alarm.next > self._window(emulator.every).alarm.next:
                raise CouplerError(
                    Status.FIELD,
                    f"the emulator '{emulator.name}' needs '{name}' before '{producer.name}' has computed it for the first time; "
                    "bind an array with its initial values.",
                )
        return held

    def _accumulator(self, window: Window, name: str, aggregate: str, source: Source) -> Accumulator:
        accumulator = window.accumulators.get((name, aggregate))
        if accumulator is None:
            accumulator = window.accumulators[name, aggregate] = Accumulator(aggregate, source)
        accumulator.source = source
        return accumulator

    def _check_size(self, emulator: ColumnEmulator, wanted: Variable, size: int) -> None:
        if wanted.size != size:
            raise CouplerError(
                Status.ARRAY,
                f"'{wanted.name}' of the emulator '{emulator.name}' has {wanted.size} levels, the bound array {size}.",
            )

    def _derive(self, name: str, values: NDArray[Any], begin: int, end: int) -> None:
        assert self.cells is not None
        values[:, 0] = DERIVED[name][1](Sun(self.clock, self.cells, begin, end), self.cells)

    # --- history ------------------------------------------------------------------------------------------------

    def _connect_history(self) -> dict[str, tuple[Accumulator, Conversion]]:
        readers: dict[str, tuple[Accumulator, Conversion]] = {}
        if not self.config.history:
            return readers
        window = self._window(self.config.history.every)
        for listed in self.config.history.fields:
            entry = self.fields[listed]
            binding = self._bindings.get(entry.name)
            source: Source
            if entry.name in self._producers:
                source, units = self._held[entry.name], entry.units
            elif binding is not None:
                source, units = binding.array, binding.units
            else:
                raise CouplerError(
                    Status.FIELD,
                    f"the field '{entry.name}' of the history is neither bound by the host nor computed by an emulator; bind "
                    "it or take it off the list.",
                )
            conversion = self.fields.conversion(entry.name, units, entry.units)
            readers[entry.name] = (self._accumulator(window, entry.name, "mean", source), conversion)
        return readers

    def _open_history(self) -> None:
        assert self.config.history and self.cells
        provenance = {
            "title": "Fields of coupled emulators and of their host",
            "source": "; ".join(f"{e.name} {e.manifest.version} ({e.file.path.name})" for e in self.emulators),
            "history": f"written by coupler_plugin {report.versions()['coupler_plugin']}",
            "model_sha256": " ".join(emulator.file.sha256 for emulator in self.emulators),
            "coupling_file_sha256": sha256(self._text.encode()).hexdigest(),
            "coupling_file": self._text,
        }
        fields = {
            name: (self.fields[name], accumulator.source.size) for name, (accumulator, _) in self._history_readers.items()
        }
        self._history = History(self.config.history.file, fields, self.cells, self.clock, provenance, self.comm)

    def _write_history(self, begin: int, end: int) -> None:
        assert self._history and self.cells
        values = {}
        for name, (accumulator, conversion) in self._history_readers.items():
            values[name] = np.empty((self.cells.n, accumulator.source.size))
            accumulator.read(values[name])
            values[name] *= conversion.scale
            values[name] += conversion.offset
        self._history.write(begin, end, values)

    # --- when an alarm rings ------------------------------------------------------------------------------------

    def _ring(self) -> None:
        due = {every: window for every, window in self._windows.items() if window.alarm.rings()}
        for emulator in self.emulators:
            window = due.get(emulator.every)
            if window is None:
                continue
            self._run(emulator, window)
            self._take_samples(emulator)
        if self._history and self.config.history and self.config.history.every in due:
            since = perf_counter()
            window = due[self.config.history.every]
            if window.alarm.last >= self._history_from:
                self._write_history(window.alarm.last, self.clock.now)
            self.timers.add("history", since)
        for window in due.values():
            window.finish()
        self._next_alarm = min(window.alarm.next for window in self._windows.values())

    def _run(self, emulator: ColumnEmulator, window: Window) -> None:
        try:
            emulator.run(window.alarm.last, self.clock.now, self.timers, perf_counter())
        except CouplerError as error:
            raise CouplerError(error.status, f"at {self.clock.date(self.clock.now)}: {error}") from error

    def _take_samples(self, emulator: ColumnEmulator) -> None:
        """Let windows that average an emulator's answers see the new ones."""
        names = {self.fields[output.name].name for output in emulator.outputs}
        for window in self._windows.values():
            for (name, _), accumulator in window.accumulators.items():
                if name in names and isinstance(accumulator.source, HeldArray):
                    accumulator.update()


def _read(accumulator: Accumulator, values: NDArray[Any], begin: int, end: int) -> None:
    accumulator.read(values)


def _fill(constant: Constant, values: NDArray[Any], begin: int, end: int) -> None:
    values.fill(constant.value)


