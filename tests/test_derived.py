# SPDX-License-Identifier: Apache-2.0
"""Derived inputs, against formulas and numbers that do not come from the plugin."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coupler_plugin.cells import Cells
from coupler_plugin.clock import CALENDARS, Clock
from coupler_plugin.derived import DERIVED, SOLAR_CONSTANT, Sun

HOUR = 3_600_000_000
DAY = 24 * HOUR


def cells_at(lat: object, lon: object = 0.0) -> Cells:
    lat, lon = np.broadcast_arrays(np.atleast_1d(lat).astype(float), lon)
    return Cells(np.arange(1, lat.size + 1), lon, lat)


def derived(name: str, cells: Cells, begin: str, length: int, calendar: str = "standard") -> np.ndarray:
    clock = Clock(begin, 3600, calendar)
    return np.broadcast_to(DERIVED[name][1](Sun(clock, cells, clock.start, clock.start + length), cells), cells.n)


def integrated_cos_zenith(cells: Cells, declination: float, begin_hour: float, hours: float) -> np.ndarray:
    """Return the mean of the cosine of the zenith angle by summing many moments, with the sun highest at 12 h."""
    utc = begin_hour + (np.arange(20_000) + 0.5) / 20_000 * hours
    hour_angle = np.deg2rad(15.0 * (utc[:, None] - 12.0) + cells.lon)
    lat = np.deg2rad(cells.lat)
    cosine = np.sin(lat) * np.sin(declination) + np.cos(lat) * np.cos(declination) * np.cos(hour_angle)
    return np.maximum(cosine, 0.0).mean(axis=0)


# --- the sun --------------------------------------------------------------------------------------------------


@given(
    st.floats(-90, 90),
    st.floats(-360, 360),
    st.integers(0, 364),
    st.integers(0, 23),
    st.sampled_from([1, 3, 6, 12, 18]),
)
def test_mean_cos_zenith_is_the_integral_over_the_window(lat: float, lon: float, day: int, hour: int, n: int) -> None:
    clock = Clock("2001-01-01", 3600, "noleap")
    begin = clock.start + day * DAY + hour * HOUR
    cells = cells_at(lat, lon)
    sun = Sun(clock, cells, begin, begin + n * HOUR)
    expected = integrated_cos_zenith(cells, sun.declination, hour, n)
    np.testing.assert_allclose(sun.mean_cos_zenith(), expected, atol=2e-4)


@given(st.floats(-90, 90), st.integers(0, 364))
def test_mean_cos_zenith_of_a_day_is_the_integral_over_the_day(lat: float, day: int) -> None:
    clock = Clock("2001-01-01", 3600, "noleap")
    begin = clock.start + day * DAY
    cells = cells_at(lat, 77.0)
    sun = Sun(clock, cells, begin, begin + DAY)
    np.testing.assert_allclose(
        sun.mean_cos_zenith(), integrated_cos_zenith(cells, sun.declination, 0.0, 24.0), atol=1e-5
    )


@given(st.lists(st.integers(0, 24), min_size=2, max_size=6, unique=True), st.floats(-90, 90), st.floats(-180, 180))
def test_mean_over_a_window_is_the_mean_over_its_parts(hours: list[int], lat: float, lon: float) -> None:
    clock = Clock("2001-03-20", 3600, "noleap")
    moments = [clock.start + hour * HOUR for hour in sorted(hours)]
    cells = cells_at(lat, lon)
    parts = [Sun(clock, cells, a, b).mean_cos_zenith() * (b - a) for a, b in pairwise(moments)]
    whole = Sun(clock, cells, moments[0], moments[-1]).mean_cos_zenith() * (moments[-1] - moments[0])
    # the declination is that of the middle of each window: it moves by 0.4 degrees in a day of March
    np.testing.assert_allclose(sum(parts) / DAY, whole / DAY, atol=4e-3)


@pytest.mark.parametrize(("date", "degrees"), [("06-21", 23.45), ("12-21", -23.45), ("03-20", 0.0), ("09-22", 0.0)])
def test_declination_at_solstices_and_equinoxes(date: str, degrees: float) -> None:
    clock = Clock(f"2001-{date}", 3600, "standard")
    sun = Sun(clock, cells_at(0.0), clock.start, clock.start + DAY)
    assert math.degrees(sun.declination) == pytest.approx(degrees, abs=0.6)


def test_sun_is_nearest_in_early_january() -> None:
    clock = Clock("2001-01-01", 3600, "noleap")
    factors = [
        Sun(clock, cells_at(0.0), clock.start + d * DAY, clock.start + (d + 1) * DAY).distance_factor
        for d in range(365)
    ]
    assert np.argmax(factors) in range(10)
    assert max(factors) == pytest.approx((1 / 0.98329) ** 2, abs=1e-3)  # distances of the almanac [au]
    assert min(factors) == pytest.approx((1 / 1.01671) ** 2, abs=1e-3)


def test_sun_is_highest_at_noon_of_the_longitude() -> None:
    lon = np.arange(-180.0, 181.0, 15.0)
    cells = cells_at(np.zeros(lon.size), lon)
    hourly = np.array([derived("cos_zenith", cells, f"2001-03-20T{h:02d}:00", HOUR) for h in range(24)])
    noon = (12.0 - lon / 15.0) % 24
    for place in range(lon.size):
        assert {int(h) for h in np.argsort(hourly[:, place])[-2:]} == {int(noon[place]), int(noon[place] - 1) % 24}


# --- day length -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lat", "date", "hours"),
    [
        # from the centre of the sun at the horizon, without refraction: 2/15 acos(-tan(lat) tan(declination))
        (0.0, "06-21", 12.00),
        (40.0, "06-21", 14.85),
        (51.5, "06-21", 16.40),
        (51.5, "12-21", 7.60),
        (60.0, "06-21", 18.49),
        (-33.9, "12-21", 14.26),
        (51.5, "03-20", 11.98),
    ],
)
def test_day_length_of_known_places(lat: float, date: str, hours: float) -> None:
    assert derived("day_length", cells_at(lat), f"2001-{date}", DAY)[0] == pytest.approx(hours, abs=0.1)


def test_polar_night_and_polar_day() -> None:
    cells = cells_at([-90.0, -80.0, 80.0, 90.0])
    for date, expected in (("06-21", [0, 0, 24, 24]), ("12-21", [24, 24, 0, 0])):
        np.testing.assert_array_equal(derived("day_length", cells, f"2001-{date}", DAY), expected)
        for name in ("cos_zenith", "rsdt"):
            assert list(derived(name, cells, f"2001-{date}", DAY) > 0) == [bool(hours) for hours in expected]
            assert list(derived(name, cells, f"2001-{date}", HOUR) > 0) == [bool(hours) for hours in expected]


@given(st.floats(-89.9, 89.9), st.integers(0, 364))
def test_night_here_is_day_on_the_other_side(lat: float, day: int) -> None:
    clock = Clock("2001-01-01", 3600, "noleap")
    begin = clock.start + day * DAY
    north, south = Sun(clock, cells_at([lat, -lat]), begin, begin + DAY).half_day() * 24 / np.pi
    assert north + south == pytest.approx(24.0, abs=1e-9)


# --- radiation ------------------------------------------------------------------------------------------------


def test_globe_receives_a_quarter_of_the_solar_constant_in_a_year() -> None:
    # the sine of latitude in equal steps gives bands of equal area
    cells = cells_at(np.rad2deg(np.arcsin((np.arange(200) + 0.5) / 100 - 1)))
    clock = Clock("2001-01-01", 3600, "noleap")
    days = [clock.start + day * DAY for day in range(365)]
    year = np.mean([DERIVED["rsdt"][1](Sun(clock, cells, d, d + DAY), cells) for d in days], axis=0)
    assert year.mean() == pytest.approx(SOLAR_CONSTANT / 4, rel=1e-3)
    assert year[100] == pytest.approx(417, abs=2)  # equator and pole: annual means of the textbooks [W m-2]
    assert year[-1] == pytest.approx(174, abs=4)


def test_radiation_of_a_day_is_the_mean_of_its_hours() -> None:
    cells = cells_at([-70.0, -23.0, 0.0, 48.0, 66.0, 89.0], 123.0)
    hours = [derived("rsdt", cells, f"2001-06-21T{h:02d}:00", HOUR) for h in range(24)]
    np.testing.assert_allclose(np.mean(hours, axis=0), derived("rsdt", cells, "2001-06-21", DAY), rtol=1e-3, atol=0.01)


# --- season and place -----------------------------------------------------------------------------------------


@given(st.sampled_from(CALENDARS), st.integers(0, 359))
def test_sine_and_cosine_of_the_season_are_of_one_phase(calendar: str, day: int) -> None:
    clock = Clock("2001-01-01", 3600, calendar)
    begin = clock.start + day * DAY
    sun = Sun(clock, cells_at(0.0), begin, begin + DAY)
    sine, cosine = (DERIVED[f"day_of_year_{which}"][1](sun, cells_at(0.0)) for which in ("sin", "cos"))
    length = {"360_day": 360, "all_leap": 366, "366_day": 366}.get(calendar, 365)
    angle = 2 * math.pi * (day + 0.5) / length
    assert (sine, cosine) == (pytest.approx(math.sin(angle), abs=1e-9), pytest.approx(math.cos(angle), abs=1e-9))


def test_season_turns_over_at_new_year() -> None:
    before = derived("day_of_year_sin", cells_at(0.0), "2001-12-31T23:00", HOUR)[0]
    after = derived("day_of_year_sin", cells_at(0.0), "2002-01-01", HOUR)[0]
    assert before < 0 < after < 1e-3


def test_position_is_that_of_the_cells() -> None:
    cells = cells_at([10.0, -20.0], [30.0, -40.0])
    np.testing.assert_array_equal(derived("latitude", cells, "2001-01-01", HOUR), [10.0, -20.0])
    np.testing.assert_array_equal(derived("longitude", cells, "2001-01-01", HOUR), [30.0, -40.0])
