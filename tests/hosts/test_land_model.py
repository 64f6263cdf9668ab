# SPDX-License-Identifier: Apache-2.0
"""The land model by itself: budgets, ranks, and what it makes of its forcing."""

from __future__ import annotations

from collections.abc import Callable

import netCDF4
import numpy as np
import pytest
from conftest import FORCING, Run

LandModel = Callable[..., Run]


def daily_forcing(name: str, day: int, ids: np.ndarray) -> np.ndarray:
    """Return one day (from 0) of a variable of the forcing on the cells."""
    with netCDF4.Dataset(FORCING) as file:
        return np.asarray(file[name][day]).ravel()[ids - 1]


def test_budgets_close_to_rounding_with_every_check_on(land_model: LandModel) -> None:
    run = land_model("checks", days=8, result_days=8)
    summary = run.summary
    assert abs(summary["water_residual_relative"]) < 1e-12
    assert abs(summary["energy_residual_relative"]) < 1e-12
    assert summary["water_largest_cell_residual_kg_m2"] < 1e-9
    assert summary["energy_largest_cell_residual_J_m2"] < 1e-3
    assert "residual" in run.stdout
    assert "warning" not in run.stderr.lower()

    # The fields that are written tell the same story as the sums of the model.
    fields, seconds = run.fields, 8 * 86400.0
    precipitation = float((fields["pr"] * fields["cell_area"]).sum()) * seconds
    assert precipitation == pytest.approx(summary["water_precipitation_kg"], rel=1e-12)
    assert (fields["snw"] >= 0).all()
    assert (fields["soil_water_root"] <= 0.451 * 1350).all()


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_bits_do_not_depend_on_the_ranks(land_model: LandModel, ranks: int) -> None:
    one = land_model("alone", days=20, result_days=10)
    many = land_model("alone", days=20, result_days=10, ranks=ranks)
    assert_same_bits(one, many)
    for name, value in one.summary.items():
        if name != "ranks" and not name.startswith("seconds"):
            assert many.summary[name] == value, name


def test_a_day_of_the_model_has_the_means_that_were_read(land_model: LandModel) -> None:
    fields = land_model("alone", days=3, result_days=1).fields
    names = {
        "tas": "air_temperature",
        "rsds": "surface_downwelling_shortwave_flux",
        "rlds": "surface_downwelling_longwave_flux",
        "pr": "precipitation_flux",
    }
    for name, source in names.items():
        np.testing.assert_allclose(fields[name], daily_forcing(source, 2, fields["id"]), rtol=1e-13, err_msg=name)


def test_cells_have_the_areas_of_the_gaussian_grid(land_model: LandModel) -> None:
    fields = land_model("alone", days=1).fields
    weights = np.polynomial.legendre.leggauss(48)[1]
    rows = (fields["id"] - 1) // 96
    np.testing.assert_allclose(fields["cell_area"], 2 * np.pi * 6.371e6**2 / 96 * weights[rows], rtol=1e-11)
    assert fields["id"].size == 1506
    assert (np.diff(fields["id"]) > 0).all()


def test_a_model_without_the_plugin_refuses_to_couple(land_model: LandModel) -> None:
    run = land_model("alone", days=1, coupled=True, check=False, ranks=2)
    assert run.returncode != 0
    assert "built without coupler_plugin" in run.stderr
    assert "-DCOUPLER=ON" in run.stderr


def test_a_missing_forcing_stops_the_run_with_a_sentence(land_model: LandModel) -> None:
    run = land_model("alone", forcing="nowhere.nc", check=False)
    assert run.returncode != 0
    assert "opening the forcing nowhere.nc" in run.stderr


def assert_same_bits(one: Run, other: Run) -> None:
    """Demand that all arrays of two runs agree to the last bit."""
    fields, others = one.fields, other.fields
    assert fields.keys() == others.keys()
    for name, values in fields.items():
        assert values.tobytes() == others[name].tobytes(), name
