# SPDX-License-Identifier: Apache-2.0
"""Binding arrays of a host: names, units, shapes and levels, and what may be bound again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import netCDF4
import numpy as np
from refusal import refused
from small_emulators import (
    LAI,
    echo,
    field,
    write_echo,
)

from coupler_plugin import Coupler, Status

Couple = Callable[..., Coupler]


def test_unknown_field_is_refused_with_the_nearest(couple: Couple) -> None:
    with refused(Status.FIELD, "'tass'", "Did you mean 'tas'?"):
        couple([]).bind("tass", np.zeros(3))


def test_units_that_do_not_fit_the_field_are_refused(couple: Couple) -> None:
    with refused(Status.UNITS, "'Pa'", "'tas'"):
        couple([]).bind("tas", np.zeros(3), "Pa")


def test_array_of_another_shape_is_refused(couple: Couple) -> None:
    with refused(Status.ARRAY, "'tas'", "(4,)", "(3,)"):
        couple([]).bind("tas", np.zeros(4))


def test_host_may_bind_by_alias_and_in_its_own_units(couple: Couple, tmp_path: Path) -> None:
    coupler = couple(echo(tmp_path))
    tair, xlai = np.array([0.0, 10.0, -40.0]), np.zeros(3, np.float32)
    coupler.bind("TAIR", tair, "degC")
    coupler.bind("xlai", xlai, "%")
    coupler.step()
    np.testing.assert_allclose(xlai, 100 * (tair + 273.15), rtol=1e-6)


def test_field_that_nothing_asks_for_is_left_alone(couple: Couple, tmp_path: Path) -> None:
    coupler = couple(echo(tmp_path), constants={"tas": "1 K"})
    snow, lai = np.full(3, np.nan), np.zeros(3)
    coupler.bind("snw", snow)
    coupler.bind("lai", lai)
    coupler.step()
    assert np.isnan(snow).all()


def test_host_may_bind_again_after_reallocation(couple: Couple, tmp_path: Path) -> None:
    emulator = write_echo(tmp_path / "daily.pt", field("tas", "K"), LAI, every="2h")
    coupler = couple(emulator)
    before, after = np.full(3, 10.0), np.full(3, 20.0, np.float32)
    lai_before, lai_after = np.zeros(3), np.zeros(3)
    coupler.bind("tas", before)
    coupler.bind("lai", lai_before)
    coupler.step()
    coupler.bind("tas", after)  # in the middle of a window
    coupler.bind("lai", lai_after)
    before[:] = lai_before[:] = -1.0
    coupler.step()
    np.testing.assert_array_equal(lai_after, 15.0)
    np.testing.assert_array_equal(lai_before, -1.0)


def test_array_that_is_bound_again_keeps_levels_and_units(couple: Couple) -> None:
    coupler = couple([])
    coupler.bind("tas", np.zeros(3), "K")
    coupler.step()
    with refused(Status.ARRAY, "'tas'", "'K'", "'degC'"):
        coupler.bind("tas", np.zeros(3), "degC")
    with refused(Status.ARRAY, "1 levels", "4 levels"):
        coupler.bind("tas", np.zeros((3, 4)), "K")


def test_units_may_be_corrected_until_the_first_step(couple: Couple, tmp_path: Path) -> None:
    coupler = couple(echo(tmp_path))
    lai = np.zeros(3)
    coupler.bind("tas", np.full(3, 10.0), "K")
    coupler.bind("lai", lai)
    coupler.bind("tas", np.full(3, 10.0), "degC")
    coupler.step()
    np.testing.assert_allclose(lai, 283.15, rtol=1e-6)


def test_array_may_be_corrected_when_the_first_step_has_failed(couple: Couple, tmp_path: Path) -> None:
    history = {"file": str(tmp_path / "missing" / "history.nc"), "fields": ["tsl", "snw"], "every": "2h"}
    coupler = couple([], history=history)
    coupler.bind("tsl", np.zeros((3, 4)))
    coupler.bind("snw", np.zeros(3), "kg m-2")
    (tmp_path / "missing").write_text("a file where a folder should be")
    with refused(Status.IO):
        coupler.step()
    (tmp_path / "missing").unlink()
    coupler.bind("tsl", np.ones((3, 5)))
    for _ in range(2):
        coupler.step()
    coupler.finalize()
    with netCDF4.Dataset(tmp_path / "missing" / "history.nc") as file:
        np.testing.assert_array_equal(file["tsl"][:], np.ones((1, 5, 3)))


def test_levels_of_host_and_emulator_must_agree(couple: Couple, tmp_path: Path) -> None:
    coupler = couple(write_echo(tmp_path / "soil.pt", field("tsl", "K", size=4), field("mrso", "kg m-2", size=4)))
    with refused(Status.ARRAY, "'tsl'", "'soil' takes 4", "5"):
        coupler.bind("tsl", np.zeros((3, 5)))
    with refused(Status.ARRAY, "'mrso'", "'soil' gives 4", "1"):
        coupler.bind("mrso", np.zeros(3))
    tsl, mrso = np.ones((3, 4)), np.zeros((3, 4))
    coupler.bind("tsl", tsl)
    coupler.bind("mrso", mrso)
    coupler.step()
    np.testing.assert_array_equal(mrso, tsl)


def test_levels_may_lie_anywhere(couple: Couple, tmp_path: Path) -> None:
    coupler = couple(
        write_echo(tmp_path / "soil.pt", field("tsl", "K", size=4), field("mrso", "kg m-2", size=4)), cells=None
    )
    coupler.set_cells(np.arange(1, 7).reshape(2, 3), np.zeros((2, 3)), np.zeros((2, 3)))
    tsl = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    mrso = np.zeros((4, 2, 3))
    coupler.bind("tsl", tsl)
    coupler.bind("mrso", mrso)
    coupler.step()
    np.testing.assert_array_equal(np.moveaxis(mrso, 0, -1), np.moveaxis(tsl, 1, -1))
