# SPDX-License-Identifier: Apache-2.0
"""Grids that are made, described, and refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coupler_plugin import Status
from coupler_plugin.regrid import Grid, curvilinear, gather_grid, gaussian, latlon, make_grid, mesh, rectilinear
from tests.refusal import refused


def square(**changes: Any) -> Grid:
    """Return four cells around 0 E 0 N, with changes."""
    return replace(latlon(1.0, (-1.0, -1.0, 1.0, 1.0)), lon_edges=None, lat_edges=None, **changes)


def test_latlon_counts_from_the_south_west() -> None:
    grid = latlon(90.0)
    assert grid.shape == (2, 4)
    assert grid.periodic
    assert grid.lon.tolist() == [45.0, 135.0, 225.0, 315.0] * 2
    assert grid.lat.tolist() == [-45.0] * 4 + [45.0] * 4
    assert grid.ids.tolist() == list(range(1, 9))


def test_region_may_run_from_the_north() -> None:
    grid = latlon(0.5, (-10.0, 60.0, 0.0, 50.0))
    assert grid.shape == (20, 20)
    assert not grid.periodic
    assert grid.lat[0] == 59.75
    assert grid.lat[-1] == 50.25
    np.testing.assert_allclose(
        grid.areas("great_circle"),
        np.flip(latlon(0.5, (-10.0, 50.0, 0.0, 60.0)).areas("great_circle").reshape(20, 20), 0).ravel(),
        rtol=1e-13,
    )


def test_gaussian_is_symmetric_and_runs_from_the_north() -> None:
    grid = gaussian(48)
    lat = grid.lat.reshape(grid.shape)[:, 0]
    assert grid.shape == (48, 96)
    assert lat[0] == pytest.approx(87.1590945558, abs=1e-9)  # T31
    np.testing.assert_allclose(lat, -lat[::-1], atol=1e-13)
    np.testing.assert_array_equal(grid.lat_edges, -grid.lat_edges[::-1])


@pytest.mark.parametrize(
    ("description", "shape"),
    [
        ("latlon:30", (6, 12)),
        ("gaussian: 8", (8, 16)),
        ({"latlon": 1, "region": [0, 40, 10, 50]}, (10, 10)),
        ({"gaussian": 8}, (8, 16)),
    ],
)
def test_descriptions(description: Any, shape: tuple[int, int]) -> None:
    assert make_grid(description).shape == shape


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ("latlon:zero", ["latlon: zero", "not a number"]),
        ("latlon:0.7", ["0.7 degrees do not fill"]),
        ("latlon:-1", ["do not fill"]),
        ({"latlon": 1, "regoin": [0, 0, 1, 1]}, ["no 'regoin'", "'region'"]),
        ({"latlon": 1, "gaussian": 48}, ["one of latlon, gaussian, file"]),
        ({}, ["one of latlon, gaussian, file"]),
        ({"gaussian": 47}, ["even number"]),
    ],
)
def test_descriptions_that_are_wrong(description: Any, words: list[str]) -> None:
    with refused(Status.CONFIG, *words):
        make_grid(description)


def test_description_of_a_file_that_is_not_there() -> None:
    with refused(Status.IO, "nowhere.nc", "cannot be read"):
        make_grid("nowhere.nc", Path("folder"))


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"lon": np.array([0.0, np.nan, 0.0, 0.0])}, Status.CELLS, ["lon nan in cell 2", "1 cells are wrong"]),
        ({"lat": np.array([0.0, 0.0, 91.0, 0.0])}, Status.CELLS, ["lat 91", "cell 3"]),
        ({"corner_lat": np.full((4, 4), np.nan)}, Status.CELLS, ["corner_lat", "4 cells are wrong"]),
        ({"ids": np.array([1, 2, 2, 4])}, Status.CELLS, ["id 2 to 2 cells", "unique"]),
        ({"ids": np.array([0, 1, 2, 3])}, Status.CELLS, ["id 0", "start at 1"]),
        ({"mask": np.zeros(4, bool)}, Status.CELLS, ["no cell"]),
        ({"area": np.zeros(4)}, Status.CELLS, ["not positive"]),
        ({"mask": np.ones(3, bool)}, Status.ARRAY, ["4 cells", "'mask' has 3"]),
        ({"shape": (3, 2)}, Status.ARRAY, ["4 centres", "(3, 2)"]),
    ],
)
def test_grids_that_cannot_be_right(changes: dict[str, Any], status: Status, words: list[str]) -> None:
    with refused(status, "grid 'latlon:1", *words):
        square(**changes)


def test_clockwise_cells_are_turned() -> None:
    grid = square()
    turned = square(corner_lon=grid.corner_lon[:, ::-1], corner_lat=grid.corner_lat[:, ::-1])
    np.testing.assert_array_equal(turned.corner_lon, grid.corner_lon)
    np.testing.assert_allclose(turned.areas("great_circle"), grid.areas("great_circle"), rtol=1e-14)


def test_cells_of_both_orientations_are_refused() -> None:
    grid = square()
    mixed = np.where(np.arange(4)[:, np.newaxis] == 2, grid.corner_lon[:, ::-1], grid.corner_lon)
    latitudes = np.where(np.arange(4)[:, np.newaxis] == 2, grid.corner_lat[:, ::-1], grid.corner_lat)
    with refused(Status.CELLS, "not in 1, such as id 3"):
        square(corner_lon=mixed, corner_lat=latitudes)


def test_cells_without_area_are_refused_unless_masked() -> None:
    grid = square()
    flat = grid.corner_lat.copy()
    flat[1] = 0.5
    with refused(Status.CELLS, "1 cells without area, such as id 2"):
        square(corner_lat=flat)
    square(corner_lat=flat, mask=np.array([True, False, True, True]))


def test_cells_that_overlap_are_refused_unless_masked() -> None:
    grid = square()
    twice = [np.concatenate([part, part[:1]]) for part in (grid.lon, grid.lat, grid.corner_lon, grid.corner_lat)]
    double = Grid("double", twice[0], twice[1], (5,), twice[2], twice[3])
    with refused(Status.CELLS, "overlap, such as numbers 1 and 5"):
        double.check_cells()
    double.masked(np.array([1, 1, 1, 1, 0])).check_cells()


def test_holes_are_found_where_a_grid_is_to_be_whole() -> None:
    latlon(10.0).check_cells(whole=True)
    with refused(Status.CELLS, "holes", "of the sphere"):
        latlon(10.0, (0.0, -90.0, 350.0, 90.0)).check_cells(whole=True)
    with refused(Status.CELLS, "no corners"):
        Grid("points", np.zeros(1), np.zeros(1), (1,)).check_cells(whole=True)


@pytest.mark.parametrize("edges", [[0.0, 10.0, 5.0], [0.0, 200.0, 400.0], [0.0, 1.0, 1.0]])
def test_edges_run_one_way_once_round(edges: list[float]) -> None:
    with refused(Status.CELLS, "overlap", "longitude"):
        rectilinear("bad", np.array(edges), np.array([0.0, 1.0]))


def test_mesh_needs_nodes_that_are_there() -> None:
    with refused(Status.CELLS, "1 cells", "number 1"):
        mesh("bad", np.zeros(3), np.zeros(3), np.array([[0, 1, 3]]))


def test_mesh_fills_short_cells() -> None:
    lon, lat = np.array([0.0, 1.0, 1.0, 0.0, 2.0]), np.array([0.0, 0.0, 1.0, 1.0, 0.5])
    grid = mesh("two", lon, lat, np.array([[0, 1, 2, 3], [1, 4, 2, -1]]))
    assert grid.corner_lon[1].tolist() == [1.0, 2.0, 1.0, 1.0]
    assert grid.check_cells().n == 2


def test_curvilinear_sees_whether_columns_close() -> None:
    whole, part = latlon(10.0), latlon(10.0, (0.0, -90.0, 180.0, 90.0))
    assert curvilinear("whole", whole.lon.reshape(whole.shape), whole.lat.reshape(whole.shape)).periodic
    assert not curvilinear("part", part.lon.reshape(part.shape), part.lat.reshape(part.shape)).periodic


def test_host_grid_is_ordered_by_id() -> None:
    grid = gather_grid(None, np.array([7, 3]), np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    assert grid.ids.tolist() == [3, 7]
    assert grid.lon.tolist() == [2.0, 1.0]


def test_digest_tells_grids_apart() -> None:
    grid = latlon(30.0)
    others = [latlon(30.0, (0.0, 90.0, 360.0, -90.0)), grid.masked(np.arange(72) > 0), replace(grid, periodic=False)]
    assert grid.digest() == latlon(30.0).digest()
    assert len({grid.digest(), *(other.digest() for other in others)}) == 4
