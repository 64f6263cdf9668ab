# SPDX-License-Identifier: Apache-2.0
"""Forcing from files: which record belongs to a step, and its values on this rank's cells.

A record stands for an interval: its time bounds where the file has them, else the spacing of its times (centred on
times that lie in the middle of it, as daily means at noon do; beginning at them otherwise).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import cftime
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from coupler_plugin.clock import Clock
from coupler_plugin.config.offline import ForcingSection
from coupler_plugin.driver.domain import read_domain
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.fields import FieldEntry, Fields

#: numbers of a field that are read at a time
_SLAB: Final = 2**22
_DAY: Final = 86_400_000_000  # microseconds


@dataclass
class Record:
    """One time of the files: the interval that it stands for [microseconds since 0001-01-01] and where it is."""

    begin: int
    end: int
    file: int
    index: int

    @property
    def middle(self) -> int:
        """Middle of the interval."""
        return (self.begin + self.end) // 2


class Forcing:
    """The fields that one set of files gives.

    Parameters
    ----------
    section : ForcingSection
    wanted : sequence of FieldEntry
        Fields that the run can use; those that the files have are taken.
    fields : Fields
    clock : Clock
        Start and step of the run, and its calendar.
    end : int
        End of the run [microseconds since 0001-01-01].

    Attributes
    ----------
    variables : dict of str to name
        Variable of each field that the files give.
    units : dict of str to str
        Its units.
    domain : Domain

    Raises
    ------
    CouplerError
        CONFIG or IO, for files that cannot be read, do not cover the run, or have gaps, overlaps or another calendar.
    """

    def __init__(
        self, section: ForcingSection, wanted: Sequence[FieldEntry], fields: Fields, clock: Clock, end: int
    ) -> None:
        self._clock = clock
        self._linear = section.interpolate == "linear"
        self._holds = section.missing == "hold"
        self._paths = [Path(path) for pattern in section.files for path in expand_pattern(pattern)]
        self._files = [open_forcing(path) for path in self._paths]
        self.variables = self._match(section, wanted, fields)
        first = next(iter(self.variables.values()))
        self.domain = read_domain(self._files[0], first, str(self._paths[0]))
        self.units = {
            name: str(self._files[0][variable].attrs.get("units", fields[name].units))
            for name, variable in self.variables.items()
        }
        self._check_files()
        self._records = self._read_times()
        self._linear &= len(self._records) > 1
        self._check_coverage(end)
        self._middles = np.array([record.middle for record in self._records])
        self._ends = np.array([record.end for record in self._records])
        #: the two newest slabs of each field: interpolation looks at both sides of where one ends
        self._slabs: dict[str, list[_Slab]] = {name: [] for name in self.variables}
        #: the record that held last, and its time
        self._number, self._begin_of_record, self._end_of_record = 0, 0, 0
        #: missing values that an earlier one stood for, by field
        self.held = dict.fromkeys(self.variables, 0)

    @property
    def covers(self) -> str:
        """What files these are and which time they cover."""
        first, last = self._records[0].begin, self._records[-1].end
        more = f" and {len(self._paths) - 1} more" if len(self._paths) > 1 else ""
        days = f"{self._clock.date(first).strftime('%Y-%m-%d')} to {self._clock.date(last).strftime('%Y-%m-%d')}"
        return f"{self._paths[0]}{more}: {len(self._records):,} records, {days}"

    @property
    def between(self) -> str:
        """What is done between the times of the files, and about missing values."""
        return ("interpolated" if self._linear else "held") + ("; gaps are held" if self._holds else "")

    def slab_bytes(self, n: int) -> int:
        """Return the bytes that are read ahead for `n` places."""
        count = min(len(self._records), max(1, _SLAB // max(1, self.domain.lon.size)))
        whole = min(_SLAB, count * self.domain.lon.size)
        return 8 * (whole + 2 * count * n * len(self.variables))

    def values(self, name: str, middle: int, places: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return a field on some places for the step whose middle is `middle` [microseconds], shape (places,).

        Raises
        ------
        CouplerError
            RUN, for a missing value, with its file, time and place.
        """
        if not self._linear:
            if not self._begin_of_record <= middle < self._end_of_record:
                self._number = int(np.searchsorted(self._ends, middle, side="right"))
                record = self._records[self._number]
                self._begin_of_record, self._end_of_record = record.begin, record.end
            return self._record(name, self._number, places)
        after = int(np.clip(np.searchsorted(self._middles, middle), 1, len(self._middles) - 1))
        before = after - 1
        weight = (middle - self._middles[before]) / (self._middles[after] - self._middles[before])
        weight = float(np.clip(weight, 0.0, 1.0))
        first, second = self._record(name, before, places), self._record(name, after, places)
        return (1.0 - weight) * first + weight * second

    def has_values(self) -> NDArray[np.bool_]:
        """Return at which places every field has a value in the first record, shape (places,)."""
        first = self._records[0]
        present = np.ones(self.domain.lon.size, bool)
        for name in self.variables:
            present &= np.isfinite(self._read(name, first.file, first.index, 1)[0])
        return present

    def variable(self, name: str) -> NDArray[np.float64]:
        """Return a variable of the first file without time, flattened over the places.

        Raises
        ------
        CouplerError
            CONFIG, when the file does not have it on the places.
        """
        file = self._files[0]
        if name not in file.variables or set(file[name].dims) != set(self.domain.dims):
            raise CouplerError(
                Status.CONFIG, f"'{self._paths[0]}' has no variable '{name}' on the cells, which 'driver: mask' names."
            )
        return np.asarray(file[name].transpose(*self.domain.dims).values, np.float64).reshape(-1)

    # --- files --------------------------------------------------------------------------------------------------

    def _match(self, section: ForcingSection, wanted: Sequence[FieldEntry], fields: Fields) -> dict[str, Hashable]:
        """Return the variable of each field: as named, or by name, alias or standard name."""
        named = {fields[name].name: variable for name, variable in section.fields.items()}
        file = self._files[0]
        found: dict[str, Hashable] = {}
        for entry in wanted:
            if entry.name in named:
                if named[entry.name] not in file.data_vars:
                    raise CouplerError(
                        Status.CONFIG,
                        f"'{self._paths[0]}' has no variable '{named[entry.name]}'; it has {_list(file)}.",
                    )
                found[entry.name] = named[entry.name]
            else:
                names = {entry.name.lower(), *(alias.lower() for alias in entry.aliases)}
                variables = [v for v in file.data_vars if str(v).lower() in names] or [
                    v for v in file.data_vars if entry.standard_name == file[v].attrs.get("standard_name", "")
                ]
                if len(variables) == 1:
                    found[entry.name] = variables[0]
        if not found:
            raise CouplerError(
                Status.CONFIG,
                f"'{self._paths[0]}' gives none of the fields that the run needs; it has {_list(file)}: name them "
                "under 'fields:'.",
            )
        return found

    def _read_times(self) -> list[Record]:
        records = []
        for number, (file, path) in enumerate(zip(self._files, self._paths, strict=True)):
            intervals = read_intervals(file, path, self._clock)
            records += [Record(begin, end, number, index) for index, (begin, end) in enumerate(intervals)]
        records.sort(key=lambda record: record.begin)
        for before, after in pairwise(records):
            if before.end != after.begin:
                what = "a gap" if before.end < after.begin else "an overlap"
                raise CouplerError(
                    Status.CONFIG,
                    f"the forcing has {what} between {self._clock.date(before.end)} ('{self._paths[before.file]}') and "
                    f"{self._clock.date(after.begin)} ('{self._paths[after.file]}').",
                )
        return records

    def _check_coverage(self, end: int) -> None:
        first, last = self._records[0].begin, self._records[-1].end
        if first > self._clock.start or last < end:
            raise CouplerError(
                Status.CONFIG,
                f"the forcing '{self._paths[0]}' covers {self._clock.date(first)} to {self._clock.date(last)}, the run "
                f"needs {self._clock.date(self._clock.start)} to {self._clock.date(end)}.",
            )

    def _check_files(self) -> None:
        """Check that all files have the variables of the first, in its units and on its places."""
        for file, path in zip(self._files[1:], self._paths[1:], strict=True):
            for name, variable in self.variables.items():
                if variable not in file.data_vars:
                    raise CouplerError(
                        Status.CONFIG, f"'{path}' has no variable '{variable}', which '{self._paths[0]}' has."
                    )
                units = str(file[variable].attrs.get("units", self.units[name]))
                if units != self.units[name]:
                    raise CouplerError(
                        Status.UNITS,
                        f"'{variable}' has the units '{units}' in '{path}' and '{self.units[name]}' in "
                        f"'{self._paths[0]}'; bring the files to one.",
                    )
            domain = read_domain(file, next(iter(self.variables.values())), str(path))
            if not (np.array_equal(domain.lon, self.domain.lon) and np.array_equal(domain.lat, self.domain.lat)):
                raise CouplerError(
                    Status.CELLS, f"'{path}' has other cells than '{self._paths[0]}'; bring the files to one grid."
                )

    def _record(self, name: str, number: int, places: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return a field on some places in one record; neighbours in time are read along with it."""
        for slab in self._slabs[name]:
            if slab.first <= number < slab.first + len(slab.values):
                break
        else:
            slab = self._load(name, number, places)
            self._slabs[name] = [slab, *self._slabs[name][:1]]
        row = number - slab.first
        if slab.missing[row]:
            if not self._holds:
                self._refuse(name, number, places, slab.values[row])
            self.held[name] += int(slab.missing[row])
        values: NDArray[np.float64] = slab.values[row]
        return values

    def _load(self, name: str, number: int, places: NDArray[np.intp]) -> _Slab:
        """Read the records from `number` on, as many as are worth a read, and fill gaps if that is asked for."""
        record = self._records[number]
        count = max(1, _SLAB // max(1, self.domain.lon.size))
        values = self._read(name, record.file, record.index, count, places)
        is_missing = ~np.isfinite(values)
        missing = np.count_nonzero(is_missing, axis=1)
        if self._holds and missing.any():
            if is_missing[0].any():
                before = next((s for s in self._slabs[name] if s.first + len(s.values) == number), None)
                known = self._last_known(name, number, places[is_missing[0]]) if before is None else before.values[-1]
                values[0, is_missing[0]] = known if before is None else known[is_missing[0]]
            # The row of the newest value of each place, up to each record.
            rows = np.where(np.isfinite(values), np.arange(len(values))[:, None], 0)
            values = np.take_along_axis(values, np.maximum.accumulate(rows, axis=0), axis=0)
        return _Slab(number, values, missing)

    def _last_known(self, name: str, number: int, places: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the newest values before a record; a run that begins in a gap has those of one that came there."""
        found = np.full(places.size, np.nan)
        for earlier in range(number - 1, -1, -1):
            record = self._records[earlier]
            values = self._read(name, record.file, record.index, 1, places)[0]
            found = np.where(np.isfinite(found), found, values)
            if np.isfinite(found).all():
                return found
        self._refuse(name, number, places, found)
        return found

    def _refuse(self, name: str, number: int, places: NDArray[np.intp], values: NDArray[np.float64]) -> None:
        place = places[np.flatnonzero(~np.isfinite(values))[0]]
        record = self._records[number]
        where = f"longitude {self.domain.lon[place]:g}, latitude {self.domain.lat[place]:g}"
        remedy = "" if self._holds else " go on with the last value by 'missing: hold',"
        raise CouplerError(
            Status.RUN,
            f"'{self._paths[record.file]}' has no value of '{self.variables[name]}' at "
            f"{self._clock.date(record.middle)} in cell {place + 1} ({where}); fill it,{remedy} or leave the cell out "
            "with 'driver: mask'.",
        )

    def _read(
        self, name: str, file: int, index: int, count: int, places: NDArray[np.intp] | None = None
    ) -> NDArray[np.float64]:
        """Return up to `count` records of one file on some places (all, without), shape (records, places)."""
        variable = self._files[file][self.variables[name]]
        part = variable.isel(time=slice(index, index + count)).transpose("time", *self.domain.dims)
        if places is None or not places.size:
            return _flat(part)[:, slice(None) if places is None else places]
        # Of the first dimension, only what the places span: a rank does not read what others own.
        width = int(np.prod([part.sizes[dim] for dim in self.domain.dims[1:]], dtype=int))
        first, last = int(places.min()) // width, int(places.max()) // width
        return _flat(part.isel({self.domain.dims[0]: slice(first, last + 1)}))[:, places - first * width]


@dataclass(frozen=True)
class _Slab:
    """Neighbouring records of a field on this rank's places: values (records, places), missing ones of each record."""

    first: int
    values: NDArray[np.float64]
    missing: NDArray[np.intp]


def _flat(part: xr.DataArray) -> NDArray[np.float64]:
    return np.asarray(part.values, np.float64).reshape(part.sizes["time"], -1)


def expand_pattern(pattern: Path) -> list[Path]:
    """Return the files that a pattern names, sorted by name."""
    if not any(sign in pattern.name for sign in "*?["):
        return [pattern]
    found = sorted(pattern.parent.glob(pattern.name))
    if not found:
        raise CouplerError(Status.IO, f"no forcing file fits '{pattern}'.")
    return found


def open_forcing(path: Path) -> xr.Dataset:
    """Open a NetCDF file or Zarr store, with its times in its own calendar."""
    coder = xr.coders.CFDatetimeCoder(use_cftime=True)
    try:
        return xr.open_dataset(path, decode_times=coder, engine="zarr" if path.suffix == ".zarr" else None)
    except (OSError, ValueError, ImportError) as error:
        raise CouplerError(Status.IO, f"cannot read the forcing '{path}': {error}.") from error


def _list(file: xr.Dataset) -> str:
    return ", ".join(str(name) for name in file.data_vars)


def read_intervals(file: xr.Dataset, path: Path, clock: Clock) -> list[tuple[int, int]]:
    """Return the interval that each record of a file stands for."""
    if "time" not in file.variables or file.sizes.get("time", 0) == 0:
        raise CouplerError(Status.CONFIG, f"the forcing '{path}' has no times.")
    times: Any = file["time"].values
    calendar = getattr(times[0], "calendar", None)
    if calendar is None or not _same_calendar(times[0], clock.calendar):
        raise CouplerError(
            Status.CONFIG,
            f"the forcing '{path}' has the calendar '{calendar}', the run '{clock.calendar}'; write "
            f"'calendar: {calendar}' in the coupling file, or convert the forcing.",
        )
    bounds = file["time"].attrs.get("bounds")
    if bounds in file.variables:
        return [(int(begin), int(end)) for begin, end in clock.micros(file[bounds].values)]
    moments = clock.micros(times).tolist()
    if len(moments) < 2:
        raise CouplerError(
            Status.CONFIG, f"the forcing '{path}' has one time and no bounds: what it stands for is not known."
        )
    step = moments[1] - moments[0]
    if 28 * _DAY <= step <= 31 * _DAY and step != 30 * _DAY:  # months of a calendar
        return [_month(moment, clock) for moment in moments]
    shift = step // 2 if moments[0] % step == step // 2 else 0
    return [(moment - shift, moment - shift + step) for moment in moments]


def _month(moment: int, clock: Clock) -> tuple[int, int]:
    """Return the month in which a moment lies."""
    date = clock.date(moment)
    first = cftime.datetime(date.year, date.month, 1, calendar=clock.calendar)
    after = cftime.datetime(date.year + date.month // 12, date.month % 12 + 1, 1, calendar=clock.calendar)
    return clock.micro(first), clock.micro(after)


def _same_calendar(date: cftime.datetime, other: str) -> bool:
    """Return whether the calendar of a date is that of a run, as far as its dates go."""
    synonyms = {"gregorian": "standard", "365_day": "noleap", "366_day": "all_leap"}
    names = {synonyms.get(date.calendar, date.calendar), synonyms.get(other, other)}
    # The two differ before 1582-10-15 only.
    return len(names) == 1 or (names == {"standard", "proleptic_gregorian"} and date.year > 1582)
