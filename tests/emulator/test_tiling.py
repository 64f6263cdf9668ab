# SPDX-License-Identifier: Apache-2.0
"""Tiles: every pixel knows its cell, every cell gets weights that sum to one, and a blended echo is the field."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coupler_plugin import Status
from coupler_plugin.emulator.tiling import Tiling
from tests.refusal import refused


@st.composite
def tilings(draw: st.DrawFn) -> Tiling:
    halo = draw(st.integers(0, 4))
    tile = tuple(draw(st.integers(2 * halo + 1, 2 * halo + 9)) for _ in range(2))
    grid = draw(st.integers(2, 20)), 2 * draw(st.integers(2, 15))
    return Tiling(grid, tile, halo, draw(st.booleans()), draw(st.sampled_from(["gaussian", "core"])))


def all_tiles(tiling: Tiling) -> np.ndarray:
    return np.arange(tiling.counts[0] * tiling.counts[1])


@given(tilings())
def test_weights_of_every_cell_sum_to_one(tiling: Tiling) -> None:
    links = tiling.blending(all_tiles(tiling))
    cells = tiling.grid[0] * tiling.grid[1]
    sums = np.bincount(links.rows - 1, weights=links.values, minlength=cells)
    np.testing.assert_allclose(sums, 1.0, rtol=1e-12)


@given(tilings(), st.integers(0, 2**31))
def test_blended_echo_is_the_field(tiling: Tiling, seed: int) -> None:
    field = np.random.default_rng(seed).normal(size=tiling.grid[0] * tiling.grid[1])
    pixels = dict(
        zip(tiling.pixel_ids(all_tiles(tiling)), field[tiling.cells(all_tiles(tiling)).reshape(-1) - 1], strict=True)
    )
    links = tiling.blending(all_tiles(tiling))
    values = np.array([pixels[pixel] for pixel in links.cols])
    blended = np.bincount(links.rows - 1, weights=links.values * values, minlength=field.size)
    np.testing.assert_allclose(blended, field, rtol=1e-12, atol=1e-12)


@given(tilings(), st.data())
def test_tiles_of_some_cells_carry_all_their_weight(tiling: Tiling, data: st.DataObject) -> None:
    cells = tiling.grid[0] * tiling.grid[1]
    ids = np.array(sorted(data.draw(st.sets(st.integers(1, cells), min_size=1, max_size=8))))
    links = tiling.blending(tiling.tiles_of(ids))
    sums = np.bincount(links.rows - 1, weights=links.values, minlength=cells)
    np.testing.assert_allclose(sums[ids - 1], 1.0, rtol=1e-12)


def test_halo_goes_around_the_globe_and_over_the_pole() -> None:
    tiling = Tiling((4, 8), (4, 4), 1, periodic=True)
    cells = tiling.cells(np.array([0]))[0] - 1
    y, x = np.divmod(cells, 8)
    assert x[1].tolist() == [7, 0, 1, 2]  # the row of the core: west of column 0 is column 7
    assert y[0].tolist() == [0, 0, 0, 0]  # beyond row 0 is row 0 again,
    assert x[0].tolist() == [3, 4, 5, 6]  # half a turn away


def test_halo_of_a_region_repeats_its_rim() -> None:
    tiling = Tiling((4, 8), (4, 4), 1, periodic=False)
    y, x = np.divmod(tiling.cells(np.array([0]))[0] - 1, 8)
    assert y[:, 0].tolist() == [0, 0, 1, 2]
    assert x[0].tolist() == [0, 0, 1, 2]


def test_core_blending_takes_each_cell_from_one_tile() -> None:
    tiling = Tiling((5, 6), (4, 4), 1, periodic=True, blend="core")
    links = tiling.blending(all_tiles(tiling))
    assert sorted(links.rows) == list(range(1, 31))
    assert (links.values == 1.0).all()


def test_gaussian_weight_is_largest_in_the_middle() -> None:
    tiling = Tiling((32, 32), (16, 16), 4, periodic=False)
    weights = tiling._raw[0][1]
    assert weights.argmax() in (7, 8)
    assert weights[0] < 0.01 * weights.max()


def test_tile_without_core_is_refused() -> None:
    with refused(Status.CONFIG, "no core", "halo of 2"):
        Tiling((8, 8), (4, 8), 2, periodic=False)


def test_odd_periodic_grid_is_refused() -> None:
    with refused(Status.CONFIG, "7 columns", "over the pole"):
        Tiling((8, 7), (4, 4), 1, periodic=True)


@pytest.mark.parametrize("blend", ["gaussian", "core"])
def test_far_tiles_are_left_out(blend: str) -> None:
    tiling = Tiling((64, 64), (16, 16), 4, periodic=False, blend=blend)  # type: ignore[arg-type]
    assert len(tiling.tiles_of(np.array([1]))) <= 4
