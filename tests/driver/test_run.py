# SPDX-License-Identifier: Apache-2.0
"""The offline driver: what it reads, what it refuses, and that it gives the bits of any other use of the coupler."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from coupler_plugin import Coupler, Status
from coupler_plugin.driver import run
from tests.driver.conftest import LAT, LON, forcing
from tests.refusal import refused

Offline = Callable[..., Path]


def history(folder: Path) -> xr.Dataset:
    with xr.open_dataset(folder / "history.nc") as file:
        return file.load()


def test_run_gives_the_emulator_the_days_of_the_forcing(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 12).to_netcdf(tmp_path / "f.nc")
    run(offline(["f.nc"]))
    result = history(tmp_path)
    day, place = np.arange(10), np.arange(12)
    np.testing.assert_allclose(result.lai, 270 - 273.15 + day[:, None] + place / 100, atol=1e-5)
    assert result.id.values.tolist() == list(range(1, 13))


def test_run_joins_files_in_the_order_of_time(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 5).to_netcdf(tmp_path / "z_first.nc")
    forcing(5, 7).to_netcdf(tmp_path / "a_second.nc")
    run(offline(["*_*.nc"]))
    np.testing.assert_allclose(history(tmp_path).tas[:, 0], 270 + np.arange(10), atol=1e-4)


def test_run_reads_zarr(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 10).to_zarr(tmp_path / "f.zarr", zarr_format=2)
    run(offline(["f.zarr"]))
    assert history(tmp_path).sizes["time"] == 10


def test_times_without_bounds_at_noon_stand_for_their_day(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 10, bounds=False).to_netcdf(tmp_path / "f.nc")
    run(offline(["f.nc"], driver={"dt": "6h"}))
    np.testing.assert_allclose(history(tmp_path).tas[:, 0], 270 + np.arange(10), atol=1e-4)


def test_linear_interpolation_passes_through_the_middle_of_each_day(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 12).to_netcdf(tmp_path / "f.nc")
    section = {"forcing": [{"files": ["f.nc"], "interpolate": "linear"}], "dt": "6h"}
    run(offline(["f.nc"], driver=section))
    np.testing.assert_allclose(history(tmp_path).tas[1:, 0], 270 + np.arange(1, 10), atol=1e-4)


def test_mask_leaves_cells_out_and_keeps_ids(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 10).to_netcdf(tmp_path / "f.nc")
    run(offline(["f.nc"], driver={"mask": {"variable": "land", "min": 0.5}}))
    assert history(tmp_path).id.values.tolist() == [1, 3, 5, 7, 9, 11]


def test_areas_of_a_global_grid_sum_to_the_sphere(tmp_path: Path) -> None:
    from coupler_plugin.driver.domain import EARTH_RADIUS, read_domain

    lat, lon = np.arange(-88.75, 90, 2.5), np.arange(0, 360, 5.0)
    file = xr.Dataset({"v": (("lat", "lon"), np.zeros((lat.size, lon.size)))}, coords={"lat": lat, "lon": lon})
    area = read_domain(file, "v", "made here").area
    assert area is not None
    assert area.sum() == pytest.approx(4 * np.pi * EARTH_RADIUS**2, rel=1e-12)


def test_sites_are_cells_too(tmp_path: Path, offline: Offline) -> None:
    sites = forcing(0, 10).stack(site=("lat", "lon")).drop_vars(["site", "lat", "lon"])
    lat, lon = np.meshgrid(LAT, LON, indexing="ij")
    sites = sites.assign_coords(lat=("site", lat.ravel(), {"units": "degrees_north"}), lon=("site", lon.ravel()))
    sites.transpose("time", "site", ...).to_netcdf(tmp_path / "f.nc")
    run(offline(["f.nc"]))
    assert history(tmp_path).lat.values.tolist() == lat.ravel().tolist()


def test_offline_run_has_the_bits_of_a_host(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 10).to_netcdf(tmp_path / "f.nc")
    path = offline(["f.nc"], emulator="carbon")
    run(path)
    offline_nee = history(tmp_path).nee.values
    coupler = Coupler(path, start="2001-01-01", dt=86400.0)
    lat, lon = (values.ravel() for values in np.meshgrid(LAT, LON, indexing="ij"))
    coupler.set_cells(np.arange(1, 13), lon, lat)
    tas, rsds, nee = np.zeros(12), np.full(12, 200.0), np.zeros(12)
    for name, array in (("tas", tas), ("rsds", rsds), ("nee", nee)):
        coupler.bind(name, array)
    for day in range(10):
        tas[:] = forcing(day, 1).air_temperature.values.ravel()
        coupler.step()
        assert np.array_equal(nee.astype(np.float32), offline_nee[day])


@pytest.mark.parametrize("ranks", [2, 3])
def test_history_is_the_same_for_every_number_of_ranks(tmp_path: Path, offline: Offline, ranks: int) -> None:
    forcing(0, 10).to_netcdf(tmp_path / "f.nc")
    path = offline(["f.nc"], emulator="carbon")
    run(path)
    serial = history(tmp_path)
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    launcher = shutil.which("mpirun")
    assert launcher
    command = [launcher, "--oversubscribe", "-n", str(ranks), sys.executable, "-m", "coupler_plugin", "run", str(path)]
    subprocess.run([*command, "--overwrite"], check=True, env=environment, capture_output=True, timeout=120)
    assert history(tmp_path).equals(serial)


def test_run_in_two_parts_continues_the_history(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 10).to_netcdf(tmp_path / "f.nc")
    run(offline(["f.nc"], emulator="carbon"))
    whole = history(tmp_path)
    (tmp_path / "history.nc").unlink()
    run(offline(["f.nc"], emulator="carbon", restart={"every": "4d"}, driver={"end": "2001-01-09"}))
    run(offline(["f.nc"], emulator="carbon", restart={"every": "4d"}, driver={"start": "2001-01-09"}))
    joined = history(tmp_path)
    assert joined.equals(whole)


def test_interrupt_finishes_the_step_and_exits_130(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 360).to_netcdf(tmp_path / "f.nc")
    path = offline(["f.nc"], restart={}, driver={"end": "2002-01-01", "dt": "1min"})
    process = subprocess.Popen(
        [sys.executable, "-m", "coupler_plugin", "run", str(path)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "history.nc").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted" in errors
    assert len(list((tmp_path / "restart").glob("rpointer.*"))) == 1


def test_gap_is_refused_with_both_files(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 5).to_netcdf(tmp_path / "a.nc")
    forcing(6, 7).to_netcdf(tmp_path / "b.nc")
    with refused(Status.CONFIG, "a gap between 2001-01-06", "a.nc", "b.nc"):
        run(offline(["a.nc", "b.nc"]))


def test_overlap_is_refused(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 6).to_netcdf(tmp_path / "a.nc")
    forcing(5, 7).to_netcdf(tmp_path / "b.nc")
    with refused(Status.CONFIG, "an overlap"):
        run(offline(["a.nc", "b.nc"]))


def test_forcing_that_ends_early_is_refused_before_the_run(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 8).to_netcdf(tmp_path / "f.nc")
    with refused(Status.CONFIG, "covers 2001-01-01 00:00:00 to 2001-01-09 00:00:00", "the run needs"):
        run(offline(["f.nc"]))


def test_other_calendar_is_refused_with_the_remedy(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 10, calendar="noleap").to_netcdf(tmp_path / "f.nc")
    with refused(Status.CONFIG, "'noleap'", "'360_day'", "calendar: noleap"):
        run(offline(["f.nc"]))


def test_missing_value_names_file_time_and_cell(tmp_path: Path, offline: Offline) -> None:
    file = forcing(0, 10)
    file.air_temperature[4, 1, 2] = np.nan
    file.to_netcdf(tmp_path / "f.nc")
    with refused(Status.RUN, "f.nc", "'air_temperature'", "2001-01-05", "cell 7"):
        run(offline(["f.nc"]))


def test_places_that_never_have_values_are_no_cells(tmp_path: Path, offline: Offline) -> None:
    file = forcing(0, 10)
    file.air_temperature[:, 0, :] = np.nan
    file.to_netcdf(tmp_path / "f.nc")
    run(offline(["f.nc"]))
    assert history(tmp_path).id.values.tolist() == list(range(5, 13))


def test_wrong_units_are_refused(tmp_path: Path, offline: Offline) -> None:
    file = forcing(0, 10)
    file.air_temperature.attrs["units"] = "m s-1"
    file.to_netcdf(tmp_path / "f.nc")
    with refused(Status.UNITS, "'m s-1'", "tas"):
        run(offline(["f.nc"]))


def test_other_grid_is_refused(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 10)[["air_temperature", "time_bnds"]].to_netcdf(tmp_path / "a.nc")
    forcing(0, 10)[["swdown", "time_bnds"]].assign_coords(lon=LON + 5).to_netcdf(tmp_path / "b.nc")
    sections = {"forcing": [{"files": ["a.nc"]}, {"files": ["b.nc"]}]}
    with refused(Status.CELLS, "b.nc", "other cells"):
        run(offline(["a.nc"], emulator="carbon", driver=sections))


def test_existing_history_is_kept_unless_overwrite(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 10).to_netcdf(tmp_path / "f.nc")
    path = offline(["f.nc"])
    run(path)
    with refused(Status.IO, "exists", "--overwrite"):
        run(path)
    run(path, overwrite=True)


def test_file_without_a_wanted_field_lists_what_it_has(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 10)[["land"]].assign(speed=forcing(0, 10).swdown).to_netcdf(tmp_path / "f.nc")
    with refused(Status.CONFIG, "gives none of the fields", "speed"):
        run(offline(["f.nc"]))


def test_coupling_file_without_driver_is_refused(tmp_path: Path, coupling: Callable[..., Path]) -> None:
    with refused(Status.CONFIG, "has no section 'driver:'"):
        run(coupling())


def test_dry_run_writes_nothing(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 10).to_netcdf(tmp_path / "f.nc")
    run(offline(["f.nc"]), dry=True)
    assert not (tmp_path / "history.nc").exists()
