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
from rich.console import Console

from coupler_plugin import Coupler, Status
from coupler_plugin.driver import plan, prepare, run
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


def test_site_list_takes_the_nearest_forcing(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 10).to_netcdf(tmp_path / "f.nc")
    (tmp_path / "sites.csv").write_text("name,lat,lon\nA,-28,179\nB,1,-80\nC,-29,-179\n")
    coupler = run(offline(["f.nc"], driver={"sites": "sites.csv"}))
    assert coupler.cells is not None
    result = history(tmp_path)
    np.testing.assert_allclose(result.tas[0], 270 + np.array([10, 7, 10]) / 100, atol=1e-4)
    assert result.lat.values.tolist() == [-28.0, 1.0, -29.0]
    assert result.id.values.tolist() == [1, 2, 3]


@pytest.mark.parametrize("text", ["lat,longitude\n1,2\n", "lat,lon\n1,west\n", "lat,lon\n"])
def test_site_list_without_places_is_refused(tmp_path: Path, offline: Offline, text: str) -> None:
    forcing(0, 10).to_netcdf(tmp_path / "f.nc")
    (tmp_path / "sites.csv").write_text(text)
    with refused(Status.CELLS, "sites.csv"):
        run(offline(["f.nc"], driver={"sites": "sites.csv"}))


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
    assert len(list((tmp_path / "restart").glob("rpointer.*-?????"))) == 1


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


def test_calendars_that_agree_since_1582_are_one(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 10, calendar="proleptic_gregorian").to_netcdf(tmp_path / "f.nc")
    run(offline(["f.nc"], calendar="standard"))
    assert history(tmp_path).sizes["time"] == 10


def test_months_without_bounds_stand_for_whole_months(tmp_path: Path, offline: Offline) -> None:
    file = forcing(0, 4, calendar="noleap", bounds=False).drop_vars("time")
    file = file.assign_coords(time=("time", np.array([15.5, 45.0, 74.5, 105.0]), {
        "units": "days since 2001-01-01", "calendar": "noleap", "standard_name": "time"}))  # fmt: skip
    file.to_netcdf(tmp_path / "f.nc")
    run(offline(["f.nc"], calendar="noleap", driver={"start": "2001-01-31", "end": "2001-04-02"}))
    tas = history(tmp_path).tas[:, 0].values
    np.testing.assert_allclose(tas[[0, 1, 28, 29, 59, 60]], 270 + np.array([0, 1, 1, 2, 2, 3]), atol=1e-4)


def test_one_record_serves_an_interpolation_too(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 1).to_netcdf(tmp_path / "f.nc")
    section = {"forcing": [{"files": ["f.nc"], "interpolate": "linear"}], "end": "2001-01-02", "dt": "6h"}
    run(offline([], driver=section))
    assert history(tmp_path).tas[0, 0] == 270.0


def test_interpolation_goes_on_from_file_to_file(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 5).to_netcdf(tmp_path / "a.nc")
    forcing(5, 7).to_netcdf(tmp_path / "b.nc")
    section = {"forcing": [{"files": ["?.nc"], "interpolate": "linear"}], "dt": "6h"}
    run(offline([], driver=section))
    np.testing.assert_allclose(history(tmp_path).tas[1:, 0], 270 + np.arange(1, 10), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (lambda f: f.assign(air_temperature=(f.air_temperature - 273.15).assign_attrs(units="degC")), Status.UNITS,
         ["'degC'", "'K'", "b.nc", "a.nc"]),
        (lambda f: f.assign_coords(lon=("lon", LON + 1.0, {"units": "degrees_east"})), Status.CELLS,
         ["b.nc", "other cells"]),
        (lambda f: f.drop_vars("air_temperature"), Status.CONFIG, ["b.nc", "no variable 'air_temperature'"]),
    ],
)  # fmt: skip
def test_file_unlike_the_first_is_refused(
    tmp_path: Path, offline: Offline, change: Callable[[xr.Dataset], xr.Dataset], status: Status, words: list[str]
) -> None:
    forcing(0, 5).to_netcdf(tmp_path / "a.nc")
    change(forcing(5, 5)).to_netcdf(tmp_path / "b.nc")
    with refused(status, *words):
        run(offline(["a.nc", "b.nc"]))


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


def test_missing_values_may_be_held_also_by_a_run_that_begins_in_the_gap(
    tmp_path: Path, offline: Offline, caplog: pytest.LogCaptureFixture
) -> None:
    file = forcing(0, 10)
    file.air_temperature[4:7, 1, 2] = np.nan
    file.isel(time=slice(5)).to_netcdf(tmp_path / "a.nc")
    file.isel(time=slice(5, 10)).to_netcdf(tmp_path / "b.nc")
    held = {"forcing": [{"files": ["a.nc", "b.nc"], "missing": "hold"}]}
    run(offline([], driver=held))
    days = np.array([0, 1, 2, 3, 3, 3, 3, 7, 8, 9])
    np.testing.assert_allclose(history(tmp_path).tas[:, 6], 270.06 + days, atol=1e-4)
    assert "3 of 'tas'" in caplog.text
    run(offline([], driver={**held, "start": "2001-01-07"}), overwrite=True)
    np.testing.assert_allclose(history(tmp_path).tas[:, 6], 270.06 + days[6:], atol=1e-4)


def test_missing_value_that_nothing_came_before_is_refused(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 10).assign(swdown=forcing(0, 10).swdown.where(forcing(0, 10).land > 2)).to_netcdf(tmp_path / "f.nc")
    with refused(Status.CELLS, "no cell of the forcing has values"):
        run(offline(["f.nc"], emulator="carbon", driver={"forcing": [{"files": ["f.nc"], "missing": "hold"}]}))


def test_interrupted_run_of_two_ranks_goes_on_where_it_stopped(tmp_path: Path, offline: Offline) -> None:
    file = forcing(0, 360)  # each day a degree warmer: after some months no guard would let it pass
    file.assign(air_temperature=file.air_temperature % 40 + 260).to_netcdf(tmp_path / "f.nc")
    sections = {"restart": {}, "driver": {"end": "2001-12-01", "dt": "1min"}}
    path = offline(["f.nc"], emulator="carbon", **sections)
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    command = [sys.executable, "-m", "coupler_plugin", "run", str(path), "-n", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment)
    deadline = time.monotonic() + 120
    while not (tmp_path / "history.nc").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors.decode()
    assert errors.count(b"interrupted") == 1, errors.decode()
    stopped = history(tmp_path)
    assert 0 < stopped.sizes["time"] < 300
    days = stopped.sizes["time"] + 3
    path = offline(["f.nc"], emulator="carbon", restart={}, driver={"dt": "1min", "end": str(_day(days))})
    run(path, resume=True)
    resumed = history(tmp_path)
    assert resumed.sizes["time"] == days
    run(path, overwrite=True)
    assert history(tmp_path).equals(resumed)


def _day(number: int) -> str:
    """Return the date a number of days after the start, in the 360-day calendar."""
    return f"2001-{number // 30 + 1:02d}-{number % 30 + 1:02d}"


def test_resume_takes_no_restart_of_a_run_that_was_there_before(tmp_path: Path, offline: Offline) -> None:
    """The first run came to its end; the second was begun anew and stops at first before, then after a restart."""

    def give(warmer: float, impossible: int | None = None) -> None:
        file = forcing(0, 10)
        file["air_temperature"] += warmer
        if impossible is not None:
            file.air_temperature[impossible, 1, 2] = 1000.0
        (tmp_path / "f.nc").unlink(missing_ok=True)  # open files of this process keep what they had
        file.to_netcdf(tmp_path / "f.nc")

    path = offline(["f.nc"], emulator="carbon", restart={"every": "2d"})
    give(warmer=1.0)
    run(path)
    whole = history(tmp_path)
    shutil.rmtree(tmp_path / "restart")
    give(warmer=0.0)
    run(path, overwrite=True)
    give(warmer=1.0, impossible=0)
    with refused(Status.RUN, "1000"):
        run(path, overwrite=True)
    with refused(Status.CONFIG, "no restart of this run", "rpointer.coupler"):
        run(path, resume=True)
    give(warmer=1.0, impossible=6)
    with refused(Status.RUN, "1000"):
        run(path, overwrite=True)
    give(warmer=1.0)
    assert run(path, resume=True).restarted_from == "2001-01-07-00000"
    assert history(tmp_path).equals(whole)


def test_resume_takes_no_restart_from_before_the_start(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 10).to_netcdf(tmp_path / "f.nc")
    run(offline(["f.nc"], restart={"every": "4d"}))
    path = offline(["f.nc"], restart={}, driver={"start": "2001-01-10"})
    with refused(Status.CONFIG, "no restart of this run", "without --resume"):
        run(path, resume=True)


def test_resume_without_a_restart_is_refused(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 10).to_netcdf(tmp_path / "f.nc")
    with refused(Status.CONFIG, "no restart", "without --resume"):
        run(offline(["f.nc"], restart={}), resume=True)


def test_error_in_a_run_leaves_the_history_that_came_before_it(tmp_path: Path, offline: Offline) -> None:
    file = forcing(0, 10)
    file.air_temperature[4, 1, 2] = np.nan
    file.to_netcdf(tmp_path / "f.nc")
    with refused(Status.RUN, "2001-01-05"):
        run(offline(["f.nc"]))
    assert history(tmp_path).sizes["time"] == 4


def test_run_that_a_gap_in_the_forcing_stops_goes_on_once_that_is_mended(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 10).to_netcdf(tmp_path / "f.nc")
    path = offline(["f.nc"], emulator="carbon", restart={})
    run(path)
    whole = history(tmp_path)
    file = forcing(0, 10)
    file.air_temperature[4, 1, 2] = np.nan
    (tmp_path / "f.nc").unlink()  # open files of this process keep what they had
    file.to_netcdf(tmp_path / "f.nc")
    with refused(Status.RUN, "2001-01-05"):
        run(path, overwrite=True)
    (tmp_path / "f.nc").unlink()
    forcing(0, 10).to_netcdf(tmp_path / "f.nc")
    assert run(path, resume=True).restarted_from == "2001-01-05-00000"
    assert history(tmp_path).equals(whole)


def test_places_that_never_have_values_are_no_cells(tmp_path: Path, offline: Offline) -> None:
    file = forcing(0, 10)
    file.air_temperature[:, 0, :] = np.nan
    file.to_netcdf(tmp_path / "f.nc")
    run(offline(["f.nc"]))
    assert history(tmp_path).id.values.tolist() == list(range(5, 13))


def test_other_units_are_converted(tmp_path: Path, offline: Offline) -> None:
    file = forcing(0, 10)
    celsius = (file.air_temperature - 273.15).assign_attrs(file.air_temperature.attrs, units="degC")
    file.assign(air_temperature=celsius).to_netcdf(tmp_path / "f.nc")
    run(offline(["f.nc"]))
    np.testing.assert_allclose(history(tmp_path).tas[:, 0], 270.0 + np.arange(10), atol=1e-4)


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


def test_plan_says_who_reads_what_when_and_where_and_writes_nothing(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 12).to_netcdf(tmp_path / "f.nc")
    path = offline(["f.nc"], restart={"every": "5d"}, report="report.json")
    console = Console(width=200, record=True)
    for table in plan(prepare(path)):
        console.print(table)
    text = console.export_text()
    for words in (
        "air_temperature", "12 records, 2001-01-01 to 2001-01-13", "held", "echo", "2001-01-02 00:00:00",
        "history.nc", "lai, tas", "5d", "10 steps, 360_day", "3 lat x 4 lon", "12; it reads its own", "MiB",
        "report.json",
    ):  # fmt: skip
        assert words in text
    assert sorted(file.name for file in tmp_path.iterdir()) == ["echo.pt", "f.nc", "run.yml"]


def test_plan_breaks_long_paths_and_lists_the_record(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 12).to_netcdf(tmp_path / "f.nc")
    console = Console(width=80, record=True)
    for table in plan(prepare(offline(["f.nc"], record={"file": "cube.nc"}))):
        console.print(table)
    text = console.export_text()
    assert "…" not in text
    assert "all that emulators" in text


def test_plan_refuses_what_the_first_step_would(tmp_path: Path, offline: Offline) -> None:
    forcing(0, 12).to_netcdf(tmp_path / "f.nc")
    with refused(Status.FIELD, "'lai'", "goes nowhere"):
        plan(prepare(offline(["f.nc"], history={"file": "history.nc", "fields": ["tas"]})))
    forcing(0, 12).drop_vars("swdown").to_netcdf(tmp_path / "dark.nc")
    with refused(Status.FIELD, "'rsds'"):
        plan(prepare(offline(["dark.nc"], emulator="carbon")))


@pytest.mark.parametrize("section", ["history", "restart", "report"])
def test_place_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path, offline: Offline, section: str) -> None:
    forcing(0, 10).to_netcdf(tmp_path / "f.nc")
    (tmp_path / "file").write_text("no folder")
    sections = {
        "history": {"file": "file/h.nc", "fields": ["lai"]}, "restart": {"dir": "file"}, "report": "file/report.json",
    }  # fmt: skip
    kept = {"history": {"file": "h.nc", "fields": ["lai"]}}
    with refused(Status.IO, "cannot be written", "file"):
        run(offline(["f.nc"], **{**kept, section: sections[section]}))
    assert not (tmp_path / "h.nc").exists()


def test_file_system_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path, offline: Offline) -> None:
    """One that is mounted to be read only, which stops an administrator, too."""
    forcing(0, 10).to_netcdf(tmp_path / "f.nc")
    path = offline(["f.nc"], history={"file": "mounted/h.nc", "fields": ["lai"]})
    (tmp_path / "mounted").mkdir()
    mount = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o ro none "{tmp_path}/mounted" || exit 77; exec "$@"']
    command = [*mount, "sh", sys.executable, "-m", "coupler_plugin", "run", str(path)]
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("this user may not mount a file system")
    assert done.returncode == int(Status.IO)
    assert "mounted/h.nc' cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
