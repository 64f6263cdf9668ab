# SPDX-License-Identifier: Apache-2.0
"""Areas and shared corners on the sphere."""

from __future__ import annotations

from math import pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coupler_plugin.regrid import gaussian, latlon
from coupler_plugin.regrid.geometry import (
    SPHERE,
    band_areas,
    cell_centres,
    lon_lat,
    polygon_areas,
    shared_corners,
    unit_vectors,
)


@pytest.mark.parametrize("resolution", [30.0, 2.0, 0.5])
@pytest.mark.parametrize("edges", ["great_circle", "latitude"])
def test_cells_of_a_globe_fill_the_sphere(resolution: float, edges: str) -> None:
    assert latlon(resolution).areas(edges).sum() == pytest.approx(SPHERE, rel=1e-14)


def test_octant_has_an_eighth_of_the_sphere() -> None:
    area = polygon_areas(np.array([[0.0, 90.0, 0.0]]), np.array([[0.0, 0.0, 90.0]]))
    assert area[0] == pytest.approx(SPHERE / 8, rel=1e-15)


def test_clockwise_area_is_negative() -> None:
    lon, lat = np.array([[0.0, 1.0, 1.0, 0.0]]), np.array([[0.0, 0.0, 1.0, 1.0]])
    assert polygon_areas(lon[:, ::-1], lat[:, ::-1])[0] == -polygon_areas(lon, lat)[0] < 0.0


def test_smallest_polar_cell_is_exact() -> None:
    # tan(E / 2) = sin(dlon) / (cot(a / 2)^2 + cos(dlon)) for the triangle of the pole and two points at distance a
    step, distance = np.deg2rad(0.25), np.deg2rad(0.25)
    exact = 2 * np.arctan2(np.sin(step), 1 / np.tan(distance / 2) ** 2 + np.cos(step))
    area = polygon_areas(np.array([[100.25, 100.5, 0.0]]), np.array([[89.75, 89.75, 90.0]]))
    assert area[0] == pytest.approx(exact, rel=2e-13)


@given(st.floats(-180, 180), st.floats(1e-3, 90), st.floats(-89, 80), st.floats(1e-3, 9))
def test_area_between_parallels_is_the_limit_of_polygons(
    west: float, width: float, south: float, height: float
) -> None:
    pieces = west + np.linspace(0.0, width, 400)
    corners = np.stack([pieces[:-1], pieces[1:], pieces[1:], pieces[:-1]], axis=-1)
    rows = np.tile([south, south, south + height, south + height], (len(corners), 1))
    band = band_areas(np.array([west, west + width]), np.array([south, south + height]))
    assert polygon_areas(corners, rows).sum() == pytest.approx(band[0], rel=1e-3)


def test_gaussian_areas_are_the_weights() -> None:
    weights = np.polynomial.legendre.leggauss(48)[1]
    areas = gaussian(48).areas("latitude").reshape(48, 96)
    np.testing.assert_allclose(areas.sum(axis=1), 2 * pi * weights, rtol=1e-13)


def test_neighbours_share_corners_across_the_date_line_and_at_poles() -> None:
    grid = latlon(90.0, (-180.0, -90.0, 180.0, 90.0))
    lon, lat, connectivity = shared_corners(*grid.need_corners())
    assert lon.size == 4 + 2
    assert np.count_nonzero(np.abs(lat) == 90.0) == 2
    assert connectivity[0, 0] == connectivity[3, 1]


@given(st.floats(-720, 720), st.floats(-90, 90))
def test_coordinates_survive_unit_vectors(lon: float, lat: float) -> None:
    back = lon_lat(unit_vectors(np.array(lon), np.array(lat)))
    np.testing.assert_allclose(unit_vectors(*back), unit_vectors(np.array(lon), np.array(lat)), atol=1e-15)


def test_centre_ignores_repeated_corners() -> None:
    lon, lat = np.array([[0.0, 10.0, 5.0, 5.0]]), np.array([[0.0, 0.0, 9.0, 9.0]])
    np.testing.assert_allclose(cell_centres(lon, lat), cell_centres(lon[:, :3], lat[:, :3]), rtol=1e-15)
