# SPDX-License-Identifier: Apache-2.0
"""Forcing files as users have them: records in any order, months, other names of time, fields that do not change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cftime
import numpy as np
import pytest
import xarray as xr

from coupler_plugin import Status
from coupler_plugin.driver import prepare, run
from coupler_plugin.driver.domain import read_domain
from tests.driver.conftest import forcing
from tests.refusal import refused
from tests.small_emulators import Product, field, write

Offline = Callable[..., Path]


def temperature(folder: Path) -> list[float]:
    """Return the history of a place whose forcing is 270 K and the number of the day."""
    with xr.open_dataset(folder / "history.nc") as file:
        found: list[float] = np.round(file.tas[:, 0].values, 3).tolist()
    return found


@pytest.mark.parametrize("bounds", [True, False])
@pytest.mark.parametrize("order", [range(9, -1, -1), (3, 1, 0, 2, 9, 8, 4, 5, 7, 6)])
def test_records_of_a_file_may_stand_in_any_order(
    tmp_path: Path, offline: Offline, bounds: bool, order: Sequence[int]
) -> None:
    forcing(0, 10, bounds=bounds).isel(time=list(order)).to_netcdf(tmp_path / "f.nc")
    run(offline(["f.nc"]))
    assert temperature(tmp_path) == [270.0 + day for day in range(10)]


@pytest.mark.parametrize("bounds", [True, False])
def test_files_may_share_a_stretch_of_time_between_them(tmp_path: Path, offline: Offline, bounds: bool) -> None:
    whole = forcing(0, 10, bounds=bounds)
    whole.isel(time=[0, 1, 4, 5, 8, 9]).to_netcdf(tmp_path / "odd_pairs.nc")
    whole.isel(time=[2, 3, 6, 7]).to_netcdf(tmp_path / "even_pairs.nc")
    run(offline(["*_pairs.nc"]))
    assert temperature(tmp_path) == [270.0 + day for day in range(10)]


@pytest.mark.parametrize("day", [1, 15, 16])
@pytest.mark.parametrize("first", range(1, 13))
def test_months_may_begin_with_any(tmp_path: Path, offline: Offline, first: int, day: int) -> None:
    dates = [cftime.datetime(2001 + month // 12, month % 12 + 1, day) for month in range(first - 1, first + 11)]
    file = forcing(0, 12, "standard", bounds=False).assign_coords(time=("time", dates))
    file["time"].encoding = {"units": "days since 1900-01-01", "calendar": "standard"}
    file.to_netcdf(tmp_path / "f.nc")
    period = {"start": f"2001-{first:02d}-01", "end": f"2002-{first:02d}-01"}
    [reads] = prepare(offline(["f.nc"], calendar="standard", driver=period)).forcings
    assert f"12 records, 2001-{first:02d}-01 to 2002-{first:02d}-01" in reads.covers


def test_time_may_have_another_name(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 10, bounds=False).rename(time="valid_time").to_netcdf(tmp_path / "f.nc")  # as ERA5 has it since 2024
    run(offline(["f.nc"]))
    assert temperature(tmp_path) == [270.0 + day for day in range(10)]


def test_times_without_units_are_refused(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 10, bounds=False).assign_coords(time=np.arange(10.0)).to_netcdf(tmp_path / "f.nc")
    with refused(Status.CONFIG, "f.nc", "'days since"):
        prepare(offline(["f.nc"]))


def test_file_name_may_have_brackets(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 10).to_netcdf(tmp_path / "f[1].nc")
    run(offline(["f[1].nc"]))
    assert temperature(tmp_path) == [270.0 + day for day in range(10)]


def test_dimension_of_one_level_is_left_out(tmp_path: Path, offline: Offline) -> None:
    file = forcing(0, 10)
    file["air_temperature"] = file["air_temperature"].expand_dims(height=[2.0], axis=1)
    file.to_netcdf(tmp_path / "f.nc")
    history = {"file": "history.nc", "fields": ["lai", "tas", "rsds"]}
    run(offline(["f.nc"], history=history, driver={"forcing": [{"files": ["f.nc"], "fields": {"rsds": "swdown"}}]}))
    assert temperature(tmp_path) == [270.0 + day for day in range(10)]


def test_field_that_does_not_change_needs_no_time(tmp_path: Path, offline: Offline) -> None:
    file = forcing(0, 10)
    file["orog"] = (("lon", "lat"), np.arange(12.0).reshape(4, 3), {"units": "m"})
    file.to_netcdf(tmp_path / "f.nc")
    path = offline(["f.nc"])
    orography = field("orog", "m")
    write(tmp_path / "echo.pt", Product(), [field("tas", "K")], [field("lai", "1")], static=[orography], every="1d")
    run(path)
    with xr.open_dataset(tmp_path / "history.nc") as history:
        np.testing.assert_allclose(history.lai / history.tas, np.tile(file.orog.values.T.reshape(-1), (10, 1)))


def test_variable_on_other_dimensions_is_refused(tmp_path: Path, offline: Offline) -> None:
    file = forcing(0, 10)
    file["swdown"] = file["swdown"].expand_dims(height=[2.0, 10.0], axis=1)
    file.to_netcdf(tmp_path / "f.nc")
    history = {"file": "history.nc", "fields": ["lai", "tas", "rsds"]}
    section = {"forcing": [{"files": ["f.nc"], "fields": {"rsds": "swdown"}}]}
    with refused(Status.CONFIG, "'swdown'", "height", "lat, lon"):
        prepare(offline(["f.nc"], history=history, driver=section))


@pytest.mark.parametrize("dimension", ["height", "member"])
def test_levels_are_no_cells(tmp_path: Path, offline: Offline, dimension: str) -> None:
    file = forcing(0, 10)
    for name in ("air_temperature", "swdown"):
        file[name] = file[name].expand_dims({dimension: [2.0, 10.0]}, axis=1)
    file.to_netcdf(tmp_path / "f.nc")
    with refused(Status.CONFIG, "'air_temperature'", "f.nc", f"2 values along '{dimension}'"):
        prepare(offline(["f.nc"]))


@pytest.mark.parametrize(("units", "expected"), [("m2", 12.0), ("km2", 12e6), ("", 12.0)])
def test_areas_are_converted(tmp_path: Path, offline: Offline, units: str, expected: float) -> None:
    file = forcing(0, 10)
    file["areacella"] = (("lat", "lon"), np.full((3, 4), 12.0), {"standard_name": "cell_area"})
    if units:
        file["areacella"].attrs["units"] = units
    file.to_netcdf(tmp_path / "f.nc")
    cells = prepare(offline(["f.nc"])).coupler.cells
    assert cells is not None
    np.testing.assert_array_equal(cells.area, expected)


def test_areas_in_units_of_something_else_are_refused(tmp_path: Path, offline: Offline) -> None:
    file = forcing(0, 10)
    file["areacella"] = (("lat", "lon"), np.full((3, 4), 12.0), {"standard_name": "cell_area", "units": "m"})
    file.to_netcdf(tmp_path / "f.nc")
    with refused(Status.UNITS, "f.nc", "'areacella'", "'m'", "'m2'"):
        prepare(offline(["f.nc"]))


def test_columns_across_the_meridian_of_greenwich_have_their_areas() -> None:
    def area(lon: list[float]) -> object:
        lat = np.arange(-10.0, 11.0, 2.5)
        file = xr.Dataset({"v": (("lat", "lon"), np.zeros((lat.size, 4)))}, coords={"lat": lat, "lon": lon})
        return read_domain(file, "v", "made here").area

    expected = area([-5.0, -2.5, 0.0, 2.5])
    np.testing.assert_allclose(area([355.0, 357.5, 0.0, 2.5]), expected)
    np.testing.assert_allclose(area([175.0, 177.5, -180.0, -177.5]), expected)


def test_damaged_forcing_names_the_file_and_keeps_the_history_before_it(tmp_path: Path, offline: Offline) -> None:
    file = forcing(0, 400, bounds=False)[["air_temperature"]]
    file["air_temperature"][...] = 270.0 + np.random.default_rng(0).random((400, 3, 4))  # does not compress
    file["air_temperature"].encoding = {"zlib": True, "chunksizes": (100, 3, 4)}
    half = file.isel(time=slice(200, 400))
    file.isel(time=slice(0, 200)).to_netcdf(tmp_path / "a.nc")
    half.to_netcdf(tmp_path / "b.nc")
    raw = (tmp_path / "b.nc").read_bytes()
    (tmp_path / "b.nc").write_bytes(raw[: len(raw) // 2] + bytes(600) + raw[len(raw) // 2 + 600 :])
    with refused(Status.IO, "b.nc", "'air_temperature'", "record 1"):
        run(offline(["?.nc"], driver={"end": "2001-12-30"}))
    assert len(temperature(tmp_path)) == 200
