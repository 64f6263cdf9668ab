# SPDX-License-Identifier: Apache-2.0
"""Emulators on a grid of their own in one process: what a host sees, and what it must say about its cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusal import refused
from small_emulators import Product, Store, field, write, write_echo

from coupler_plugin import Coupler, Status
from coupler_plugin.regrid import Grid, Links, latlon, make_weights, write_weights
from tests.regrid.scrip_weights import write_scrip_weights

REGION = (0.0, -20.0, 60.0, 40.0)
HOST = {"latlon": 10.0, "region": list(REGION)}
OWN = {"latlon": 4.0, "region": list(REGION)}
Couple = Callable[..., Coupler]


def on_host(coupler: Coupler, grid: Grid, values: dict[str, Any], **corners: Any) -> dict[str, np.ndarray]:
    """Give a coupler the cells of a grid and one array a field, and return the arrays."""
    coupler.set_cells(grid.ids, grid.lon, grid.lat, None, **corners)
    arrays = {name: np.broadcast_to(value, grid.n).astype(np.float64) for name, value in values.items()}
    for name, array in arrays.items():
        coupler.bind(name, array)
    return arrays


def gridded(model: Path, **more: Any) -> dict[str, Any]:
    return {"model": model, "grid": OWN, "block": 64, "guard": {"input": "off"}, **more}


@pytest.fixture
def flux(tmp_path: Path) -> Path:
    return write_echo(tmp_path / "flux.pt", field("pr", "mm d-1"), field("evspsbl", "mm d-1"))


def test_fluxes_keep_their_integral_and_states_their_place(couple: Couple, tmp_path: Path, flux: Path) -> None:
    state = write_echo(tmp_path / "state.pt", field("tas", "degC"), field("tsl", "degC"))
    coupler = couple([gridded(flux), gridded(state)], cells=None, regrid={"host_grid": HOST, "edges": "latitude"})
    grid = latlon(10.0, REGION)
    arrays = on_host(
        coupler, grid, {"pr": 1e-5 + 1e-7 * grid.ids, "evspsbl": 0.0, "tas": 280.0 + 0.1 * grid.lon, "tsl": -1.0}
    )
    coupler.step()
    area = grid.areas("latitude")
    assert area @ arrays["evspsbl"] == pytest.approx(area @ arrays["pr"], rel=1e-7)  # the network is float32
    assert np.abs(arrays["evspsbl"] / arrays["pr"] - 1.0).max() > 1e-4
    inner = (np.abs(grid.lon - 30.0) < 20.0) & (np.abs(grid.lat - 10.0) < 20.0)
    np.testing.assert_allclose(arrays["tsl"][inner], arrays["tas"][inner], rtol=0.0, atol=5e-4)
    seconds = coupler.timers.seconds
    parts = {phase: seconds[phase] for phase in ("accumulate", "exchange", "regrid", "infer", "guard")}
    assert min(parts["exchange"], parts["regrid"], parts["infer"]) > 0.0
    assert sum(parts.values()) <= seconds["step"]


def test_latitude_is_that_of_the_emulators_cells(couple: Couple, tmp_path: Path) -> None:
    model = write_echo(tmp_path / "where.pt", field("latitude", "degrees_north"), field("lai", "1"))
    coupler = couple(gridded(model), cells=None, regrid={"host_grid": HOST, "methods": {"lai": "nearest_s2d"}})
    arrays = on_host(coupler, latlon(10.0, REGION), {"lai": 0.0})
    coupler.step()
    assert set(arrays["lai"]) <= set(np.unique(latlon(4.0, REGION).lat))
    assert coupler.emulators[0].cells.n > 0


def test_region_may_reach_around_the_globe(couple: Couple, tmp_path: Path) -> None:
    region = [330.0, -20.0, 390.0, 40.0]
    model = write_echo(tmp_path / "where.pt", field("longitude", "degrees_east"), field("lai", "1"))
    regrid = {"host_grid": {"latlon": 10.0, "region": region}, "methods": {"lai": "nearest_s2d"}}
    coupler = couple(gridded(model, grid={"latlon": 10.0, "region": region}), cells=None, regrid=regrid)
    grid = latlon(10.0, (-30.0, -20.0, 30.0, 40.0))
    arrays = on_host(coupler, grid, {"lai": 0.0})
    coupler.step()
    np.testing.assert_array_equal(arrays["lai"] % 360.0, grid.lon % 360.0)


def test_class_that_is_no_number_stops_as_any_input_does(couple: Couple, tmp_path: Path) -> None:
    model = write_echo(tmp_path / "class.pt", field("vegetation_class", "1"), field("land_cover_map", "1"))
    coupler = couple(gridded(model), cells=None, regrid={"host_grid": HOST, "edges": "latitude"})
    arrays = on_host(coupler, latlon(10.0, REGION), {"vegetation_class": 4.0, "land_cover_map": -1.0})
    coupler.step()
    arrays["vegetation_class"][7] = np.nan
    with refused(Status.RUN, "the input 'vegetation_class'", "is nan"):
        coupler.step()


def test_static_fields_are_carried_once(couple: Couple, tmp_path: Path) -> None:
    static = [field("orog", "m")]
    model = write(tmp_path / "p.pt", Product(), [field("pr", "mm d-1")], [field("evspsbl", "mm d-1")], static=static)
    coupler = couple(gridded(model), cells=None, regrid={"host_grid": HOST, "edges": "latitude"})
    arrays = on_host(coupler, latlon(10.0, REGION), {"pr": 2e-5, "orog": 3.0, "evspsbl": 0.0})
    for _ in range(2):
        coupler.step()
        np.testing.assert_allclose(arrays["evspsbl"], 6e-5, rtol=1e-6)
        arrays["orog"][:] = 99.0
    coupler.bind("pr", np.full(36, 1e-5))  # an array that is bound anew leaves the grid as it is
    coupler.step()
    np.testing.assert_allclose(arrays["evspsbl"], 3e-5, rtol=1e-6)


def test_cells_that_nothing_reaches_keep_the_hosts_bits_and_are_counted(couple: Couple, flux: Path) -> None:
    part = gridded(flux) | {"grid": {"latlon": 5.0, "region": [0, 0, 30, 20]}}
    coupler = couple(part, cells=None, regrid={"host_grid": HOST, "edges": "latitude"})
    grid = latlon(10.0, REGION)
    own = np.random.default_rng(1).random(grid.n)
    arrays = on_host(coupler, grid, {"pr": 2e-5, "evspsbl": own})
    coupler.step()
    reached = (grid.lon < 30.0) & (grid.lat > 0.0) & (grid.lat < 20.0)
    np.testing.assert_array_equal(arrays["evspsbl"][~reached], own[~reached])
    np.testing.assert_allclose(arrays["evspsbl"][reached], 2e-5, rtol=1e-6)
    assert coupler.emulators[0].own.unmapped == np.count_nonzero(~reached)


@pytest.mark.parametrize(("masked", "expected"), [("renormalise", [2e-5] * 3), ("flag", [2e-5, 2e-5, -1.0])])
def test_incomplete_cells_are_renormalised_or_flagged(
    couple: Couple, flux: Path, masked: str, expected: list[float]
) -> None:
    model = gridded(flux) | {"grid": {"latlon": 2.0, "region": [0, 0, 24, 10]}}
    host = {"latlon": 10.0, "region": [0, 0, 30, 10]}
    coupler = couple(model, cells=None, regrid={"host_grid": host, "edges": "latitude", "masked": masked})
    arrays = on_host(coupler, latlon(10.0, (0, 0, 30, 10)), {"pr": 2e-5, "evspsbl": -1.0})
    coupler.step()
    np.testing.assert_allclose(arrays["evspsbl"], expected, rtol=1e-6)


def test_state_is_kept_on_the_emulators_cells(couple: Couple, tmp_path: Path) -> None:
    state = [{"name": "store", "size": 1, "initial": 2.0}]
    model = write(tmp_path / "store.pt", Store(0.5), [field("lai", "1")], [field("snw", "mm")], state=state)
    coupler = couple(gridded(model), cells=None, regrid={"host_grid": HOST, "edges": "latitude"})
    arrays = on_host(coupler, latlon(10.0, REGION), {"lai": 1.0, "snw": 0.0})
    for expected in (2.0, 2.0, 2.0):
        coupler.step()
        np.testing.assert_allclose(arrays["snw"], expected, rtol=1e-6)
    arrays["lai"][:] = 0.0
    coupler.step()
    np.testing.assert_allclose(arrays["snw"], 1.0, rtol=1e-6)


def test_shadow_compares_on_the_hosts_cells(couple: Couple, flux: Path) -> None:
    coupler = couple(gridded(flux, mode="shadow"), cells=None, regrid={"host_grid": HOST, "edges": "latitude"})
    arrays = on_host(coupler, latlon(10.0, REGION), {"pr": 3e-5, "evspsbl": 1e-5})
    coupler.step()
    assert set(arrays["evspsbl"]) == {1e-5}
    sums = coupler.emulators[0].comparing[0].sums
    np.testing.assert_allclose(sums[:, 1] / sums[:, 0], 2e-5, rtol=1e-6)


# --- what a host must say -------------------------------------------------------------------------------------


def test_conservative_without_corners_says_what_to_give(couple: Couple, flux: Path) -> None:
    coupler = couple(gridded(flux), cells=None)
    on_host(coupler, latlon(10.0, REGION), {"pr": 0.0, "evspsbl": 0.0})
    with refused(Status.CELLS, "emulator 'flux'", "no corners", "regrid: host_grid:", "set_cells"):
        coupler.step()


def test_corners_of_set_cells_are_used(couple: Couple, tmp_path: Path) -> None:
    model = write_echo(tmp_path / "state.pt", field("tas", "K"), field("tsl", "K"))
    coupler = couple(gridded(model), cells=None)
    grid = latlon(10.0, REGION)
    corners = {"corner_lon": grid.corner_lon, "corner_lat": grid.corner_lat}
    arrays = on_host(coupler, grid, {"tas": 280.0 + 0.1 * grid.lat, "tsl": 0.0}, **corners)
    coupler.step()
    inner = (np.abs(grid.lon - 30.0) < 20.0) & (np.abs(grid.lat - 10.0) < 20.0)
    np.testing.assert_allclose(arrays["tsl"][inner], arrays["tas"][inner], rtol=0.0, atol=2e-2)


def test_cells_elsewhere_than_in_the_named_grid_are_refused(couple: Couple, flux: Path) -> None:
    coupler = couple(gridded(flux), cells=None, regrid={"host_grid": HOST, "edges": "latitude"})
    on_host(coupler, latlon(10.0, (0.0, 40.0, 60.0, -20.0)), {"pr": 0.0, "evspsbl": 0.0})
    with refused(Status.CELLS, "cell 1 at 5 degrees east, 35 north", "has it at 5, -15", "36 cells"):
        coupler.step()


def test_ids_beyond_the_named_grid_are_refused(couple: Couple, flux: Path) -> None:
    smaller = {"latlon": 10.0, "region": [0, -20, 60, 0]}
    coupler = couple(gridded(flux), cells=None, regrid={"host_grid": smaller, "edges": "latitude"})
    on_host(coupler, latlon(10.0, REGION), {"pr": 0.0, "evspsbl": 0.0})
    with refused(Status.CELLS, "cell 13", "end at 12"):
        coupler.step()


def test_grids_that_do_not_meet_are_refused(couple: Couple, flux: Path) -> None:
    away = gridded(flux) | {"grid": {"latlon": 5.0, "region": [100, 0, 120, 20]}}
    coupler = couple(away, cells=None, regrid={"host_grid": HOST, "edges": "latitude"})
    on_host(coupler, latlon(10.0, REGION), {"pr": 0.0, "evspsbl": 0.0})
    with refused(Status.CELLS, "emulator 'flux'", "overlap"):
        coupler.step()


def test_grid_of_the_manifest_is_taken(couple: Couple, tmp_path: Path) -> None:
    model = write_echo(tmp_path / "m.pt", field("pr", "mm d-1"), field("evspsbl", "mm d-1"), grid=OWN)
    coupler = couple(model, cells=None)
    assert coupler.emulators[0].grid.latlon == 4.0


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"latlon": 1.0, "gaussian": 32}, ["emulators.0.grid", "one of latlon, gaussian, file"]),
        ({"gaussian": 32, "region": [0, 0, 1, 1]}, ["'gaussian' has no 'region'"]),
        ({"latlom": 1.0}, ["'latlom'", "'latlon'"]),
        ({"latlon": -1.0}, ["emulators.0.grid.latlon"]),
    ],
)
def test_mistake_in_a_grid_names_its_line(couple: Couple, flux: Path, grid: dict[str, Any], words: list[str]) -> None:
    with refused(Status.CONFIG, "coupling.yml", *words):
        couple(gridded(flux) | {"grid": grid}, cells=None)


@pytest.mark.parametrize("layout", ["xesmf", "scrip"])
def test_weight_files_made_elsewhere_are_used_as_they_are(
    couple: Couple, tmp_path: Path, flux: Path, layout: str
) -> None:
    host, own = latlon(10.0, REGION), latlon(4.0, REGION)
    made = make_weights(host, own, "conservative", edges="latitude")
    doubled = Links(made.links.rows, made.links.cols, 2.0 * made.links.values)  # no engine would make these
    file = tmp_path / f"{layout}.nc"
    if layout == "xesmf":
        write_weights(file, replace(made, links=doubled))
    else:
        write_scrip_weights(file, host, own, doubled)
    section = gridded(flux, weights={"inward": {"conservative": file.name}})
    coupler = couple(section, cells=None, regrid={"host_grid": HOST, "edges": "latitude"})
    arrays = on_host(coupler, host, {"pr": 1e-5, "evspsbl": 0.0})
    coupler.step()
    np.testing.assert_allclose(arrays["evspsbl"], 2e-5, rtol=1e-6)  # the network is float32
    assert len(list((tmp_path / "weights").iterdir())) == 1  # those of the way back


@pytest.mark.parametrize(
    ("weights", "status", "words"),
    [
        ({"outward": {"conservative": "to.nc"}}, Status.CELLS, ["'to.nc'", "for other grids", "has 36 cells there"]),
        ({"inward": {"bilinear": "to.nc"}}, Status.CONFIG, ["no field travels inward by 'bilinear'", "conservative"]),
        ({"inward": {"conservative": "no.nc"}}, Status.IO, ["no.nc"]),
    ],
)
def test_weight_files_that_do_not_fit_are_refused(
    couple: Couple, tmp_path: Path, flux: Path, weights: dict[str, Any], status: Status, words: list[str]
) -> None:
    host = latlon(10.0, REGION)
    write_weights(tmp_path / "to.nc", make_weights(host, latlon(4.0, REGION), "conservative", edges="latitude"))
    coupler = couple(gridded(flux, weights=weights), cells=None, regrid={"host_grid": HOST, "edges": "latitude"})
    on_host(coupler, host, {"pr": 1e-5, "evspsbl": 0.0})
    with refused(status, "the grid of the emulator 'flux'", *(word.replace("'to.nc'", "to.nc") for word in words)):
        coupler.step()


def test_weight_file_that_counts_cells_does_not_fit_a_host_with_other_ids(
    couple: Couple, tmp_path: Path, flux: Path
) -> None:
    host = latlon(10.0, REGION)
    write_weights(tmp_path / "to.nc", make_weights(host, latlon(4.0, REGION), "conservative", edges="latitude"))
    section = gridded(flux, weights={"inward": {"conservative": "to.nc"}})
    coupler = couple(section, cells=None, regrid={"edges": "latitude"})
    corners = {"corner_lon": host.corner_lon, "corner_lat": host.corner_lat}
    on_host(coupler, replace(host, ids=host.ids + 5), {"pr": 1e-5, "evspsbl": 0.0}, **corners)
    with refused(Status.CELLS, "counts its cells from 1", "begin with 6"):
        coupler.step()
