# SPDX-License-Identifier: Apache-2.0
"""Model time: calendars, and alarms that ring once a window wherever a run begins."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import cftime
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from refusal import refused

from coupler_plugin import Status
from coupler_plugin.clock import CALENDARS, Alarm, Clock, parse_interval

HOUR = 3_600_000_000
DAY = 24 * HOUR

calendars = st.sampled_from(CALENDARS)
steps = st.sampled_from([600, 1800, 3600, 10_800, 21_600, 86_400])
fixed = st.sampled_from(["30min", "1h", "3h", "6h", "7h", "12h", "1d", "5d", "30d"])
months = st.sampled_from(["1mon", "3mon", "5mon", "1yr"])
dates = st.tuples(st.integers(1850, 2100), st.integers(1, 12), st.integers(1, 28), st.integers(0, 23))


def text(date: tuple[int, ...]) -> str:
    return "{:04d}-{:02d}-{:02d}T{:02d}:00:00".format(*date)


def is_due(date: cftime.datetime, every: str) -> bool:
    """Say from the date alone, without the plugin's arithmetic, whether `every` is due."""
    interval = parse_interval(every)
    if interval.months:
        is_midnight = (date.hour, date.minute, date.second) == (0, 0, 0)
        return is_midnight and date.day == 1 and (12 * date.year + date.month - 1) % interval.months == 0
    seconds = cftime.date2num(date, "seconds since 0001-01-01", calendar=date.calendar)
    return int(seconds) % (interval.micro // 1_000_000) == 0


def rings(start: str, dt: int, calendar: str, every: str, n: int) -> tuple[Clock, list[int]]:
    """Return the clock after `n` steps and the moments at which the alarm rang."""
    clock = Clock(start, dt, calendar)
    alarm = Alarm(clock, every)
    moments = []
    for _ in range(n):
        clock.advance()
        if alarm.rings():
            moments.append(clock.now)
            alarm.reset()
    return clock, moments


def fits(start: tuple[int, ...], dt: int, every: str) -> bool:
    interval = parse_interval(every)
    return start[3] * 3600 % dt == 0 and (interval.months > 0 or interval.micro % (dt * 1_000_000) == 0)


# --- alarms ---------------------------------------------------------------------------------------------------


@given(dates, steps, calendars, fixed | months)
@example((1999, 12, 30, 18), 21_600, "360_day", "1yr")
@example((2004, 2, 28, 0), 3600, "standard", "1mon")
@example((2001, 1, 1, 0), 86_400, "noleap", "5d")
def test_alarm_rings_exactly_when_the_date_says_so(start: tuple[int, ...], dt: int, calendar: str, every: str) -> None:
    assume(fits(start, dt, every))
    n = min(500, 40 * 86_400 // dt)
    clock, moments = rings(text(start), dt, calendar, every, n)
    date = cftime.datetime(*start, calendar=calendar)
    ends = [date + timedelta(seconds=dt * (k + 1)) for k in range(n)]
    assert [clock.date(moment) for moment in moments] == [end for end in ends if is_due(end, every)]


@given(dates, steps, calendars, fixed | months, st.integers(1, 200))
def test_alarm_rings_at_the_same_moments_wherever_the_run_begins(
    start: tuple[int, ...], dt: int, calendar: str, every: str, skipped: int
) -> None:
    assume(fits(start, dt, every))
    clock, moments = rings(text(start), dt, calendar, every, skipped + 200)
    later = clock.date(clock.start + skipped * clock.dt).strftime("%Y-%m-%dT%H:%M:%S")
    _, moments_of_second_part = rings(later, dt, calendar, every, 200)
    assert moments_of_second_part == [m for m in moments if m > clock.start + skipped * clock.dt]


@given(dates, calendars, st.sampled_from(["6h", "1d", "5d", "1mon"]))
def test_windows_follow_each_other_without_gap_or_overlap(start: tuple[int, ...], calendar: str, every: str) -> None:
    clock = Clock(text(start), 3600, calendar)
    alarm = Alarm(clock, every)
    windows = []
    for _ in range(1000):
        clock.advance()
        if alarm.rings():
            windows.append((alarm.last, clock.now))
            alarm.reset()
            assert not alarm.rings()
    assert windows[0][0] == clock.start
    assert all(before[1] == after[0] for before, after in pairwise(windows))


def test_month_alarm_follows_the_lengths_of_months() -> None:
    expected = {"standard": [31, 29, 31], "noleap": [31, 28, 31], "360_day": [30, 30, 30], "all_leap": [31, 29, 31]}
    for calendar, lengths in expected.items():
        clock, moments = rings("2004-01-01", 86_400, calendar, "1mon", 100)
        days = [(m - clock.start) // DAY for m in moments]
        assert [b - a for a, b in pairwise([0, *days])][:3] == lengths, calendar


def test_alarm_of_years_rings_on_the_first_of_january() -> None:
    clock, moments = rings("2003-07-01", 86_400, "standard", "2yr", 2500)
    assert [str(clock.date(m)) for m in moments] == [f"{year}-01-01 00:00:00" for year in (2004, 2006, 2008, 2010)]


def test_sub_second_steps_ring_on_time_after_a_million_steps() -> None:
    clock = Clock("2001-01-01", 0.1, "standard")
    clock.now += 999_999 * clock.dt
    alarm = Alarm(clock, "1s")
    clock.advance()
    assert alarm.rings()
    assert clock.now - clock.start == 100_000 * 1_000_000


def test_interval_that_is_no_multiple_of_the_step_is_refused() -> None:
    with refused(Status.CONFIG, "every: 1h", "2700 s", "multiple of the step"):
        Alarm(Clock("2001-01-01", 2700, "standard"), "1h")
    with refused(Status.CONFIG, "every: 1mon", "whole number"):
        Alarm(Clock("2001-01-01", 7 * 3600, "standard"), "1mon")


@pytest.mark.parametrize(
    ("calendar", "days", "every", "lengths"),
    [("360_day", 30, "1mon", 30), ("360_day", 5, "3mon", 90), ("noleap", 5, "1yr", 365), ("366_day", 61, "2yr", 732)],
)
def test_months_and_years_that_are_always_as_long_may_have_steps_of_days(
    calendar: str, days: int, every: str, lengths: int
) -> None:
    clock, moments = rings("2000-01-01", days * 86_400, calendar, every, 2000)
    assert len(moments) > 20
    assert {b - a for a, b in pairwise(moments)} == {lengths * DAY}
    assert clock.date(moments[0]).day == 1


@pytest.mark.parametrize(
    ("calendar", "days", "every"), [("noleap", 5, "1mon"), ("360_day", 7, "1mon"), ("standard", 5, "1yr")]
)
def test_months_and_years_that_steps_of_days_do_not_meet_are_refused(calendar: str, days: int, every: str) -> None:
    with refused(Status.CONFIG, f"every: {every}", "whole number"):
        Alarm(Clock("2000-01-01", days * 86_400, calendar), every)


def test_interval_shorter_than_the_step_is_refused() -> None:
    with refused(Status.CONFIG, "every: 1h", "86400 s"):
        Alarm(Clock("2001-01-01", 86_400, "standard"), "1h")


@pytest.mark.parametrize("every", ["6h", "1d", "1mon"])
def test_start_between_steps_is_refused(every: str) -> None:
    with refused(Status.CONFIG, "00:30:00", f"every: {every}", "start at a multiple"):
        Alarm(Clock("2001-01-01T00:30:00", 3600, "standard"), every)


# --- intervals ------------------------------------------------------------------------------------------------


@given(st.integers(1, 999), st.sampled_from(["s", "min", "h", "d"]), st.sampled_from(["", " "]))
def test_interval_is_a_number_times_a_unit(count: int, unit: str, gap: str) -> None:
    micro = {"s": 1_000_000, "min": 60_000_000, "h": HOUR, "d": DAY}[unit]
    assert parse_interval(f"{count}{gap}{unit}").micro == count * micro


@pytest.mark.parametrize("wrong", ["", "1", "h", "0h", "1.5h", "-1d", "1 week", "1m", "one day", "1h30min", "1D"])
def test_text_that_is_no_interval_is_refused(wrong: str) -> None:
    with refused(Status.CONFIG, f"'{wrong}'", "such as '6h'"):
        parse_interval(wrong)


# --- dates ----------------------------------------------------------------------------------------------------


@given(dates, calendars)
def test_date_and_microseconds_are_inverse(date: tuple[int, ...], calendar: str) -> None:
    clock = Clock(text(date), 3600, calendar)
    assert clock.date(clock.start) == cftime.datetime(*date, calendar=calendar)
    assert clock.micro(clock.date(clock.start)) == clock.start


@pytest.mark.parametrize("short", ["2001-01-01", "2001-1-1", "2001-01-01T00:00", "2001-01-01 00:00:00"])
def test_time_may_be_written_short_and_long(short: str) -> None:
    assert Clock(short, 3600, "standard").start == Clock("2001-01-01T00:00:00", 3600, "standard").start


@pytest.mark.parametrize(
    ("calendar", "date"), [("360_day", "2001-02-30"), ("all_leap", "2001-02-29"), ("julian", "1900-02-29")]
)
def test_each_calendar_has_its_own_days(calendar: str, date: str) -> None:
    clock = Clock(date, 3600, calendar)
    assert clock.date(clock.start).strftime("%Y-%m-%d") == date


@pytest.mark.parametrize(
    ("calendar", "date"),
    [("noleap", "2004-02-29"), ("360_day", "2001-01-31"), ("standard", "2001-02-29"), ("standard", "2001-13-01")],
)
def test_day_that_the_calendar_lacks_is_refused(calendar: str, date: str) -> None:
    with refused(Status.CONFIG, date, calendar):
        Clock(date, 3600, calendar)


@pytest.mark.parametrize("wrong", ["", "now", "2001", "2001-01", "01.01.2001", "2001-01-01T", "2001-01-01T00"])
def test_text_that_is_no_time_is_refused(wrong: str) -> None:
    with refused(Status.CONFIG, "is not a time", "YYYY-MM-DD"):
        Clock(wrong, 3600, "standard")


@pytest.mark.parametrize("dt", [0.0, -3600.0, 1e-7, 0.12345678, float("nan"), float("inf")])
def test_step_that_is_no_whole_positive_microseconds_is_refused(dt: float) -> None:
    with refused(Status.CONFIG, "time step", "positive"):
        Clock("2001-01-01", dt, "standard")


@given(dates, calendars)
def test_phase_of_the_year_is_the_share_of_its_days_that_passed(date: tuple[int, ...], calendar: str) -> None:
    clock = Clock(text(date), 3600, calendar)
    then = cftime.datetime(*date, calendar=calendar)
    length = cftime.datetime(date[0], 12, 28, calendar=calendar).dayofyr + (2 if calendar == "360_day" else 3)
    assert clock.year_phase(clock.start) == pytest.approx((then.dayofyr - 1 + date[3] / 24) / length, abs=1e-12)


@pytest.mark.parametrize("calendar", CALENDARS)
def test_many_dates_at_once_are_those_one_by_one(calendar: str) -> None:
    clock = Clock("2001-01-01", 3600.0, calendar)
    dates = np.array([
        cftime.datetime(year, month, 28, hour, 59, 59, micro, calendar=calendar)
        for year, month, hour, micro in ((1, 1, 0, 0), (1583, 2, 7, 1), (1999, 12, 23, 999_999), (2400, 6, 12, 500_000))
    ])  # fmt: skip
    assert clock.micros(dates).tolist() == [clock.micro(date) for date in dates]
    assert clock.micros(dates.reshape(2, 2)).shape == (2, 2)
