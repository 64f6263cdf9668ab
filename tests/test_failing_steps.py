# SPDX-License-Identifier: Apache-2.0
"""Steps that fail: numbers that are not finite, emulators that raise, and hosts that go on after an error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import torch
from refusal import refused
from small_emulators import (
    LAI,
    Product,
    Reciprocal,
    Touchy,
    echo,
    field,
    write,
    write_echo,
)

from coupler_plugin import Coupler, Status

Couple = Callable[..., Coupler]


# --- numbers that are not finite ------------------------------------------------------------------------------


def test_nan_of_the_host_is_an_error_that_names_field_cell_and_time(couple: Couple, tmp_path: Path) -> None:
    coupler = couple(echo(tmp_path))
    tas, lai = np.full(3, 280.0), np.full(3, 0.125)
    coupler.bind("tas", tas)
    coupler.bind("lai", lai)
    tas[1] = np.nan
    with refused(
        Status.RUN, "2001-01-01 01:00:00", "input 'tas'", "'echo_tas'", "nan", "cell 2", "longitude 45", "latitude 0"
    ):
        coupler.step()
    np.testing.assert_array_equal(lai, 0.125)


def test_nan_in_the_middle_of_a_window_is_found_when_it_ends(couple: Couple, tmp_path: Path) -> None:
    coupler = couple({"model": echo(tmp_path), "every": "1d"})
    tas, lai = np.full(3, 280.0), np.full(3, 0.125)
    coupler.bind("tas", tas)
    coupler.bind("lai", lai)
    for hour in range(23):
        tas[2] = np.nan if hour == 5 else 280.0
        coupler.step()
    with refused(Status.RUN, "2001-01-02 00:00:00", "cell 3"):
        coupler.step()
    np.testing.assert_array_equal(lai, 0.125)


def test_answer_that_is_not_finite_is_blamed_on_the_output(couple: Couple, tmp_path: Path) -> None:
    coupler = couple(write(tmp_path / "reciprocal.pt", Reciprocal(), [field("tas", "K")], [LAI]))
    tas, lai = np.array([1.0, 2.0, 0.0]), np.full(3, 0.125)
    coupler.bind("tas", tas)
    coupler.bind("lai", lai)
    with refused(Status.RUN, "output 'lai'", "'reciprocal'", "inf", "cell 3"):
        coupler.step()
    np.testing.assert_array_equal(lai, 0.125)


def test_no_output_is_written_when_one_is_not_finite(couple: Couple, tmp_path: Path) -> None:
    inputs = [field("tas", "K"), field("ps", "Pa")]
    emulator = write(tmp_path / "two.pt", Reciprocal(), inputs, [LAI, field("snw", "kg m-2")])
    coupler = couple(emulator)
    arrays = {"tas": np.ones(3), "ps": np.zeros(3), "lai": np.full(3, 0.125), "snw": np.full(3, 0.125)}
    for name, array in arrays.items():
        coupler.bind(name, array)
    with refused(Status.RUN, "output 'snw'"):
        coupler.step()
    np.testing.assert_array_equal(arrays["lai"], 0.125)
    np.testing.assert_array_equal(arrays["snw"], 0.125)


def test_nan_in_a_static_input_is_an_error_at_the_first_step(couple: Couple, tmp_path: Path) -> None:
    emulator = write(tmp_path / "product.pt", Product(), [field("tas", "K")], [LAI], static=[field("orog", "m")])
    coupler = couple(emulator)
    for name, value in {"tas": 1.0, "orog": np.nan, "lai": 0.0}.items():
        coupler.bind(name, np.full(3, value))
    with refused(Status.RUN, "static input 'orog'", "'product'", "cell 1"):
        coupler.step()


@pytest.mark.parametrize("fill", [np.nan, np.inf, -np.inf, 1.7e308])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_places_without_a_cell_may_hold_anything(couple: Couple, tmp_path: Path, fill: float) -> None:
    coupler = couple({"model": echo(tmp_path), "every": "4h"}, cells=None)
    coupler.set_cells([0, 1, 2], [fill, 0.0, 0.0], [fill, 0.0, 0.0])
    tas, lai = np.array([fill, 1.0, 2.0]), np.array([fill, 0.0, 0.0])
    coupler.bind("tas", tas)
    coupler.bind("lai", lai)
    for sign in (1, 1, -1, 1):
        tas[0] = sign * fill
        coupler.step()
    np.testing.assert_array_equal(lai, [fill, 1.0, 2.0])


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_numbers_that_are_not_finite_are_errors_and_no_warnings(couple: Couple, tmp_path: Path) -> None:
    coupler = couple({"model": echo(tmp_path), "every": "4h"})
    tas = np.array([np.inf, 1e308, 1.0])
    coupler.bind("tas", tas)
    coupler.bind("lai", np.zeros(3, np.float32))
    for _ in range(3):
        coupler.step()
        tas[0] *= -1
    with refused(Status.RUN, "'tas'", "nan", "2 such cells"):
        coupler.step()


# --- emulators that fail --------------------------------------------------------------------------------------


def test_exception_inside_an_emulator_is_an_error_of_the_step(couple: Couple, tmp_path: Path) -> None:
    coupler = couple(write(tmp_path / "touchy.pt", Touchy(), [field("tas", "degC", valid_range=[0, 50])], [LAI]))
    tas, lai = np.full(3, 280.0), np.zeros(3)
    coupler.bind("tas", tas)
    coupler.bind("lai", lai)
    coupler.step()
    before = lai.copy()
    tas[0] = 250.0
    with refused(Status.RUN, "'touchy'", "negative input", "2001-01-01 02:00:00"):
        coupler.step()
    np.testing.assert_array_equal(lai, before)


def test_host_that_mends_its_field_may_go_on(couple: Couple, tmp_path: Path) -> None:
    coupler = couple(echo(tmp_path))
    tas, lai = np.full(3, np.nan), np.zeros(3)
    coupler.bind("tas", tas)
    coupler.bind("lai", lai)
    with refused(Status.RUN, "'tas'", "3 such cells"):
        coupler.step()
    tas[:] = 280.0
    coupler.step()
    np.testing.assert_array_equal(lai, 280.0)


def test_emulator_that_depends_on_the_place_of_a_row_is_warned_of(
    couple: Couple, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class RowPlace(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.arange(x.shape[0])[:, None] % 4

    emulator = write(tmp_path / "place.pt", RowPlace(), [field("tas", "K")], [LAI])
    for block, warned in ((16, True), ("exact", False)):
        caplog.clear()
        coupler = couple({"model": emulator, "block": block}, constants={"tas": "1 K"})
        coupler.bind("lai", np.zeros(3))
        with caplog.at_level(logging.WARNING, "coupler_plugin"):
            coupler.step()
        assert ("'place'" in caplog.text) is warned


# --- after an error -------------------------------------------------------------------------------------------


def test_host_that_goes_on_after_an_error_meets_the_next_alarms_at_their_times(couple: Couple, tmp_path: Path) -> None:
    first = write_echo(tmp_path / "first.pt", field("rsds", "W m-2"), field("snw", "kg m-2"), every="3h")
    tas_entry = field("tas", "K", statistics={"mean": 5, "std": 1, "min": 1, "max": 9})
    touchy = write(tmp_path / "touchy.pt", Touchy(), [tas_entry], [LAI], every="3h")
    history = {"file": "history.nc", "fields": ["lai"], "every": "3h"}
    coupler = couple([first, touchy], on_error="return", history=history, restart={"every": "3h"})
    tas, lai = np.full(3, 1.0), np.full(3, -1.0)
    for name, array in {"tas": tas, "lai": lai, "rsds": np.full(3, 7.0), "snw": np.zeros(3)}.items():
        coupler.bind(name, array)
    for hour in range(1, 10):
        tas[:] = -60.0 if hour == 6 else hour  # what counts is the mean of hours 4 to 6
        with refused(Status.RUN, "negative input") if hour == 6 else nullcontext():
            coupler.step()
        if hour in (3, 6):
            np.testing.assert_allclose(lai, 2.0)
    coupler.finalize()
    np.testing.assert_allclose(lai, 8.0)  # the mean of hours 7 to 9: nothing of the window that failed is left
    assert [emulator.calls for emulator in coupler.emulators] == [3, 2]
    with netCDF4.Dataset(tmp_path / "history.nc") as file:
        np.testing.assert_allclose(file["time_bounds"][:] * 24, [[0, 3], [6, 9]])
    assert [path.name[-5:] for path in sorted((tmp_path / "restart").glob("rpointer.*-?????"))] == ["10800", "32400"]
