# SPDX-License-Identifier: Apache-2.0
"""The times of forcing files: which interval each record stands for, in the calendar of the run.

A record stands for its time bounds where the file has them, else for the spacing of its times (centred on times that
lie in the middle of it, as daily means at noon do; beginning at them otherwise).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import cftime
import xarray as xr

from coupler_plugin.clock import Clock
from coupler_plugin.errors import CouplerError, Status

_DAY: Final = 86_400_000_000  # microseconds


@dataclass(frozen=True)
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


def read_records(files: Sequence[xr.Dataset], paths: Sequence[Path], clock: Clock) -> list[Record]:
    """Return the records of all files in the order of time.

    Raises
    ------
    CouplerError
        CONFIG, when they have a gap or an overlap, or another calendar than the run.
    """
    records = []
    for number, (file, path) in enumerate(zip(files, paths, strict=True)):
        intervals = read_intervals(file, path, clock)
        records += [Record(begin, end, number, index) for index, (begin, end) in enumerate(intervals)]
    records.sort(key=lambda record: record.begin)
    for before, after in pairwise(records):
        if before.end != after.begin:
            what = "a gap" if before.end < after.begin else "an overlap"
            raise CouplerError(
                Status.CONFIG,
                f"the forcing has {what} between {clock.date(before.end)} ('{paths[before.file]}') and "
                f"{clock.date(after.begin)} ('{paths[after.file]}').",
            )
    return records


def expand_pattern(pattern: Path) -> list[Path]:
    """Return the files that a pattern names, sorted by name."""
    if pattern.exists() or not any(sign in pattern.name for sign in "*?["):
        return [pattern]
    found = sorted(pattern.parent.glob(pattern.name))
    if not found:
        raise CouplerError(Status.IO, f"no forcing file fits '{pattern}'.")
    return found


def open_forcing(path: Path) -> xr.Dataset:
    """Open a NetCDF file or Zarr store, with its times in its own calendar, on a dimension that is called `time`."""
    coder = xr.coders.CFDatetimeCoder(use_cftime=True)
    try:
        file = xr.open_dataset(path, decode_times=coder, engine="zarr" if path.suffix == ".zarr" else None)
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        raise CouplerError(Status.IO, f"cannot read the forcing '{path}': {error}.") from error
    if "time" not in file.variables:
        times = [name for name, index in file.indexes.items() if isinstance(index, xr.CFTimeIndex)]
        file = file.rename({times[0]: "time"}) if len(times) == 1 else file
    return file


def read_intervals(file: xr.Dataset, path: Path, clock: Clock) -> list[tuple[int, int]]:
    """Return the interval that each record of a file stands for."""
    if "time" not in file.variables or file.sizes.get("time", 0) == 0:
        raise CouplerError(Status.CONFIG, f"the forcing '{path}' has no times.")
    times: Any = file["time"].values
    if not isinstance(times[0], cftime.datetime):
        raise CouplerError(
            Status.CONFIG,
            f"the times of the forcing '{path}' are no dates; give them units such as 'days since 2001-01-01', and a "
            "calendar.",
        )
    if not same_calendar(times[0], clock.calendar):
        calendar = times[0].calendar
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
            Status.CONFIG,
            f"the forcing '{path}' has one time and no bounds: what it stands for is not known; give it 'bounds', or "
            "join it with its neighbours.",
        )
    first, second = sorted(moments)[:2]
    step = second - first
    if 28 * _DAY <= step <= 31 * _DAY:
        months = [_month(moment, clock) for moment in moments]
        if len(set(months)) == len(months):  # as many days, from January on, come to two records in one
            return months
    shift = step // 2 if first % step == step // 2 else 0
    return [(moment - shift, moment - shift + step) for moment in moments]


def _month(moment: int, clock: Clock) -> tuple[int, int]:
    """Return the month in which a moment lies."""
    date = clock.date(moment)
    first = cftime.datetime(date.year, date.month, 1, calendar=clock.calendar)
    after = cftime.datetime(date.year + date.month // 12, date.month % 12 + 1, 1, calendar=clock.calendar)
    return clock.micro(first), clock.micro(after)


def same_calendar(date: cftime.datetime, other: str) -> bool:
    """Return whether the calendar of a date is that of a run, as far as its dates go."""
    synonyms = {"gregorian": "standard", "365_day": "noleap", "366_day": "all_leap"}
    names = {synonyms.get(date.calendar, date.calendar), synonyms.get(other, other)}
    # The two differ before 1582-10-15 only.
    return len(names) == 1 or (names == {"standard", "proleptic_gregorian"} and date.year > 1582)
