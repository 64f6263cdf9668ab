# SPDX-License-Identifier: Apache-2.0
"""Where inputs come from and where outputs go: emulators before the host, the host before constants and the sun."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from refusal import refused
from small_emulators import Affine, Entry, field, write, write_echo

from coupler_plugin import Coupler, Status

Couple = Callable[..., Coupler]
TAS, LAI, SNW, MRSO = (
    field("tas", "K"),
    field("lai", "1"),
    field("snw", "kg m-2"),
    field("mrso", "kg m-2"),
)


def plus(folder: Path, source: Entry, target: Entry, amount: float, **more: object) -> Path:
    """Return an emulator that adds a number to a field."""
    path = folder / f"{source['name']}_to_{target['name']}.pt"
    return write(path, Affine([[1.0]], amount), [source], [target], **more)


def history_of(tmp_path: Path, name: str) -> np.ndarray:
    with netCDF4.Dataset(tmp_path / "history.nc") as file:
        return np.asarray(file[name][:])


# --- the order of sources -------------------------------------------------------------------------------------


def test_array_of_the_host_comes_before_a_constant_and_the_sun(couple: Couple, tmp_path: Path) -> None:
    emulator = write(
        tmp_path / "sum.pt",
        Affine([[1.0], [1000.0]]),
        [field("co2", "ppm"), field("cos_zenith", "1")],
        [LAI],
    )
    lai, co2, cosine = np.zeros(3), np.full(3, 7.0), np.full(3, 2.0)

    def answer(**bound: np.ndarray) -> float:
        coupler = couple(emulator, constants={"co2": "400 ppm"}, start="2001-01-01T00:00:00")
        for name, array in {"lai": lai, **bound}.items():
            coupler.bind(name, array)
        coupler.step()
        return float(lai[0])

    assert answer() == 400.0  # night in cell 1
    assert answer(co2=co2) == 7.0
    assert answer(cos_zenith=cosine) == 2400.0


def test_constant_is_converted_and_needs_no_array(couple: Couple, tmp_path: Path) -> None:
    coupler = couple(write_echo(tmp_path / "a.pt", field("ps", "hPa"), LAI), constants={"PSURF": "101325 Pa"})
    lai = np.zeros(3)
    coupler.bind("lai", lai)
    coupler.step()
    np.testing.assert_allclose(lai, 1013.25, rtol=1e-7)


def test_constant_fills_all_levels(couple: Couple, tmp_path: Path) -> None:
    emulator = write_echo(tmp_path / "a.pt", field("tsl", "degC", size=4), field("mrso", "kg m-2", size=4))
    coupler = couple(emulator, constants={"tsl": "280 K"})
    mrso = np.zeros((3, 4))
    coupler.bind("mrso", mrso)
    coupler.step()
    np.testing.assert_allclose(mrso, 280.0 - 273.15, rtol=1e-5)


def test_answer_of_an_emulator_comes_before_the_array_of_the_host(couple: Couple, tmp_path: Path) -> None:
    coupler = couple([plus(tmp_path, TAS, LAI, 1.0), plus(tmp_path, LAI, SNW, 10.0)], constants={"tas": "5 K"})
    lai, snw = np.full(3, 99.0), np.zeros(3)
    coupler.bind("lai", lai)
    coupler.bind("snw", snw)
    coupler.step()
    lai[:] = 99.0  # what the host does to its own array afterwards does not matter
    coupler.step()
    np.testing.assert_array_equal(snw, 16.0)


def test_derived_inputs_reach_the_emulator_in_its_units(couple: Couple, tmp_path: Path) -> None:
    inputs = [field("day_length", "s"), field("latitude", "radian")]
    coupler = couple(write(tmp_path / "a.pt", Affine(np.eye(2).tolist()), inputs, [LAI, SNW]), start="2001-06-21")
    lai, snw = np.zeros(3), np.zeros(3)
    coupler.bind("lai", lai)
    coupler.bind("snw", snw)
    coupler.step()
    np.testing.assert_allclose(lai[:2] / 3600, [5.5, 12.0], atol=0.1)  # 60 S and the equator in June
    np.testing.assert_allclose(snw, np.deg2rad([-60.0, 0.0, 60.0]), atol=1e-6)


@pytest.mark.parametrize("name", ["day_length", "latitude"])
def test_derived_input_has_one_level(couple: Couple, tmp_path: Path, name: str) -> None:
    units = {"day_length": "h", "latitude": "degrees_north"}[name]
    coupler = couple(write_echo(tmp_path / "a.pt", field(name, units, size=2), field("mrso", "kg m-2", size=2)))
    coupler.bind("mrso", np.zeros((3, 2)))
    with refused(Status.ARRAY, f"'{name}'", "2 levels", "1"):
        coupler.step()


# --- chains of emulators --------------------------------------------------------------------------------------


def test_output_of_one_is_the_input_of_the_next_in_the_same_step(couple: Couple, tmp_path: Path) -> None:
    chain = [plus(tmp_path, TAS, LAI, 1.0), plus(tmp_path, LAI, SNW, 10.0), plus(tmp_path, SNW, MRSO, 100.0)]
    coupler = couple(chain)
    tas, mrso = np.zeros(3), np.zeros(3)
    coupler.bind("tas", tas)
    coupler.bind("mrso", mrso)  # what lies between needs no array
    for step in range(3):
        tas[:] = step
        coupler.step()
        np.testing.assert_array_equal(mrso, step + 111.0)


def test_answer_reaches_the_next_emulator_in_its_units(couple: Couple, tmp_path: Path) -> None:
    carbon = field("gpp", "g m-2 d-1")
    chain = [plus(tmp_path, TAS, carbon, 0.0), plus(tmp_path, field("gpp", "kg m-2 yr-1"), LAI, 0.0)]
    coupler = couple(chain, constants={"tas": "2 K"})
    lai = np.zeros(3)
    coupler.bind("lai", lai)
    coupler.step()
    np.testing.assert_allclose(lai, 2.0 * 365.242198781 / 1000, rtol=1e-6)  # the year of UDUNITS


def test_next_emulator_takes_the_mean_of_what_the_faster_one_gave(couple: Couple, tmp_path: Path) -> None:
    chain = [plus(tmp_path, TAS, LAI, 0.0, every="2h"), plus(tmp_path, LAI, SNW, 0.0, every="6h")]
    coupler = couple(chain)
    tas, snw = np.zeros(3), np.zeros(3)
    coupler.bind("tas", tas)
    coupler.bind("snw", snw)
    for hour in range(6):
        tas[:] = hour
        coupler.step()
    np.testing.assert_array_equal(snw, np.mean([0.5, 2.5, 4.5]))


def test_next_emulator_takes_the_newest_of_what_the_slower_one_gave(couple: Couple, tmp_path: Path) -> None:
    chain = [plus(tmp_path, TAS, LAI, 0.0, every="3h"), plus(tmp_path, LAI, SNW, 0.0)]
    coupler = couple(chain)
    tas, lai, snw = np.zeros(3), np.full(3, -5.0), np.zeros(3)
    for name, array in {"tas": tas, "lai": lai, "snw": snw}.items():
        coupler.bind(name, array)
    seen = []
    for hour in range(1, 8):
        tas[:] = hour
        coupler.step()
        seen.append(snw[0])
    assert seen == [-5.0, -5.0, 2.0, 2.0, 2.0, 5.0, 5.0]  # the host's initial values until the first answer


def test_binding_again_does_not_bring_the_initial_values_back(couple: Couple, tmp_path: Path) -> None:
    chain = [plus(tmp_path, TAS, LAI, 0.0, every="3h"), plus(tmp_path, LAI, SNW, 0.0)]
    coupler = couple(chain, constants={"tas": "7 K"})
    lai, snw = np.full(3, -5.0), np.zeros(3)
    coupler.bind("lai", lai)
    coupler.bind("snw", snw)
    for _ in range(3):
        coupler.step()
    lai[:] = -5.0
    coupler.bind("snw", snw)
    coupler.step()
    np.testing.assert_array_equal(snw, 7.0)


def test_slower_emulator_without_initial_values_is_refused(couple: Couple, tmp_path: Path) -> None:
    chain = [plus(tmp_path, TAS, LAI, 0.0, every="3h"), plus(tmp_path, LAI, SNW, 0.0)]
    coupler = couple(chain, constants={"tas": "1 K"})
    coupler.bind("snw", np.zeros(3))
    with refused(Status.FIELD, "'lai_to_snw'", "'lai'", "'tas_to_lai'", "initial values"):
        coupler.step()


def test_late_emulator_without_initial_values_is_refused(couple: Couple, tmp_path: Path) -> None:
    first, second = plus(tmp_path, TAS, LAI, 0.0), plus(tmp_path, LAI, SNW, 0.0)
    coupler = couple([{"model": first, "lag": 1}, second], constants={"tas": "1 K"})
    coupler.bind("snw", np.zeros(3))
    with refused(Status.FIELD, "'lai_to_snw'", "'lai'", "'tas_to_lai'", "initial values"):
        coupler.step()


def test_initial_values_are_converted(couple: Couple, tmp_path: Path) -> None:
    chain = [plus(tmp_path, TAS, LAI, 0.0, every="3h"), plus(tmp_path, LAI, SNW, 0.0)]
    coupler = couple(chain, constants={"tas": "1 K"})
    snw = np.zeros(3)
    coupler.bind("lai", np.full(3, 250.0), "%")
    coupler.bind("snw", snw)
    coupler.step()
    np.testing.assert_array_equal(snw, 2.5)


def test_emulator_listed_before_what_it_needs_is_refused(couple: Couple, tmp_path: Path) -> None:
    coupler = couple([plus(tmp_path, LAI, SNW, 0.0), plus(tmp_path, TAS, LAI, 0.0)], constants={"tas": "1 K"})
    coupler.bind("snw", np.zeros(3))
    with refused(Status.CONFIG, "'lai_to_snw'", "'lai'", "list 'tas_to_lai' first"):
        coupler.step()


def test_two_emulators_of_one_field_are_refused(couple: Couple, tmp_path: Path) -> None:
    chain = [plus(tmp_path, TAS, LAI, 0.0), plus(tmp_path, SNW, LAI, 0.0)]
    with refused(Status.CONFIG, "'tas_to_lai'", "'snw_to_lai'", "both compute 'lai'", "'outputs:'"):
        couple(chain)


@pytest.mark.parametrize("every", ["1h", "2h"])
def test_emulator_may_go_on_from_its_own_answer_in_the_array_of_the_host(
    couple: Couple, tmp_path: Path, every: str
) -> None:
    chain = [plus(tmp_path, LAI, LAI, 1.0, every=every), plus(tmp_path, LAI, SNW, 10.0, every=every)]
    coupler = couple(chain, history={"file": "history.nc", "fields": ["lai"], "every": every})
    lai, snw = np.full(3, 5.0), np.zeros(3)
    coupler.bind("lai", lai)
    coupler.bind("snw", snw)
    answers = []
    for step in range(1, 5):
        lai += 100.0  # the host's part: its own array is what the emulator goes on from
        before = lai.copy()
        coupler.step()
        if every == "1h" or step % 2 == 0:
            answers.append(before[0] + 1.0 - (50.0 if every == "2h" else 0.0))
            np.testing.assert_array_equal(lai, answers[-1])
            np.testing.assert_array_equal(snw, answers[-1] + 10.0)
    coupler.finalize()
    np.testing.assert_array_equal(history_of(tmp_path, "lai")[:, 0], answers)


# --- what goes to the history ---------------------------------------------------------------------------------


def test_history_has_answers_that_the_host_does_not_bind(couple: Couple, tmp_path: Path) -> None:
    history = {"file": "history.nc", "fields": ["lai", "tas", "snw"], "every": "2h"}
    coupler = couple(plus(tmp_path, TAS, LAI, 1.0), history=history)
    tas, snw = np.zeros(3, np.float32), np.zeros(3)
    coupler.bind("tas", tas, "degC")
    coupler.bind("snw", snw)  # no emulator needs it
    for hour in range(4):
        tas[:] = hour
        snw[:] = 10.0 * hour
        coupler.step()
    coupler.finalize()
    np.testing.assert_allclose(history_of(tmp_path, "lai")[:, 0], [274.65, 276.65], rtol=1e-6)
    np.testing.assert_allclose(history_of(tmp_path, "tas")[:, 0], [273.65, 275.65], rtol=1e-6)
    np.testing.assert_array_equal(history_of(tmp_path, "snw")[:, 0], [5.0, 25.0])


def test_history_of_an_answer_is_the_mean_over_its_calls(couple: Couple, tmp_path: Path) -> None:
    history = {"file": "history.nc", "fields": ["lai"], "every": "6h"}
    coupler = couple({"model": plus(tmp_path, TAS, LAI, 0.0), "every": "3h"}, history=history)
    tas, lai = np.zeros(3), np.zeros(3)
    coupler.bind("tas", tas)
    coupler.bind("lai", lai)
    for hour in range(12):
        tas[:] = hour
        coupler.step()
        lai[:] = -1.0  # the host's own changes are not the emulator's answer
    coupler.finalize()
    np.testing.assert_array_equal(history_of(tmp_path, "lai")[:, 0], [2.5, 8.5])


def test_field_of_the_history_that_nobody_gives_is_refused(couple: Couple) -> None:
    coupler = couple([], history={"file": "history.nc", "fields": ["gpp"]})
    with refused(Status.FIELD, "'gpp'", "history", "neither bound"):
        coupler.step()
