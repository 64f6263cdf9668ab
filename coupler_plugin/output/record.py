# SPDX-License-Identifier: Apache-2.0
"""Recording: what the host gave to its emulators and got back, as a cube to train on and to replay.

Inputs are kept as the emulators met them, aggregated over the interval, in float64 and in the units of whoever gave
them, so that a replay gives the emulator the same bits. Each rank keeps its cells for a stretch of times; rank 0 writes
them one field at a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.cells import Cells, Values
from coupler_plugin.clock import Clock
from coupler_plugin.config.constants import Constant
from coupler_plugin.config.files import RecordSection
from coupler_plugin.derived import DERIVED
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.emulator.gridded import GridEmulator
from coupler_plugin.emulator.ports import Reader
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.exchange import Exchange
from coupler_plugin.fields import Fields
from coupler_plugin.noise import uniform
from coupler_plugin.output import cf, history_files
from coupler_plugin.output.cf import DAY
from coupler_plugin.output.history_files import Contents, HistoryFile, Variable
from coupler_plugin.parallel import Gather, allgather, broadcast, together
from coupler_plugin.storage import cannot_write
from coupler_plugin.windows import Window

if TYPE_CHECKING:
    from mpi4py import MPI

_TIMES: Final = 32  #: most records that wait in memory
_NUMBERS: Final = 2**24  #: most numbers that wait in memory, over all ranks
_METHODS: Final = {"mean": "mean", "sum": "sum", "min": "minimum", "max": "maximum", "last": "point"}


@dataclass(frozen=True)
class Tap:
    """A field on its way into the cube: where it is read, and what it is there.

    Attributes
    ----------
    role : str
        What the field is to the emulators: input, static, output; an input that the same emulator gives is what it was
        `before`, one that comes from the clock or the sun is `derived`; `host` is what no emulator takes or gives.
    """

    field: str
    aggregate: str
    role: str
    units: str
    size: int
    reader: Reader


class Recorder:
    """Writes the cube of a run.

    Parameters
    ----------
    section : RecordSection
    window : Window
        Whose alarm it is written on.
    fields : Fields
    clock : Clock
    """

    def __init__(self, section: RecordSection, window: Window, fields: Fields, clock: Clock) -> None:
        self.section = section
        self.window = window
        self._fields = fields
        self._clock = clock
        self._from = clock.parse(section.from_) if section.from_ else 0
        self._listed = {fields[name].name for name in section.fields or ()}
        self._file: HistoryFile | None = None
        self._epoch = clock.start // DAY
        self._bounds: list[tuple[int, int]] = []
        self._stored = 0  # records in the file

    def asks(self, emulators: Sequence[ColumnEmulator]) -> set[str]:
        """Return the fields that the plugin must keep for the record."""
        return self._listed or {self._fields[o.name].name for emulator in emulators for o in emulator.outputs}

    def connect(self, exchange: Exchange, emulators: Sequence[ColumnEmulator], windows: dict[str, Window]) -> None:
        """Resolve where the fields come from; again after an array was bound anew."""
        self._taps: dict[str, Tap] = {}
        self._static: dict[str, Tap] = {}
        self._constants: dict[str, Constant] = {}
        for field, aggregate, role, emulator in self._wanted(emulators):
            found = exchange.tap(field, aggregate, emulator, self.window, windows)
            if isinstance(found, Constant):
                self._constants[field] = found
                continue
            if role == "input" and field in DERIVED and exchange.binding(field) is None:
                role = "derived"
            name = _name(field, aggregate, role)
            taps = self._static if role == "static" else self._taps
            reader, units, size = found
            taps[name] = Tap(field, aggregate, role, units, size, reader)  # an input from an emulator is its output

    def _wanted(self, emulators: Sequence[ColumnEmulator]) -> Iterable[tuple[str, str, str, ColumnEmulator | None]]:
        """Yield the fields to record: name, aggregate, role, and who takes it."""
        listed = self._listed
        for emulator in emulators:
            own = {self._fields[output.name].name for output in emulator.outputs}
            entries = [("input", e.name, e.aggregate) for e in emulator.manifest.inputs]
            in_file = emulator.from_file if isinstance(emulator, GridEmulator) else {}
            entries += [("static", e.name, "last") for e in emulator.manifest.static if e.name not in in_file]
            for role, alias, aggregate in entries:
                name = self._fields[alias].name
                if (name in listed or not listed) and name not in _COORDINATE_FIELDS:
                    yield name, aggregate, "before" if name in own else role, emulator
        for emulator in emulators:
            for output in emulator.outputs:
                name = self._fields[output.name].name
                if name in listed or not listed:
                    yield name, "mean", "output", None
        taken = {self._fields[name].name for emulator in emulators for name in _names(emulator)}
        for name in sorted(listed - taken):
            yield name, "mean", "host", None

    def open(
        self,
        cells: Cells,
        provenance: Mapping[str, str],
        emulators: Sequence[ColumnEmulator],
        comm: MPI.Comm | None,
        resume: bool,
    ) -> None:
        """Make the cube, or go on with one that an earlier part of the run wrote; a collective call."""
        self._comm = comm
        self._n = cells.n
        self._rows = _choose(self.section, cells, comm)
        self._gather = Gather(comm, cells.ids[self._rows])
        coordinates = {"lon": cells.lon, "lat": cells.lat} | ({} if cells.area is None else {"cell_area": cells.area})
        gathered = {name: self._gather(values[self._rows]) for name, values in coordinates.items()}
        gathered |= {name: self._gather(self._read(tap, 0, 0)) for name, tap in self._static.items()}
        numbers = sum(tap.size for tap in self._taps.values()) * broadcast(comm, self._gather.ids.size)
        most = max(1, min(_TIMES, _NUMBERS // max(1, numbers)))
        self._kept = {name: np.empty((most, self._rows.size, tap.size)) for name, tap in self._taps.items()}
        self._most = most

        def on_root() -> None:
            if self._gather.is_root and resume and self.section.file.exists():
                self._file = history_files.reopen(self.section.file)
                self._go_on(self._file)
            elif self._gather.is_root:
                attributes = {"Conventions": cf.CONVENTIONS, **provenance, "emulators": _describe(emulators)}
                self._file = history_files.create(self.section.file, self._contents(gathered, attributes))

        self._do(on_root)
        self._stored, self._epoch = broadcast(comm, (self._stored, self._epoch))

    def look(self) -> None:
        """Take what emulators are about to write over: inputs that they give, too."""
        if self.window.alarm.last >= self._from:
            self._take(self.window.alarm.last, self._clock.now, lambda role: role == "before")

    def _take(self, begin: int, end: int, is_meant: Callable[[str], bool]) -> None:
        for name, tap in self._taps.items():
            if is_meant(tap.role):
                self._kept[name][len(self._bounds)] = self._read(tap, begin, end)

    def write(self) -> None:
        """Take the values of the interval that ends now; a collective call."""
        begin, end = self.window.alarm.last, self._clock.now
        if begin < self._from:
            return
        self._take(begin, end, lambda role: role != "before")
        self._bounds.append((begin, end))
        if len(self._bounds) == self._most:
            self.flush()

    def flush(self) -> None:
        """Bring the records that wait to the disk; a collective call."""
        count = len(self._bounds)
        if not count:
            return
        bounds = (np.array(self._bounds) - self._epoch * DAY) / DAY  # whole numbers first: days since 0001 round
        slabs: dict[str, NDArray[Any]] = {"time": bounds.mean(axis=1), "time_bounds": bounds}
        for name, kept in self._kept.items():
            slab = self._gather(np.swapaxes(kept[:count], 0, 1)).swapaxes(0, 1)
            slabs[name] = slab if kept.shape[-1] > 1 else slab[..., 0]

        def on_root() -> None:
            if self._file is not None:
                self._file.append(self._stored, slabs)

        self._do(on_root)
        self._stored += count
        self._bounds.clear()

    def close(self) -> None:
        """Write what waits and finish the cube; a collective call."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self, tap: Tap, begin: int, end: int) -> Values:
        values = np.empty((self._n, tap.size))
        tap.reader(values, begin, end)
        return values[self._rows]

    def _do(self, work: Callable[[], None]) -> None:
        """Do what touches the file, and fail on every rank where it fails."""

        def named() -> None:
            try:
                work()
            except ImportError as error:
                raise CouplerError(
                    Status.IO,
                    f"'{self.section.file}' needs zarr: pip install 'coupler_plugin[zarr]', or write NetCDF.",
                ) from error
            except (OSError, RuntimeError, ValueError, LookupError) as error:
                raise cannot_write("record", self.section.file, error) from error

        together(self._comm, named)

    # --- the file -----------------------------------------------------------------------------------------------

    def _go_on(self, file: HistoryFile) -> None:
        """Find the end of what an earlier part of the run wrote, after checking that it belongs to this one."""
        if not np.array_equal(file.read("id"), self._gather.ids):
            raise ValueError("it has other cells than this run; move it away")
        for name, tap in self._taps.items():
            if name not in file.names() or file.attributes(name)["units"] != tap.units:
                raise ValueError(f"it has no '{name}' in '{tap.units}', as this run has; move it away")
        origin = file.attributes("time")["units"].removeprefix("days since ").split()[0]
        self._epoch = self._clock.parse(origin) // DAY
        ends = file.read("time_bounds")[:, 1]
        self._stored = int(np.count_nonzero(ends <= self._clock.start / DAY - self._epoch + 1e-6))

    def _contents(self, arrays: Mapping[str, Values], attributes: Mapping[str, str]) -> Contents:
        sizes = {"bounds": 2, "cell": self._gather.ids.size}
        for tap in (*self._taps.values(), *self._static.values()):
            sizes |= {f"level_{tap.size}": tap.size} if tap.size > 1 else {}
        variables = [*cf.time(self._clock, self._epoch), *cf.cells(self._gather.ids, arrays)]
        for name, tap in self._static.items():
            values = arrays[name] if tap.size > 1 else arrays[name][:, 0]
            variables.append(Variable(name, "f8", ("cell", *_levels(tap)), self._about(tap, arrays), values))
        for name, tap in self._taps.items():
            dims = ("time", "cell", *_levels(tap))
            variables.append(Variable(name, "f8", dims, self._about(tap, arrays), fill=np.nan))
        for name, constant in self._constants.items():
            about = {"long_name": self._fields[name].long_name, "units": constant.units}
            about |= {"field": name, "role": "constant"}
            variables.append(Variable(name, "f8", (), about, np.array(constant.value)))
        return Contents(sizes, variables, attributes)

    def _about(self, tap: Tap, arrays: Mapping[str, Values]) -> dict[str, str]:
        about = {**cf.quantity(self._fields[tap.field], tap.units), **cf.on_cells(arrays)}
        if tap.role != "static":
            about["cell_methods"] = f"time: {_METHODS[tap.aggregate]}"
        return {**about, "field": tap.field, "aggregate": tap.aggregate, "role": tap.role}


#: fields that the coordinates of the cube hold already
_COORDINATE_FIELDS: Final = ("latitude", "longitude")


def _names(emulator: ColumnEmulator) -> list[str]:
    manifest = emulator.manifest
    return [entry.name for entry in (*manifest.inputs, *manifest.static, *emulator.outputs)]


def _choose(section: RecordSection, cells: Cells, comm: MPI.Comm | None) -> NDArray[np.intp]:
    """Return the rows of this rank's cells that are recorded; a collective call."""
    chosen = uniform(cells.ids, 0, "record") < section.fraction
    if section.cells is not None:
        chosen &= np.isin(cells.ids, section.cells)
        found = sum(allgather(comm, int(np.isin(cells.ids, section.cells).sum())))
        if found < len(set(section.cells)):
            raise CouplerError(
                Status.CELLS, f"'record: cells' lists {len(set(section.cells))} ids, of which {found} are cells."
            )
    rows = np.flatnonzero(chosen)
    if not sum(allgather(comm, rows.size)):
        raise CouplerError(Status.CELLS, "'record:' leaves no cell to record; take a larger 'fraction'.")
    return rows


def _name(field: str, aggregate: str, role: str) -> str:
    """Return what a field is called in the cube."""
    parts = [field]
    if role != "static" and aggregate != "mean":
        parts.append(aggregate)
    return "_".join([*parts, "before"] if role == "before" else parts)


def _levels(tap: Tap) -> tuple[str, ...]:
    return (f"level_{tap.size}",) if tap.size > 1 else ()


def _describe(emulators: Sequence[ColumnEmulator]) -> str:
    """Return what a replay has to know of the emulators that were recorded, as JSON."""
    return json.dumps(
        [
            {
                "name": emulator.name,
                "version": emulator.manifest.version,
                "sha256": emulator.file.sha256,
                "every": emulator.every,
                "block": emulator.block,
                **emulator.section.model_dump(mode="json", exclude_none=True, include={"grid", "static", "seed"}),
                "guard": emulator.section.guard.model_dump(mode="json", exclude_none=True, exclude_defaults=True),
            }
            for emulator in emulators
        ]
    )
