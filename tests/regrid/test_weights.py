# SPDX-License-Identifier: Apache-2.0
"""What weights must be, whatever the grids: conservative, free of trends in constants, right at poles and masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from coupler_plugin import Status
from coupler_plugin.regrid import Grid, curvilinear, gaussian, latlon, make_weights, mesh, rectilinear
from coupler_plugin.regrid.geometry import shared_corners, unit_vectors
from tests.refusal import refused


def edges(low: float, high: float, most: int) -> st.SearchStrategy[NDArray[np.float64]]:
    """Return strategies of irregular edges from `low` to `high`, rising or falling."""
    inner = st.lists(st.floats(low + 0.5, high - 0.5), max_size=most)
    rising = inner.map(lambda found: np.unique(np.round([low, *found, high], 3)))
    return st.tuples(rising, st.booleans()).map(lambda pair: pair[0][::-1] if pair[1] else pair[0])


@st.composite
def globes(draw: st.DrawFn) -> Grid:
    """Return whole grids of irregular rows and columns that start anywhere."""
    lon = draw(edges(0.0, 360.0, 12)) + draw(st.integers(-300, 300))
    return rectilinear("globe", lon, draw(edges(-90.0, 90.0, 9)))


def surface_field(grid: Grid) -> NDArray[np.float64]:
    lam, phi = np.deg2rad(grid.lon), np.deg2rad(grid.lat)
    return 2.0 + np.cos(phi) ** 2 * np.cos(2 * lam)


@given(globes(), globes())
def test_conservative_weights_keep_integrals_and_constants(src: Grid, dst: Grid) -> None:
    weights = make_weights(src, dst, "conservative", edges="latitude", engine="builtin")
    matrix, before, after = weights.matrix(), src.areas("latitude"), dst.areas("latitude")
    values = np.random.default_rng(1).normal(size=src.n) + 3.0
    assert after @ (matrix @ values) == pytest.approx(before @ values, rel=1e-12)
    np.testing.assert_allclose(matrix @ np.ones(src.n), 1.0, rtol=0.0, atol=1e-15)
    np.testing.assert_allclose(matrix.T @ after, before, rtol=1e-11)  # each source cell is given away whole
    assert weights.links.values.min() > 0.0
    np.testing.assert_allclose(weights.arrays["frac_a"], 1.0, rtol=1e-11)
    np.testing.assert_array_equal(weights.arrays["frac_b"], 1.0)


@given(globes(), st.integers(0, 2**31), st.floats(0.2, 0.8))
def test_masked_cells_take_no_part(src: Grid, seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    dst = latlon(30.0)
    src = src.masked((random.random(src.n) < share) | (np.arange(src.n) == 0))
    dst = dst.masked((random.random(dst.n) < share) | (np.arange(dst.n) == 0))
    whole = make_weights(src, dst, "conservative", edges="latitude", engine="builtin")
    assert src.mask[whole.links.cols].all()
    assert dst.mask[whole.links.rows].all()
    # What the mapped cells have is what they were given, and covers what `frac` says.
    given_away = whole.arrays["frac_a"] @ src.areas("latitude")
    assert given_away == pytest.approx(whole.arrays["frac_b"] @ dst.areas("latitude"), rel=1e-12)
    normed = make_weights(src, dst, "conservative_normed", edges="latitude", engine="builtin")
    mapped = np.setdiff1d(np.arange(dst.n), normed.unmapped)
    np.testing.assert_allclose((normed.matrix() @ np.ones(src.n))[mapped], 1.0, rtol=0.0, atol=1e-14)
    np.testing.assert_allclose(
        normed.matrix().multiply(whole.links.row_sums(dst.n)[:, np.newaxis]).toarray(),
        whole.matrix().toarray(),
        atol=1e-14,
    )


@settings(max_examples=30)
@given(globes(), st.integers(0, 2**31))
def test_bilinear_weights_are_shares_that_meet_the_point(src: Grid, seed: int) -> None:
    if min(src.shape) < 3 or np.abs(np.diff(src.lon_edges)).max() > 100.0:
        return  # patches between fewer or wider columns are not surfaces over the sphere
    random = np.random.default_rng(seed)
    lat = np.rad2deg(np.arcsin(random.uniform(-1, 1, 200)))
    dst = Grid("points", random.uniform(-360, 360, 200), lat, (200,))
    weights = make_weights(src, dst, "bilinear", engine="builtin")
    matrix = weights.matrix()
    assert weights.links.values.min() > 0.0
    mapped = np.setdiff1d(np.arange(200), weights.unmapped)
    np.testing.assert_allclose(weights.links.row_sums(200)[mapped], 1.0, rtol=0.0, atol=1e-13)
    # The mean of the outermost row stands for a pole: its direction is the pole's only where columns are regular.
    far = np.abs(lat[mapped]) < np.abs(src.lat).max() - 1e-9
    met = (matrix @ unit_vectors(src.lon, src.lat))[mapped][far]
    assert np.abs(np.cross(met, unit_vectors(dst.lon, dst.lat)[mapped][far])).max(initial=0.0) < 1e-13


def test_bilinear_fills_the_globe_from_a_global_source() -> None:
    for src in (latlon(7.5), gaussian(16), latlon(6.0, (-180.0, 90.0, 180.0, -90.0))):
        weights = make_weights(src, latlon(4.0), "bilinear", engine="builtin")
        assert weights.unmapped.size == 0
        error = weights.matrix() @ surface_field(src) - surface_field(latlon(4.0))
        assert np.abs(error).max() < 0.05


def test_bilinear_does_not_depend_on_the_order_of_rows_and_columns() -> None:
    src, dst = latlon(7.5), latlon(4.0)
    flipped = latlon(7.5, (0.0, 90.0, 360.0, -90.0))
    ours = make_weights(src, dst, "bilinear", engine="builtin").matrix() @ surface_field(src)
    theirs = make_weights(flipped, dst, "bilinear", engine="builtin").matrix() @ surface_field(flipped)
    np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=1e-14)


def test_curvilinear_search_finds_what_the_search_by_axes_finds() -> None:
    whole, dst = latlon(5.0), latlon(3.0)
    # The same centres with one moved by rounding are no longer rows and columns.
    lon = whole.lon.reshape(whole.shape).copy()
    lon[3, 4] += 1e-13
    surface = curvilinear("surface", lon, whole.lat.reshape(whole.shape))
    inside = np.abs(dst.lat) < 87.0  # polewards of the last row only the axes know of a pole
    a, b = (make_weights(src, dst, "bilinear", engine="builtin").matrix() for src in (whole, surface))
    assert np.abs(a - b)[inside].max() < 1e-11


def test_bilinear_on_a_source_with_centres_on_the_poles() -> None:
    lat = np.linspace(90.0, -90.0, 37)
    edges_lat = np.concatenate([[90.0], 0.5 * (lat[1:] + lat[:-1]), [-90.0]])
    src = rectilinear("era", np.arange(73) * 5.0 - 2.5, edges_lat, np.arange(72) * 5.0, lat)
    dst = Grid("points", np.array([10.0, 200.0, 33.0]), np.array([90.0, 88.0, -90.0]), (3,))
    matrix = make_weights(src, dst, "bilinear", engine="builtin").matrix()
    np.testing.assert_allclose(matrix[0].toarray().ravel()[:72], 1 / 72, rtol=1e-12)
    np.testing.assert_allclose(matrix[2].toarray().ravel()[-72:], 1 / 72, rtol=1e-12)
    field = surface_field(src)
    np.testing.assert_allclose(matrix @ field, [2.0, surface_field(dst)[1], 2.0], atol=2e-3)


def test_bilinear_on_a_mesh_is_the_structured_one_away_from_poles() -> None:
    whole, dst = latlon(10.0), latlon(3.0)
    lon, lat, cells = shared_corners(*whole.need_corners())
    unstructured = mesh("mesh", lon, lat, cells, whole.lon, whole.lat)
    inside = np.abs(dst.lat) < 84.0
    a, b = (make_weights(src, dst, "bilinear", engine="builtin").matrix() for src in (whole, unstructured))
    assert np.abs(a - b)[inside].max() < 1e-12


def test_bilinear_leaves_out_what_a_regional_source_does_not_reach() -> None:
    src = latlon(2.0, (0.0, 40.0, 20.0, 60.0))
    weights = make_weights(src, latlon(1.0), "bilinear", engine="builtin")
    mapped = np.setdiff1d(np.arange(64800), weights.unmapped)
    lon, lat = latlon(1.0).lon[mapped], latlon(1.0).lat[mapped]
    assert lon.min() >= 1.0
    assert lon.max() <= 19.0
    assert lat.min() >= 41.0
    assert 300 < mapped.size < 350
    filled = make_weights(src, latlon(1.0), "bilinear", engine="builtin", extrapolate="inverse_dist")
    assert filled.unmapped.size == 0
    np.testing.assert_allclose(filled.links.row_sums(64800), 1.0, rtol=0.0, atol=1e-13)


def test_nearest_is_the_nearest_of_all() -> None:
    random = np.random.default_rng(3)
    src = Grid("src", random.uniform(0, 360, 300), random.uniform(-90, 90, 300), (300,), mask=random.random(300) < 0.5)
    dst = Grid("dst", random.uniform(0, 360, 200), random.uniform(-90, 90, 200), (200,))
    links = make_weights(src, dst, "nearest_s2d", engine="builtin").links
    away = np.linalg.norm(unit_vectors(dst.lon, dst.lat)[:, None] - unit_vectors(src.lon, src.lat)[None], axis=-1)
    np.testing.assert_array_equal(links.cols, np.argmin(np.where(src.mask, away, np.inf), axis=1))


def test_weights_tell_what_they_are() -> None:
    src, dst = latlon(30.0), replace(latlon(10.0), ids=np.arange(11, 659))
    weights = make_weights(src, dst, "conservative", edges="latitude", engine="builtin")
    assert weights.description == {
        "method": "conservative",
        "edges": "latitude",
        "extrapolate": "none",
        "engine": "builtin",
        "engine_version": "1",
        "src_grid": "latlon:30",
        "dst_grid": "latlon:10",
    }
    assert weights.src_ids is None
    assert weights.dst_ids.tolist() == list(range(11, 659))


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"method": "bilinaer"}, ["'bilinaer' is no method", "Did you mean 'bilinear'?"]),
        ({"engine": "esmf"}, ["'esmf' is no engine", "allowed: auto, xesmf, builtin, yac."]),
        ({"edges": "great_circles"}, ["'great_circles' is no kind of edges", "Did you mean 'great_circle'?"]),
        ({"extrapolate": "creep"}, ["'creep' is no extrapolation", "nearest_s2d, inverse_dist"]),
        (
            {"method": "conservative", "engine": "builtin"},
            ["builtin makes conservative weights only", "edges: latitude"],
        ),
        ({"method": "conservative_2nd", "engine": "builtin"}, ["builtin knows no 'conservative_2nd'"]),
        ({"method": "patch", "edges": "latitude", "engine": "yac"}, ["yac knows no 'patch'"]),
    ],
)
def test_settings_that_cannot_be(settings_: dict[str, str], words: list[str]) -> None:
    with refused(Status.CONFIG, *words):
        make_weights(latlon(30.0), latlon(10.0), **{"method": "bilinear", **settings_})


def test_conservative_methods_need_corners() -> None:
    points = Grid("points", np.zeros(2), np.array([0.0, 1.0]), (2,))
    for src, dst in ((points, latlon(30.0)), (latlon(30.0), points)):
        with refused(Status.CELLS, "grid 'points' has no corners", "bilinear"):
            make_weights(src, dst, "conservative")
    with refused(Status.CONFIG, "builtin needs the corners of an unstructured source"):
        make_weights(points, latlon(30.0), "bilinear", engine="builtin")
