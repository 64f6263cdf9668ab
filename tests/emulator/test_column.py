# SPDX-License-Identifier: Apache-2.0
"""A column emulator between the arrays of a host: conversions on the way, and closures that hold exactly."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from small_emulators import Affine, field, write, write_carbon

from coupler_plugin import Coupler
from coupler_plugin.config import Config
from coupler_plugin.config.emulators import EmulatorSection

FLUXES = ("gpp", "reco", "nee")
FLUX_UNITS = ["kg m-2 s-1", "g m-2 d-1", "g m-2 s-1", "kg m-2 yr-1", "ug m-2 s-1"]


@pytest.fixture(scope="module")
def carbon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_carbon(tmp_path_factory.mktemp("carbon") / "carbon.pt", length=3, every="1h")


def fluxes(carbon: Path, units: dict[str, str], kind: type = np.float64, steps: int = 3) -> dict[str, np.ndarray]:
    """Run the carbon emulator over 20 cells and return the fluxes that have units."""
    config = Config(emulators=[EmulatorSection(model=carbon, outputs=list(units), block=16)])
    coupler = Coupler(config, start="2001-07-01", dt=3600.0)
    coupler.set_cells(np.arange(1, 21), np.zeros(20), np.linspace(-80, 80, 20))
    random = np.random.default_rng(4)
    tas, rsds = np.zeros(20), np.zeros(20)
    coupler.bind("tas", tas)
    coupler.bind("rsds", rsds)
    arrays = {name: np.zeros(20, kind) for name in units}
    for name, array in arrays.items():
        coupler.bind(name, array, units[name])
    for _ in range(steps):
        tas[:] = random.normal(285.0, 10.0, 20)
        rsds[:] = random.uniform(0.0, 400.0, 20)
        coupler.step()
    return arrays


@pytest.mark.parametrize("units", FLUX_UNITS)
def test_closure_holds_exactly_in_real64_in_any_units(carbon: Path, units: str) -> None:
    answers = fluxes(carbon, dict.fromkeys(FLUXES, units))
    np.testing.assert_array_equal(answers["nee"], answers["reco"] - answers["gpp"])
    assert (answers["gpp"] > 0).all()


def test_closure_in_real32_is_the_nearest_to_the_exact_one(carbon: Path) -> None:
    exact = fluxes(carbon, dict.fromkeys(FLUXES, "g m-2 d-1"))
    rounded = fluxes(carbon, dict.fromkeys(FLUXES, "g m-2 d-1"), np.float32)
    np.testing.assert_array_equal(rounded["nee"], exact["nee"].astype(np.float32))


@given(st.tuples(*[st.sampled_from(FLUX_UNITS)] * 3))
@settings(max_examples=8)
def test_closure_in_mixed_units_has_the_rounding_of_the_module(carbon: Path, units: tuple[str, str, str]) -> None:
    answers = fluxes(carbon, dict(zip(FLUXES, units, strict=True)))
    plain = fluxes(carbon, dict.fromkeys(FLUXES, "kg m-2 s-1"))
    to_canonical = {"kg m-2 s-1": 1.0, "g m-2 d-1": 1e-3 / 86_400, "g m-2 s-1": 1e-3, "ug m-2 s-1": 1e-9}
    to_canonical["kg m-2 yr-1"] = 1 / (365.242198781 * 86_400)
    for name, unit in zip(FLUXES, units, strict=True):
        scale = np.abs(plain["reco"]) + np.abs(plain["gpp"])
        assert (np.abs(answers[name] * to_canonical[unit] - plain[name]) <= 1e-6 * scale).all()


@pytest.mark.parametrize("bound", [["nee"], ["nee", "gpp"], ["nee", "reco"]])
def test_closure_without_its_terms_is_the_answer_of_the_module(carbon: Path, bound: list[str]) -> None:
    whole = fluxes(carbon, dict.fromkeys(FLUXES, "g m-2 d-1"))
    alone = fluxes(carbon, dict.fromkeys(bound, "g m-2 d-1"))
    scale = np.abs(whole["reco"]) + np.abs(whole["gpp"])
    assert (np.abs(alone["nee"] - whole["nee"]) <= 1e-6 * scale).all()


def test_closure_holds_for_every_level(tmp_path: Path) -> None:
    outputs = [
        field("snw", "kg m-2", size=2),
        field("mrso", "kg m-2", size=2),
        field("orog", "m", size=2, closure={}),
        field("rlds", "kg m-2", size=2, closure={"snw": 0.5, "mrso": -3}),
    ]
    extra = [{"name": "rlds", "long_name": "a sum", "units": "kg m-2"}]
    path = write(tmp_path / "levels.pt", Affine(np.random.default_rng(0).normal(size=(1, 8)).tolist()),
                 [field("tas", "K")], outputs)  # fmt: skip
    file = tmp_path / "coupling.yml"
    file.write_text(
        yaml.safe_dump({"emulators": [{"model": str(path)}], "fields": extra, "constants": {"tas": "300 K"}})
    )
    coupler = Coupler(file, start="2001-01-01", dt=3600.0)
    coupler.set_cells([1, 2, 3], np.zeros(3), np.zeros(3))
    arrays = {name: np.zeros((3, 2)) for name in ("snw", "mrso", "orog", "rlds")}
    for name, array in arrays.items():
        coupler.bind(name, array, "m" if name == "orog" else "g m-2")
    coupler.step()
    np.testing.assert_array_equal(arrays["rlds"], 0.5 * arrays["snw"] - 3 * arrays["mrso"])


@pytest.mark.parametrize("units", ["K", "degC", "degF"])
def test_closure_of_temperatures_is_right_on_every_scale(tmp_path: Path, units: str) -> None:
    # Sums of temperatures mean something on one scale only, here the emulator's: the plugin must not sum on another.
    outputs = [field("tasmin", "degC"), field("tasmax", "degC", closure={"tasmin": 2})]
    path = write(tmp_path / "span.pt", Affine([[1.0, 2.0]]), [field("tas", "degC")], outputs)
    config = Config(emulators=[EmulatorSection(model=path)], constants={"tas": "10 degC"})
    coupler = Coupler(config, start="2001-01-01", dt=3600.0)
    coupler.set_cells([1], [0.0], [0.0])
    tasmin, tasmax = np.zeros(1), np.zeros(1)
    coupler.bind("tasmin", tasmin, units)
    coupler.bind("tasmax", tasmax, units)
    coupler.step()
    expected = {"degC": (10.0, 20.0), "K": (283.15, 293.15), "degF": (50.0, 68.0)}[units]
    assert (tasmin[0], tasmax[0]) == (pytest.approx(expected[0], rel=1e-6), pytest.approx(expected[1], rel=1e-6))


@pytest.mark.parametrize(("host", "units"), [*product([np.float32, np.float64], ["K", "degC"])])
def test_inputs_are_converted_in_float64_before_they_are_rounded(tmp_path: Path, host: type, units: str) -> None:
    path = write(tmp_path / "echo.pt", Affine([[1.0]]), [field("tas", "degC")], [field("lai", "1")])
    coupler = Coupler(Config(emulators=[EmulatorSection(model=path)]), start="2001-01-01", dt=3600.0)
    coupler.set_cells([1], [0.0], [0.0])
    tas, lai = np.array([300.123456789 if units == "K" else 27.123456789], host), np.zeros(1)
    coupler.bind("tas", tas, units)
    coupler.bind("lai", lai)
    coupler.step()
    assert lai[0] == np.float32(np.float64(tas[0]) - (273.15 if units == "K" else 0.0))
