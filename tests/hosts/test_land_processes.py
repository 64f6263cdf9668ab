# SPDX-License-Identifier: Apache-2.0
"""The processes of the land model, called one by one from small Fortran programs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Values = Callable[[str], dict[str, float]]


@pytest.fixture(scope="module")
def disaggregation(values_of: Values) -> dict[str, float]:
    return values_of("disaggregation_means")


@pytest.fixture(scope="module")
def surface(values_of: Values) -> dict[str, float]:
    return values_of("surface_energy_cases")


@pytest.mark.parametrize("flux", ["shortwave", "temperature", "longwave", "precipitation"])
def test_hours_average_to_the_day_they_came_from(disaggregation: dict[str, float], flux: str) -> None:
    assert disaggregation[flux] < 1e-15


def test_the_sun_stands_where_the_textbook_says(disaggregation: dict[str, float]) -> None:
    assert disaggregation["cosine_zenith"] < 1e-15  # sum over hours against the integral over the day
    assert disaggregation["solstice"] == pytest.approx(23.44, abs=0.01)
    assert disaggregation["least_shortwave"] >= 0.0


def test_the_temperature_peaks_in_the_early_afternoon(disaggregation: dict[str, float]) -> None:
    assert disaggregation["warmest_hour"] == 14.5
    assert 10.0 < disaggregation["widest_range"] < 20.0
    assert disaggregation["narrowest_range"] == 0.0  # polar night


def test_rain_may_start_at_any_hour(disaggregation: dict[str, float]) -> None:
    assert disaggregation["rarest_start"] > 0.8
    assert disaggregation["commonest_start"] < 1.2


def test_the_balance_of_the_surface_is_solved_to_rounding(surface: dict[str, float]) -> None:
    assert abs(surface["ground"]) < 1e-10
    assert abs(surface["sum"]) < 1e-10
    assert surface["melt_without_snow"] == 0.0


def test_evaporation_is_that_of_penman_and_monteith_near_the_air_temperature(surface: dict[str, float]) -> None:
    assert abs(surface["skin_less_air"]) < 1.0
    assert abs(surface["penman_monteith"]) < 0.002


def test_no_path_gives_more_water_than_it_has(surface: dict[str, float]) -> None:
    assert surface["limited_transpiration"] == 0.05
    assert surface["warmer_by"] > 0.1
    assert abs(surface["ground_when_limited"]) < 5.0


def test_snow_melts_at_the_freezing_point_and_never_below_nothing(surface: dict[str, float]) -> None:
    assert surface["skin_of_melting_snow"] == 0.0
    assert surface["melt"] > 0.5
    assert abs(surface["ground_under_snow"]) < 1e-10
    assert 0.0 <= surface["last_snow"] < 1e-12
    assert surface["skin_after_snow"] > 0.0
