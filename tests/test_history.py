# SPDX-License-Identifier: Apache-2.0
"""The history file: right dates in every calendar, CF attributes, and cells in the order of their ids."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import cftime
import netCDF4
import numpy as np
import pytest
from refusal import refused
from small_emulators import field, write_echo

from coupler_plugin import Coupler, Status
from coupler_plugin.clock import CALENDARS

xarray = pytest.importorskip("xarray")

Couple = Callable[..., Coupler]
LAI = field("lai", "1")


def run(couple: Couple, steps: int, every: str = "1d", dt: float = 21_600.0, **more: object) -> Path:
    """Write the history of a temperature that is 270 K plus the number of the step; return its path."""
    history = {"file": "out/history.nc", "fields": ["tas"], "every": every, **more.pop("history", {})}
    coupler = couple([], dt=dt, history=history, **more)
    tas = np.zeros(3)
    coupler.bind("tas", tas)
    for step in range(steps):
        tas[:] = 270.0 + step
        coupler.step()
    coupler.finalize()
    return coupler.config.history[0].file


def opened(path: Path) -> object:
    return xarray.open_dataset(path, decode_times=xarray.coders.CFDatetimeCoder(use_cftime=True))


# --- time -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("calendar", CALENDARS)
def test_xarray_reads_the_right_dates_in_every_calendar(couple: Couple, calendar: str) -> None:
    path = run(couple, steps=16, calendar=calendar, start="2004-02-27")
    noon = cftime.datetime(2004, 2, 27, 12, calendar=calendar)
    with opened(path) as file:
        assert list(file["time"].values) == [noon + timedelta(days=day) for day in range(4)]
        np.testing.assert_array_equal(file["tas"][:, 0], [271.5, 275.5, 279.5, 283.5])


@pytest.mark.parametrize("calendar", CALENDARS)
@pytest.mark.parametrize("every", ["6h", "1d", "5d", "1mon"])
def test_bounds_follow_each_other_and_hold_the_time(couple: Couple, calendar: str, every: str) -> None:
    path = run(couple, steps=4 * 40, calendar=calendar, every=every, start="2003-12-30T12:00:00")
    with netCDF4.Dataset(path) as file:
        bounds, times = file["time_bounds"][:], file["time"][:]
        first = cftime.num2date(bounds[0, 0], file["time"].units, file["time"].calendar)
    assert first == cftime.datetime(2003, 12, 30, 12, calendar=calendar)
    assert all(before[1] == after[0] for before, after in pairwise(bounds))
    np.testing.assert_array_equal(times, bounds.mean(axis=1))


def test_times_within_a_day_are_as_near_as_their_kind_allows(couple: Couple) -> None:
    with netCDF4.Dataset(run(couple, steps=48, every="1h", dt=3_600.0, start="2004-02-28")) as file:
        np.testing.assert_array_equal(file["time_bounds"][:, 1], np.arange(1, 49) / 24)


def test_months_end_where_the_calendar_says(couple: Couple) -> None:
    with netCDF4.Dataset(run(couple, steps=366, every="1mon", dt=86_400.0, start="2004-01-01")) as file:
        lengths = np.diff(file["time_bounds"][:], axis=1)[:, 0]
    np.testing.assert_array_equal(lengths, [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def test_interval_that_is_not_complete_at_the_end_is_not_written(couple: Couple) -> None:
    with netCDF4.Dataset(run(couple, steps=11)) as file:
        assert file["time"].size == 2


@pytest.mark.parametrize(("begin", "records"), [("2001-01-01", 4), ("2001-01-03", 2), ("2001-01-02T06:00:00", 2)])
def test_history_begins_where_it_is_told(couple: Couple, begin: str, records: int) -> None:
    with netCDF4.Dataset(run(couple, steps=16, history={"from": begin})) as file:
        np.testing.assert_array_equal(file["tas"][:, 0], [271.5, 275.5, 279.5, 283.5][-records:])
        assert file["time_bounds"][-1, 1] == 4.0


# --- cells and values -----------------------------------------------------------------------------------------


def test_cells_are_in_the_order_of_their_ids(couple: Couple) -> None:
    coupler = couple([], cells=None, history={"file": "history.nc", "fields": ["tas"], "every": "1h"})
    ids = np.array([[30, 0, 10], [0, 40, 20]])
    coupler.set_cells(ids, ids * 2.0, ids * 1.0, ids * 1e6)
    coupler.bind("tas", (ids - 273.15).astype(np.float32), "degC")
    coupler.step()
    coupler.finalize()
    with netCDF4.Dataset(coupler.config.history[0].file) as file:
        np.testing.assert_array_equal(file["id"][:], [10, 20, 30, 40])
        np.testing.assert_array_equal(file["lon"][:], [20.0, 40.0, 60.0, 80.0])
        np.testing.assert_array_equal(file["lat"][:], [10.0, 20.0, 30.0, 40.0])
        np.testing.assert_array_equal(file["cell_area"][:], [1e7, 2e7, 3e7, 4e7])
        np.testing.assert_allclose(file["tas"][0], [10.0, 20.0, 30.0, 40.0], rtol=1e-6)


def test_levels_have_their_own_dimension(couple: Couple) -> None:
    coupler = couple([], history={"file": "history.nc", "fields": ["tsl", "mrso", "tas"], "every": "1h"})
    tsl = np.arange(12.0).reshape(4, 3)
    coupler.bind("tsl", tsl)
    coupler.bind("mrso", np.zeros((3, 4)))
    coupler.bind("tas", np.zeros(3))
    coupler.step()
    coupler.finalize()
    with netCDF4.Dataset(coupler.config.history[0].file) as file:
        assert file["tsl"].dimensions == file["mrso"].dimensions == ("time", "level_4", "cell")
        assert file["tas"].dimensions == ("time", "cell")
        np.testing.assert_array_equal(file["tsl"][0], tsl)


def test_answer_that_has_not_come_yet_is_missing(couple: Couple, tmp_path: Path) -> None:
    emulator = write_echo(tmp_path / "echo.pt", field("tas", "K"), LAI, every="2h")
    history = {"file": "history.nc", "fields": ["lai"], "every": "1h"}
    coupler = couple(emulator, history=history, constants={"tas": "5 K"})
    for _ in range(3):
        coupler.step()
    coupler.finalize()
    with netCDF4.Dataset(coupler.config.history[0].file) as file:
        np.testing.assert_array_equal(np.ma.getmaskarray(file["lai"][:])[:, 0], [True, False, False])
        np.testing.assert_array_equal(file["lai"][1:], 5.0)


# --- what the file says about itself --------------------------------------------------------------------------


def test_attributes_are_those_of_cf(couple: Couple, tmp_path: Path) -> None:
    emulator = write_echo(tmp_path / "echo.pt", field("tas", "K"), field("nee", "g m-2 d-1"))
    history = {"file": "history.nc", "fields": ["nee", "tas"], "every": "1h"}
    coupler = couple(emulator, history=history, constants={}, cells=None)
    coupler.set_cells([1, 2], [0.0, 1.0], [0.0, 1.0], [1.0, 1.0])
    coupler.bind("tas", np.zeros(2))
    coupler.step()
    coupler.finalize()
    with netCDF4.Dataset(coupler.config.history[0].file) as file:
        assert file.Conventions.startswith("CF-1.")
        assert file.title
        assert "echo 1.0.0 (echo.pt)" in file.source
        assert coupler.emulators[0].file.sha256 in file.model_sha256
        assert "history.nc" in file.coupling_file
        assert file["time"].__dict__.items() >= {"standard_name": "time", "axis": "T", "bounds": "time_bounds"}.items()
        assert file["time"].units == "days since 2001-01-01"
        tas, nee = file["tas"], file["nee"]
        assert (
            tas.__dict__.items()
            >= {
                "standard_name": "air_temperature",
                "units": "K",
                "cell_methods": "time: mean",
                "coordinates": "lon lat",
                "cell_measures": "area: cell_area",
            }.items()
        )
        assert tas.long_name
        assert "_FillValue" in tas.ncattrs()
        assert "standard_name" not in nee.ncattrs()
        assert nee.comment == "positive upward"
        assert (file["lon"].units, file["lat"].units) == ("degrees_east", "degrees_north")
        assert (file["cell_area"].standard_name, file["cell_area"].units) == ("cell_area", "m2")


def test_file_without_areas_names_none(couple: Couple) -> None:
    with netCDF4.Dataset(run(couple, steps=4)) as file:
        assert "cell_area" not in file.variables
        assert "cell_measures" not in file["tas"].ncattrs()


# --- on disk --------------------------------------------------------------------------------------------------

HOST_THAT_ENDS_ABRUPTLY = """
import os, sys
import numpy as np
from coupler_plugin import Coupler
coupler = Coupler(sys.argv[1], start="2001-01-01", dt=3600.0)
coupler.set_cells([1], [0.0], [0.0])
coupler.bind("tas", np.full(1, 280.0))
for _ in range(5):
    coupler.step()
os._exit(3)
"""


def test_host_that_ends_without_finalize_keeps_its_history(coupling: Callable[..., Path]) -> None:
    file = coupling([], history={"file": "history.nc", "fields": ["tas"], "every": "1h"})
    done = subprocess.run([sys.executable, "-c", HOST_THAT_ENDS_ABRUPTLY, str(file)], check=False)
    assert done.returncode == 3
    with netCDF4.Dataset(file.parent / "history.nc") as history:
        np.testing.assert_array_equal(history["tas"][:], np.full((5, 1), 280.0, np.float32))


def test_file_of_an_earlier_run_is_replaced(couple: Couple) -> None:
    run(couple, steps=16)
    with netCDF4.Dataset(run(couple, steps=4)) as file:
        assert file["time"].size == 1


def test_file_that_cannot_be_created_is_an_error_of_the_first_step(couple: Couple, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("not a folder")
    with refused(Status.IO, "out/history.nc", "cannot write the history file"):
        run(couple, steps=1)


def test_full_disk_is_an_error_that_names_file_and_time(couple: Couple) -> None:
    n = 50_000
    coupler = couple([], cells=None, history={"file": "history.nc", "fields": ["tas"], "every": "1h"})
    coupler.set_cells(np.arange(1, n + 1), np.zeros(n), np.zeros(n))
    tas = np.zeros(n)
    coupler.bind("tas", tas)
    random = np.random.default_rng(0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, before[1]))
    try:
        with refused(Status.IO, "history.nc", "2001-01-01"):
            for _ in range(40):
                tas[:] = random.normal(size=n)  # does not compress
                coupler.step()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# --- several files, several methods, two formats ----------------------------------------------------------------


@pytest.mark.parametrize("ending", ["nc", "zarr"])
def test_methods_and_intervals_of_their_own(couple: Couple, ending: str) -> None:
    histories = [
        {"file": f"day.{ending}", "fields": ["tas", "tas max", "tas min"]},
        {"file": f"now.{ending}", "fields": ["tas point"], "every": "12h"},
    ]
    coupler = couple([], dt=21_600.0, history=histories)
    tas = np.zeros(3)
    coupler.bind("tas", tas)
    for step in range(8):
        tas[:] = 270.0 + step
        coupler.step()
    coupler.finalize()
    day, now = (xarray.open_dataset(history.file, decode_times=False) for history in coupler.config.history)
    np.testing.assert_array_equal(day.tas[:, 0], [271.5, 275.5])
    np.testing.assert_array_equal(day.tas_max[:, 1], [273.0, 277.0])
    np.testing.assert_array_equal(day.tas_min[:, 2], [270.0, 274.0])
    np.testing.assert_array_equal(now.tas[:, 0], [271.0, 273.0, 275.0, 277.0])
    assert [day[name].cell_methods for name in ("tas", "tas_max", "tas_min")] == [
        "time: mean",
        "time: maximum",
        "time: minimum",
    ]
    assert now.tas.cell_methods == "time: point"
    assert "time_bounds" not in now
    np.testing.assert_array_equal(now.time, [0.5, 1.0, 1.5, 2.0])
    np.testing.assert_array_equal(day.time_bounds, [[0.0, 1.0], [1.0, 2.0]])


def test_points_and_intervals_do_not_mix(couple: Couple) -> None:
    with refused(Status.CONFIG, "'history.fields'", "files of their own"):
        couple([], history={"file": "h.nc", "fields": ["tas", "pr point"]})
    with refused(Status.CONFIG, "'tas median'", "mean, min, max, point"):
        couple([], history={"file": "h.nc", "fields": ["tas median"]})


def test_mistake_in_a_list_of_histories_names_the_one(couple: Couple) -> None:
    histories = [{"file": "a.nc", "fields": ["tas"]}, {"file": "a.nc", "fields": ["pr"]}]
    with refused(Status.CONFIG, "'history.1.file'", "two histories"):
        couple([], history=histories)


def test_cells_of_a_grid_may_be_written_as_one(couple: Couple) -> None:
    history = {"file": "grid.nc", "fields": ["tas", "tsl"], "every": "1h", "grid": True}
    coupler = couple([], cells=None, history=history)
    coupler.set_cells([4, 2, 1], [10.0, 10.0, 0.0], [5.0, -5.0, -5.0], [4.0, 2.0, 1.0])
    coupler.bind("tas", np.array([274.0, 272.0, 271.0]))
    coupler.bind("tsl", np.array([[4.0, 2.0, 1.0], [8.0, 4.0, 2.0]]))
    coupler.step()
    coupler.finalize()
    with xarray.open_dataset(coupler.config.history[0].file) as file:
        assert file.tas.dims == ("time", "lat", "lon")
        np.testing.assert_array_equal(file.lat, [-5.0, 5.0])
        np.testing.assert_array_equal(file.id, [[1, 2], [0, 4]])
        np.testing.assert_array_equal(file.cell_area, [[1.0, 2.0], [0.0, 4.0]])
        np.testing.assert_array_equal(file.tas[0], [[271.0, 272.0], [np.nan, 274.0]])
        np.testing.assert_array_equal(file.tsl[0, :, 1, 1], [4.0, 8.0])
        assert file.tas.grid_mapping == "crs"
        assert file.crs.grid_mapping_name == "latitude_longitude"


def test_cells_that_are_no_grid_are_refused_as_one(couple: Couple) -> None:
    coupler = couple([], cells=None, history={"file": "grid.nc", "fields": ["tas"], "grid": True})
    coupler.set_cells([1, 2], [10.0, 10.0], [5.0, 5.0])
    coupler.bind("tas", np.zeros(2))
    with refused(Status.CELLS, "grid.nc", "grid: true"):
        coupler.step()


def test_records_that_may_wait_are_all_there_in_the_end(couple: Couple) -> None:
    coupler = couple([], dt=21_600.0, history={"file": "history.nc", "fields": ["tas"], "every": "6h"})
    coupler.writers.patience = 3600.0
    tas = np.zeros(3)
    coupler.bind("tas", tas)
    for step in range(30):
        tas[:] = step
        coupler.step()
    with netCDF4.Dataset(coupler.config.history[0].file) as file:
        assert file["time"].size == 0
    coupler.close_writers()
    with netCDF4.Dataset(coupler.config.history[0].file) as file:
        np.testing.assert_array_equal(file["tas"][:, 0], np.arange(30.0))
