# SPDX-License-Identifier: Apache-2.0
"""Model time: the clock that counts the host's steps, and the alarms that say when something is due.

Time is kept as whole microseconds since 0001-01-01 of the calendar, so that no rounding can ever move an alarm.
Alarms are aligned to that origin (`1d` rings at midnight, `6h` at 0, 6, 12, 18 h; `1mon` and `1yr` on the first of a
month or year), never to the start of the run: a run joined from two parts rings at the same moments as one run.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

import cftime
import numpy as np
from numpy.typing import NDArray

from coupler_plugin.errors import CouplerError, Status

CALENDARS: Final = (
    "standard", "gregorian", "proleptic_gregorian", "noleap", "365_day", "360_day", "julian", "all_leap", "366_day",
)  # fmt: skip

#: days of a year, where it has always as many
_DAYS: Final = {"noleap": 365.0, "365_day": 365.0, "360_day": 360.0, "all_leap": 366.0, "366_day": 366.0}

_MICRO: Final = 1_000_000
_FIXED: Final = {"s": _MICRO, "min": 60 * _MICRO, "h": 3600 * _MICRO, "d": 86_400 * _MICRO}
_MONTHS: Final = {"mon": 1, "yr": 12}
_INTERVAL: Final = re.compile(r"(\d+)\s*(s|min|h|d|mon|yr)")
_TIME: Final = re.compile(r"(\d{1,5})-(\d{1,2})-(\d{1,2})(?:[T ](\d{1,2}):(\d{2})(?::(\d{2}))?)?")


@dataclass(frozen=True)
class Interval:
    """A length of time: fixed (`micro` microseconds) or a number of calendar `months`."""

    text: str
    micro: int = 0
    months: int = 0


def parse_interval(text: str) -> Interval:
    """Return the interval written as ``30min``, ``1h``, ``5d``, ``1mon``, ``1yr``.

    Raises
    ------
    CouplerError
        CONFIG, when the text is no interval.
    """
    match = _INTERVAL.fullmatch(str(text).strip())
    if match is None or int(match[1]) == 0:
        raise CouplerError(
            Status.CONFIG,
            f"'{text}' is not a length of time; write a whole number and one of s, min, h, d, mon, yr, such as '6h'.",
        )
    count, unit = int(match[1]), match[2]
    if unit in _MONTHS:
        return Interval(text, months=count * _MONTHS[unit])
    return Interval(text, micro=count * _FIXED[unit])


class Clock:
    """The time of a run, in one of the CF calendars.

    Parameters
    ----------
    start : str
        Time at the beginning of the first step, ``YYYY-MM-DD`` or ``YYYY-MM-DDTHH:MM:SS``.
    dt : float
        Length of the host's step [s].
    calendar : str
        A CF calendar.

    Attributes
    ----------
    now : int
        Microseconds since 0001-01-01 at the end of the last step taken.
    steps : int
        Number of steps taken.
    """

    def __init__(self, start: str, dt: float, calendar: str) -> None:
        self.calendar = calendar
        self.dt = round(dt * _MICRO) if math.isfinite(dt) else 0
        if not (self.dt > 0 and abs(self.dt - dt * _MICRO) < 1e-3):
            raise CouplerError(
                Status.CONFIG, f"the time step is {dt!r} s; give a positive number of whole microseconds."
            )
        self.units = f"microseconds since {cftime.datetime(1, 1, 1, calendar=calendar).strftime('%Y-%m-%d')}"
        self.start = self.now = self.parse(start)
        self.steps = 0
        self._year = (0, 0)  #: begin and end of the year that was asked for last

    @property
    def days_per_year(self) -> float:
        """Days of a mean year of the calendar."""
        return _DAYS.get(self.calendar, 365.25)

    def advance(self) -> None:
        """Take one step of the host."""
        self.now += self.dt
        self.steps += 1

    def parse(self, text: str) -> int:
        """Return the time written as ``YYYY-MM-DD[THH:MM[:SS]]`` in microseconds of this calendar."""
        match = _TIME.fullmatch(str(text).strip())
        if match is None:
            raise CouplerError(
                Status.CONFIG,
                f"'{text}' is not a time; write YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, such as 2001-01-01.",
            )
        try:
            return self.micro(cftime.datetime(*(int(part or 0) for part in match.groups()), calendar=self.calendar))
        except ValueError as error:
            raise CouplerError(
                Status.CONFIG, f"'{text}' is not a time of the calendar '{self.calendar}': {error}."
            ) from error

    def micro(self, date: cftime.datetime) -> int:
        """Return a date of this calendar in microseconds since 0001-01-01, exactly."""
        days = cftime.date2num(
            cftime.datetime(date.year, date.month, date.day, calendar=self.calendar),
            self.units.replace("microseconds", "days"),
            calendar=self.calendar,
        )
        seconds = date.hour * 3600 + date.minute * 60 + date.second
        return (int(days) * 86_400 + int(seconds)) * _MICRO + int(date.microsecond)

    def micros(self, dates: NDArray[Any]) -> NDArray[np.int64]:
        """Return dates of this calendar in microseconds since 0001-01-01, exactly, many at once."""
        seconds = cftime.date2num(dates, self.units.replace("microseconds", "seconds"), calendar=self.calendar)
        parts = np.array([date.microsecond for date in dates.flat], np.int64).reshape(dates.shape)
        whole = np.floor(np.asarray(seconds, np.float64) - parts / _MICRO + 0.5).astype(np.int64)
        return whole * _MICRO + parts

    def date(self, micro: int) -> cftime.datetime:
        """Return the date of a time in microseconds since 0001-01-01."""
        return cftime.num2date(micro, self.units, calendar=self.calendar)

    def stamp(self, micro: int) -> str:
        """Return a time as file names have it: ``YYYY-MM-DD-SSSSS``, with the seconds of the day."""
        return f"{self.date(micro).strftime('%Y-%m-%d')}-{micro % (86_400 * _MICRO) // _MICRO:05d}"

    def year_phase(self, micro: int) -> float:
        """Return the share of its year that has passed at a time, in [0, 1)."""
        first, last = self._year
        if not first <= micro < last:  # dates cost more than all the rest that a step computes of the sun
            date = self.date(micro)
            first = self.micro(cftime.datetime(date.year, 1, 1, calendar=self.calendar))
            last = self.micro(cftime.datetime(date.year + 1, 1, 1, calendar=self.calendar))
            self._year = first, last
        return (micro - first) / (last - first)


class Alarm:
    """Rings at the end of the step that reaches its next moment.

    Parameters
    ----------
    clock : Clock
    every : str
        An interval; the host's step must divide it.

    Attributes
    ----------
    next : int
        The next moment it rings [microseconds since 0001-01-01].
    last : int
        The moment it rang before that, or the start of the run: the beginning of the current window.
    """

    def __init__(self, clock: Clock, every: str) -> None:
        self.interval = parse_interval(every)
        self._clock = clock
        if (self.interval.micro or self._common_length()) % clock.dt:
            raise CouplerError(
                Status.CONFIG,
                f"'every: {every}' is not a whole number of the host's steps of {clock.dt / _MICRO:g} s; "
                "choose a multiple of the step.",
            )
        self.last = clock.now
        self.next = self._after(clock.now)
        if (self.next - clock.now) % clock.dt:
            raise CouplerError(
                Status.CONFIG,
                f"the run starts at {clock.date(clock.now)}, from where steps of {clock.dt / _MICRO:g} s never end at "
                f"{clock.date(self.next)}, when 'every: {every}' is due; start at a multiple of the step.",
            )

    def rings(self) -> bool:
        """Return whether the moment has come."""
        return self._clock.now >= self.next

    def reset(self) -> None:
        """Look ahead to the next moment, after having rung."""
        self.last = self._clock.now
        self.next = self._after(self.last)

    def _common_length(self) -> int:
        """Return the microseconds of which every interval of so many months is a multiple: a day, or all of it."""
        year = _DAYS.get(self._clock.calendar)
        is_whole = self.interval.months % 12 == 0 or self._clock.calendar == "360_day"
        return (round(year * self.interval.months / 12) if year and is_whole else 1) * _FIXED["d"]

    def _after(self, now: int) -> int:
        if self.interval.micro:
            return (now // self.interval.micro + 1) * self.interval.micro
        date = self._clock.date(now)
        month = (date.year * 12 + date.month - 1) // self.interval.months * self.interval.months + self.interval.months
        return self._clock.micro(cftime.datetime(month // 12, month % 12 + 1, 1, calendar=self._clock.calendar))
