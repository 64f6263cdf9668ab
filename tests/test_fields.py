# SPDX-License-Identifier: Apache-2.0
"""The field dictionary, and the conversion of units."""

from __future__ import annotations

import math

import cf_units
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusal import refused

from coupler_plugin import Status
from coupler_plugin.derived import DERIVED
from coupler_plugin.fields import Conversion, FieldEntry, Fields, read_entries

FIELDS = Fields()
OWN = list(FIELDS._entries.values())

#: units in which hosts give a field
SPELLINGS = {
    "tas": ["K", "degC", "degF", "celsius"],
    "ps": ["Pa", "hPa", "kPa", "mbar"],
    "pr": ["kg m-2 s-1", "kg m-2 d-1", "mm d-1", "mm/h", "m s-1", "g m-2 s-1"],
    "mrso": ["kg m-2", "mm", "m", "cm"],
    "rsds": ["W m-2", "MJ m-2 d-1", "J m-2 s-1", "kW m-2"],
    "gpp": ["kg m-2 s-1", "g m-2 d-1", "kg m-2 yr-1"],
    "huss": ["1", "kg kg-1", "g kg-1", "%"],
    "co2": ["1e-6", "ppm", "1", "ppb", "%"],
    "day_length": ["h", "s", "d"],
}
pairs = st.sampled_from(sorted(SPELLINGS)).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from(SPELLINGS[name]), st.sampled_from(SPELLINGS[name]))
)
numbers = st.floats(-1e6, 1e6, allow_subnormal=False)


def converted(conversion: Conversion, values: object) -> np.ndarray:
    source = np.asarray(values, dtype=np.float64)
    result = np.full_like(source, np.nan)
    conversion.apply(source, result)
    return result


# --- the dictionary -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", OWN, ids=lambda entry: entry.name)
def test_entry_has_readable_units_and_a_range(entry: FieldEntry) -> None:
    assert not cf_units.Unit(entry.units).is_unknown()
    assert entry.valid_range is not None
    assert entry.valid_range[0] < entry.valid_range[1]
    assert FIELDS.conversion(entry.name, entry.units, entry.units).is_identity


def test_no_name_or_alias_stands_for_two_fields() -> None:
    names = [name.lower() for entry in OWN for name in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))


def test_every_derived_field_is_in_the_dictionary_in_the_same_units() -> None:
    for name, (units, _) in DERIVED.items():
        assert FIELDS.conversion(name, units, FIELDS[name].units).is_identity


def test_only_fields_of_water_take_depths() -> None:
    assert {entry.name for entry in OWN if entry.water} == {
        *("pr", "prsn", "evspsbl", "mrro", "mrso", "mrsos", "mrsod", "snw"),
    }


@pytest.mark.parametrize("alias", ["t2m", "T2M", "Tas", "TAIR", "sfctmp"])
def test_field_is_found_by_alias_in_any_case(alias: str) -> None:
    assert FIELDS[alias].name == "tas"


@pytest.mark.parametrize(
    ("wrong", "right"), [("tass", "tas"), ("gp", "gpp"), ("evspsb", "evspsbl"), ("longitud", "longitude")]
)
def test_unknown_field_is_refused_with_the_nearest_name(wrong: str, right: str) -> None:
    with refused(Status.FIELD, f"'{wrong}'", f"Did you mean '{right}'?", "'fields:'"):
        FIELDS[wrong]


def test_unknown_field_without_a_neighbour_is_refused_without_a_guess() -> None:
    with refused(Status.FIELD, "'xyzzy' in the dictionary. Add it"):
        FIELDS["xyzzy"]


def test_user_adds_a_field_and_replaces_one() -> None:
    extra = read_entries(
        "- {name: npp, long_name: net primary production, units: kg m-2 s-1, aliases: [net_pp]}\n"
        "- {name: lai, long_name: my leaf area, units: 1}\n"
    )
    fields = Fields(extra)
    assert fields["NET_PP"].name == "npp"
    assert fields["lai"].long_name == "my leaf area"
    assert fields["lai"].units == "1"
    assert Fields()["lai"].long_name == "leaf area index"


# --- units ----------------------------------------------------------------------------------------------------


@given(pairs, st.lists(numbers, min_size=1, max_size=5))
def test_conversion_there_and_back_is_the_identity(pair: tuple[str, str, str], values: list[float]) -> None:
    name, here, there = pair
    back = converted(FIELDS.conversion(name, there, here), converted(FIELDS.conversion(name, here, there), values))
    # an offset of 273.15 leaves the rounding of 273.15, or of its value in the larger numbers of the other scale
    np.testing.assert_allclose(back, values, rtol=1e-13, atol=1e-12)


@given(pairs, numbers)
def test_conversion_agrees_with_udunits(pair: tuple[str, str, str], value: float) -> None:
    name, here, there = pair
    water = cf_units.Unit("1000 kg m-3")
    source, target = (
        cf_units.Unit(text) * water if FIELDS[name].water and text.startswith(("m", "cm")) else cf_units.Unit(text)
        for text in (here, there)
    )
    expected = source.convert(value, target)
    assert converted(FIELDS.conversion(name, here, there), value) == pytest.approx(expected, rel=1e-13, abs=1e-10)


@pytest.mark.parametrize(
    ("name", "here", "there", "value", "expected"),
    [
        ("tas", "degC", "K", 0.0, 273.15),
        ("tas", "degF", "degC", 212.0, 100.0),
        ("pr", "mm d-1", "kg m-2 s-1", 86_400.0, 1.0),
        ("pr", "m s-1", "kg m-2 d-1", 1e-3, 86_400.0),
        ("mrso", "m", "kg m-2", 1.0, 1000.0),
        ("gpp", "g m-2 d-1", "kg m-2 s-1", 86.4e6, 1.0),
        ("rsds", "MJ m-2 d-1", "W m-2", 86.4, 1000.0),
        ("co2", "ppm", "1", 1e6, 1.0),
        ("ps", "hPa", "Pa", 1013.25, 101_325.0),
    ],
)
def test_known_conversion(name: str, here: str, there: str, value: float, expected: float) -> None:
    assert converted(FIELDS.conversion(name, here, there), value) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(
    ("name", "here", "there"),
    [("co2", "ppm", "1e-6"), ("rsds", "W m-2", "J s-1 m-2"), ("tas", "degC", "celsius"), ("pr", "mm", "kg m-2")],
)
def test_two_spellings_of_one_unit_pass_values_unchanged(name: str, here: str, there: str) -> None:
    assert FIELDS.conversion(name, here, there).is_identity


@pytest.mark.parametrize(
    ("name", "here", "there"),
    [
        ("tas", "K", "Pa"),
        ("lai", "mm", "kg m-2"),  # a depth is a mass only of water
        ("orog", "m", "kg m-2"),
        ("sfcWind", "m s-1", "kg m-2 s-1"),
        ("pr", "kg m-2 s-1", "kg m-2"),
    ],
)
def test_units_of_different_things_are_refused(name: str, here: str, there: str) -> None:
    with refused(Status.UNITS, f"'{here}'", f"'{there}'", f"'{name}'", "canonical units"):
        FIELDS.conversion(name, here, there)


@pytest.mark.parametrize(
    ("name", "here", "there"), [("sfcWind", "s m-1", "m s-1"), ("ps", "lg(re 1 Pa)", "Pa"), ("ps", "Pa", "lg(re 1 Pa)")]
)
def test_units_between_which_no_factor_leads_are_refused(name: str, here: str, there: str) -> None:
    """UDUNITS turns a reciprocal or a logarithm around, which a factor and an offset cannot."""
    with refused(Status.UNITS, f"'{here}'", f"'{there}'", f"'{name}'"):
        FIELDS.conversion(name, here, there)


@pytest.mark.parametrize("wrong", ["gC m-2 d-1", "furlong^", "W/m**", "kg (m-2", "degrees C elsius"])
def test_units_that_cannot_be_read_are_refused(wrong: str) -> None:
    with refused(Status.UNITS, f"'{wrong}'", "'gpp'", "UDUNITS"):
        FIELDS.conversion("gpp", wrong, "kg m-2 s-1")


def test_conversion_of_float32_is_done_in_float64() -> None:
    source = np.array([0.1, 273.15, 1e-7], np.float32)
    result = np.empty(3)
    FIELDS.conversion("pr", "kg m-2 d-1", "kg m-2 s-1").apply(source, result)
    np.testing.assert_allclose(result, source.astype(np.float64) / 86_400, rtol=1e-15)


@pytest.mark.parametrize("conversion", [Conversion(), Conversion(2.0), Conversion(1.0, 3.0), Conversion(2.0, 3.0)])
def test_conversion_leaves_its_source_alone_and_works_in_place(conversion: Conversion) -> None:
    source = np.array([1.0, -2.0, math.nan])
    before = source.copy()
    result = converted(conversion, source)
    np.testing.assert_array_equal(source, before)
    np.testing.assert_array_equal(result, conversion.scale * before + conversion.offset)
    conversion.apply(source, source)
    np.testing.assert_array_equal(source, result)
