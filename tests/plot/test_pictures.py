# SPDX-License-Identifier: Apache-2.0
"""Pictures of results: what is read, paired and scored, and that each kind of picture shows what it should."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from refusal import refused

from coupler_plugin import Coupler, Status
from coupler_plugin.cli import main

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

import matplotlib.pyplot as plt
from matplotlib import image

from coupler_plugin import plot
from coupler_plugin.plot.maps import find_grid
from coupler_plugin.plot.results import Field
from coupler_plugin.plot.style import DIFFERENCE

Couple = Callable[..., Coupler]
LON, LAT = (values.ravel() for values in np.meshgrid(np.arange(-180.0, 180.0, 30.0), np.arange(-75.0, 90.0, 30.0)))
LAND = (np.abs(LAT) < 60) & (LON > -100) & (LON < 60)


@pytest.fixture(params=["list.nc", "grid.nc", "list.zarr"])
def history(couple: Couple, request: pytest.FixtureRequest) -> Path:
    """Write four days of a temperature that is the cell's latitude plus the day [degC]."""
    section = {"file": request.param, "fields": ["tas"], "grid": request.param.startswith("grid")}
    return write(couple, section)


def write(couple: Couple, section: dict[str, object], shift: float = 0.0) -> Path:
    coupler = couple([], cells=None, dt=86_400.0, history=section)
    coupler.set_cells(np.flatnonzero(LAND) + 1, LON[LAND], LAT[LAND], np.ones(LAND.sum()))
    tas = np.zeros(LAND.sum())
    coupler.bind("tas", tas, "degC")
    for day in range(4):
        tas[:] = LAT[LAND] + day + shift
        coupler.step()
    coupler.finalize()
    return coupler.config.history[0].file


def observations(path: Path, lat: list[float], lon: list[float], calendar: str = "standard", year: int = 2001) -> Path:
    """Write half-daily observations [K] that are 1 K warmer than the cells, at four days."""
    hours = np.arange(8) * 0.5 + 0.25
    values = 273.15 + np.array(lat)[None] + np.repeat(np.arange(4.0), 2)[:, None] + 1.0
    values[0] += 3.0  # of the first half of the first day
    file = xr.Dataset(
        {"tas_observed": (("time", "site"), values, {"units": "K"})},
        coords={
            "site": [f"S{number}" for number in range(len(lat))],
            "lat": ("site", lat, {"units": "degrees_north"}),
            "lon": ("site", lon, {"units": "degrees_east"}),
            "time": ("time", hours, {"units": f"days since {year}-01-01", "calendar": calendar}),
        },
    )
    file.to_netcdf(path)
    return path


# --- reading ----------------------------------------------------------------------------------------------------


def test_history_reads_alike_in_every_layout(history: Path) -> None:
    results = plot.read(history)
    order = np.argsort(results.ids)
    np.testing.assert_array_equal(results.lat[order], LAT[LAND])
    tas = results.field("tas", "degC")
    np.testing.assert_allclose(tas.values[:, order], LAT[LAND] + np.arange(4.0)[:, None], atol=1e-4)
    assert (tas.units, tas.label) == ("degC", "near-surface air temperature")
    np.testing.assert_allclose(results.mean(tas.values), LAT[LAND].mean() + np.arange(4.0), atol=1e-4)


def test_unknown_field_names_the_nearest(couple: Couple) -> None:
    results = plot.read(write(couple, {"file": "h.nc", "fields": ["tas"]}))
    with refused(Status.FIELD, "Did you mean 'tas'?"):
        results.field("tass")
    with refused(Status.UNITS, "'Pa'"):
        results.field("tas", "Pa")


def test_what_is_no_history_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.nc").write_text("no history")
    with refused(Status.IO, "x.nc"):
        plot.read(tmp_path / "x.nc")
    with refused(Status.IO, "nowhere.nc"):
        plot.read(tmp_path / "nowhere.nc")


# --- pairs and scores -------------------------------------------------------------------------------------------


def test_observations_are_means_over_the_intervals_of_the_run(couple: Couple, tmp_path: Path) -> None:
    results = plot.read(write(couple, {"file": "h.nc", "fields": ["tas"]}))
    pairs = plot.pair(results, "tas", observations(tmp_path / "o.nc", [15.0, -45.0], [0.1, 30.0]), units="degC")
    assert pairs.names == ["S0", "S1"]
    np.testing.assert_allclose(pairs.emulated.values[:, 0], 15.0 + np.arange(4.0), atol=1e-4)
    np.testing.assert_allclose(pairs.observed.values[:, 1], [-42.5, -43.0, -42.0, -41.0], atol=1e-4)


def test_sites_far_from_all_cells_are_left_out_or_refused(couple: Couple, tmp_path: Path) -> None:
    results = plot.read(write(couple, {"file": "h.nc", "fields": ["tas"]}))
    pairs = plot.pair(results, "tas", observations(tmp_path / "o.nc", [15.0, 15.0], [0.1, 170.0]))
    assert (pairs.names, pairs.left_out) == (["S0"], ["S1"])
    with refused(Status.CELLS, "no site", "100 km", "o2.nc"):
        plot.pair(results, "tas", observations(tmp_path / "o2.nc", [0.0], [170.0]))


@pytest.mark.parametrize(
    ("more", "words"), [({"calendar": "360_day"}, "'360_day'"), ({"year": 2005}, "no time in the intervals")]
)
def test_observations_of_other_times_are_refused(
    couple: Couple, tmp_path: Path, more: dict[str, object], words: str
) -> None:
    results = plot.read(write(couple, {"file": "h.nc", "fields": ["tas"]}))
    with refused(Status.CONFIG, words):
        plot.pair(results, "tas", observations(tmp_path / "o.nc", [15.0], [0.1], **more))


def test_scores_are_those_of_the_definitions() -> None:
    observed = np.array([1.0, 2.0, 3.0, 4.0, np.nan])
    found = plot.score(observed, 2 * observed - 1)
    assert (found.n, found.bias, found.mae, found.spread) == (4, 1.5, 1.5, 2.0)
    assert found.rmse == pytest.approx(np.sqrt(3.5))
    assert found.r2 == pytest.approx(1 - 3.5 / 1.25)
    assert found.correlation == pytest.approx(1.0)
    assert np.isnan(plot.score(observed[:2], observed[:2]).rmse)


# --- maps -------------------------------------------------------------------------------------------------------


def test_grid_is_found_from_its_cells_alone() -> None:
    grid = find_grid(LON[LAND], LAT[LAND])
    assert grid is not None
    rows, columns = grid.place(LON[LAND], LAT[LAND])
    np.testing.assert_allclose((grid.lat[rows] + grid.lat[rows + 1]) / 2, LAT[LAND])
    np.testing.assert_allclose((grid.lon[columns] + grid.lon[columns + 1]) / 2, LON[LAND])
    whole = find_grid(LON % 360.0, LAT)
    assert whole is not None
    assert whole.is_round
    assert whole.lon.size == 13


def test_scattered_places_are_no_grid() -> None:
    rng = np.random.default_rng(1)
    assert find_grid(rng.uniform(-180, 180, 200), rng.uniform(-90, 90, 200)) is None


@pytest.mark.parametrize(("of_run", "of_file"), [("gregorian", "standard"), ("365_day", "noleap")])
def test_names_of_one_calendar_are_alike(couple: Couple, tmp_path: Path, of_run: str, of_file: str) -> None:
    coupler = couple([], calendar=of_run, dt=86_400.0, history={"file": "h.nc", "fields": ["tas"]})
    coupler.bind("tas", np.full(coupler.cells.n, 15.0), "degC")
    coupler.step()
    coupler.finalize()
    results = plot.read(coupler.config.history[0].file)
    observed = observations(tmp_path / "o.nc", [results.lat[0]], [results.lon[0]], calendar=of_file)
    assert np.isfinite(plot.pair(results, "tas", observed).observed.values).all()


def test_observations_without_dates_are_refused(couple: Couple, tmp_path: Path) -> None:
    results = plot.read(write(couple, {"file": "h.nc", "fields": ["tas"]}))
    with xr.open_dataset(observations(tmp_path / "o.nc", [15.0], [0.1]), decode_times=False) as file:
        file.assign_coords(time=("time", np.arange(8.0))).to_netcdf(tmp_path / "bare.nc")
    with refused(Status.CONFIG, "bare.nc", "'days since"):
        plot.pair(results, "tas", tmp_path / "bare.nc")


def test_mean_over_times_leaves_out_those_without_a_value() -> None:
    field = Field("lai", "leaf area index", "1", np.array([[np.nan, np.nan], [1.0, np.nan], [3.0, np.nan]]))
    np.testing.assert_array_equal(field.mean(), [2.0, np.nan])


def test_no_difference_has_no_colour() -> None:
    assert np.ptp(DIFFERENCE(0.5)[:3]) < 0.05


def test_map_shows_each_cell_in_the_colour_of_its_value() -> None:
    figure, axes = plt.subplots()
    plot.draw_map(axes, LON, LAT, LAT, "latitude", "degrees_north", limits=(-75.0, 75.0))
    cells = max(axes.collections, key=lambda collection: len(collection.get_paths()))
    assert len(cells.get_paths()) == LON.size + 6  # the column on the date line is cut in two
    assert set(np.round(cells.get_array(), 6)) == set(LAT)
    assert axes.get_title(loc="left") == "latitude" or axes.get_title() == "latitude"
    plt.close(figure)


# --- the command ------------------------------------------------------------------------------------------------


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs `coupler-plugin plot` with words and returns what it prints."""

    def run(*words: object, ends: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["coupler-plugin", "plot", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        assert end.value.code == ends, printed.err
        return printed.err if ends else printed.out

    return run


def test_every_kind_of_picture_is_drawn(couple: Couple, tmp_path: Path, cli: Callable[..., str]) -> None:
    one = write(couple, {"file": "one.nc", "fields": ["tas"]})
    two = write(couple, {"file": "two.nc", "fields": ["tas"]}, shift=2.0)
    observed = observations(tmp_path / "o.nc", [15.0, -45.0], [0.1, 30.0])
    commands = {
        "map": ["map", one, "tas", "--units", "degC"],
        "series": ["series", one, "tas", "--cell", int(np.flatnonzero(LAND)[3] + 1)],
        "scatter": ["scatter", one, "tas", "--observations", observed],
        "taylor": ["taylor", one, "tas", "--observations", observed],
        "compare": ["compare", one, two, "tas"],
    }
    printed = {}
    for kind, words in commands.items():
        path = tmp_path / f"{kind}.png"
        printed[kind] = cli(*words, "-o", path)
        pixels = image.imread(path)
        assert pixels.shape[0] > 200
        assert np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0).shape[0] > 20  # not an empty panel
    assert "largest difference of the means 2 K" in printed["compare"]
    assert "S0" in printed["taylor"]
    assert "bias -1.3" in printed["taylor"] or "bias -1.38" in printed["taylor"]


def test_mistakes_end_in_one_sentence(couple: Couple, tmp_path: Path, cli: Callable[..., str]) -> None:
    one = write(couple, {"file": "one.nc", "fields": ["tas"]})
    assert "no cell 7000" in cli("series", one, "tas", "--cell", 7000, ends=Status.CELLS)
    assert "cannot write the picture" in cli("map", one, "tas", "-o", tmp_path / "x.unknown", ends=Status.IO)
    assert "no field 'gpp'" in cli("map", one, "gpp", ends=Status.FIELD)
