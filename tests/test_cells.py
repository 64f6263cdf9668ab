# SPDX-License-Identifier: Apache-2.0
"""The cells of a rank, and the host's arrays over them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from layouts import Layout, layouts, make_cells
from refusal import refused

from coupler_plugin import Status
from coupler_plugin.cells import Cells, HeldArray, HostArray

# --- cells ----------------------------------------------------------------------------------------------------


def test_cells_are_packed_in_the_order_of_memory() -> None:
    ids = np.array([[0, 7, 3], [5, 0, 0]])
    lon = np.array([[np.nan, 10.0, 20.0], [30.0, np.nan, np.nan]])
    cells = Cells(ids, lon, np.where(ids > 0, 50.0, 1e30), np.where(ids > 0, 2.5e9, -1.0))
    assert (cells.n, cells.shape) == (3, (2, 3))
    np.testing.assert_array_equal(cells.ids, [7, 3, 5])
    np.testing.assert_array_equal(cells.lon, [10.0, 20.0, 30.0])
    np.testing.assert_array_equal(cells.area, [2.5e9] * 3)


@pytest.mark.parametrize("shape", [(), (0,), (4,), (2, 3), (2, 0, 3)])
def test_cells_may_have_any_shape(shape: tuple[int, ...]) -> None:
    cells = make_cells(np.ones(shape, bool))
    assert cells.n == np.prod(shape)
    assert cells.places is None


@pytest.mark.parametrize("kind", [np.int8, np.int32, np.int64, np.uint16])
def test_ids_may_have_any_kind_of_integer(kind: type) -> None:
    assert Cells(np.array([2, 1], kind), np.zeros(2), np.zeros(2)).ids.dtype == np.int64


def test_cells_copy_what_they_are_given() -> None:
    ids, lon = np.array([1, 2]), np.array([0.0, 1.0])
    cells = Cells(ids, lon, lon)
    ids[:], lon[:] = 9, 99.0
    np.testing.assert_array_equal(cells.ids, [1, 2])
    np.testing.assert_array_equal(cells.lon, [0.0, 1.0])


def test_ids_that_are_not_integers_are_refused() -> None:
    with refused(Status.ARRAY, "'id'", "float64", "integers"):
        Cells(np.array([1.0]), np.zeros(1), np.zeros(1))


def test_negative_id_is_refused() -> None:
    with refused(Status.CELLS, "'id'", "-3", "start at 1"):
        Cells(np.array([1, -3]), np.zeros(2), np.zeros(2))


@pytest.mark.parametrize("name", ["lon", "lat", "area"])
def test_array_of_another_shape_is_refused(name: str) -> None:
    arrays = {"lon": np.zeros(2), "lat": np.zeros(2), "area": np.zeros(2), name: np.zeros(3)}
    with refused(Status.ARRAY, f"'{name}'", "(3,)", "(2,)"):
        Cells(np.array([1, 2]), **arrays)


@pytest.mark.parametrize(
    ("name", "value"),
    [("lon", 361.0), ("lon", np.nan), ("lat", -90.1), ("lat", 1e20), ("area", -1.0), ("area", np.nan)],
)
def test_impossible_coordinate_is_refused_with_its_cell(name: str, value: float) -> None:
    arrays = {"lon": np.zeros(3), "lat": np.zeros(3), "area": np.ones(3)}
    arrays[name][1] = value
    with refused(Status.CELLS, f"'{name}' of cell 12", "1 cells of this rank"):
        Cells(np.array([11, 12, 13]), **arrays)


def test_id_that_is_given_twice_is_refused() -> None:
    cells = Cells(np.array([4, 0, 5, 4, 0]), np.zeros(5), np.zeros(5))
    with refused(Status.CELLS, "the id 4", "2 cells"):
        cells.check_owned_once(None)


# --- arrays of the host ---------------------------------------------------------------------------------------


@given(layouts())
def test_values_are_read_from_any_layout(layout: Layout) -> None:
    host = HostArray("tas", layout.array, layout.cells)
    for seed in (1, 2):  # a second time: what is read is what the memory holds now
        layout.fill(seed)
        values = np.empty((layout.cells.n, host.size))
        host.read(values)
        np.testing.assert_array_equal(values, layout.packed())


@given(layouts())
def test_values_are_written_in_place_and_nothing_else_is_touched(layout: Layout) -> None:
    host = HostArray("lai", layout.array, layout.cells)
    before = layout.memory.copy()
    values = np.arange(layout.cells.n * host.size, dtype=np.float64).reshape(layout.cells.n, host.size) + 0.5
    host.write(values)
    np.testing.assert_array_equal(layout.packed(), values)
    elsewhere = ~layout.used()
    np.testing.assert_array_equal(layout.memory[elsewhere].view(np.uint8), before[elsewhere].view(np.uint8))


@given(layouts())
def test_view_is_the_memory_of_the_host(layout: Layout) -> None:
    host = HostArray("lai", layout.array, layout.cells)
    assert host.view.shape == (*layout.cells.shape, host.size)
    assert np.shares_memory(host.view, layout.memory)
    assert host.view.__array_interface__["data"] == layout.array.__array_interface__["data"]


@given(layouts())
def test_packing_and_unpacking_are_inverse(layout: Layout) -> None:
    host = HostArray("tas", layout.array, layout.cells)
    values = np.random.default_rng(0).normal(size=(layout.cells.n, host.size))
    array = np.zeros(host.view.shape)
    host.unpack(values, array)
    np.testing.assert_array_equal(host.pack(array), values)


def test_written_real32_is_the_nearest_to_the_real64() -> None:
    array = np.zeros(3, np.float32)
    values = np.array([[0.1], [1 / 3], [1e10 + 1]])
    HostArray("lai", array, make_cells(np.ones(3, bool))).write(values)
    np.testing.assert_array_equal(array, values[:, 0].astype(np.float32))


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.float16, np.complex128, bool, ">f8"])
def test_array_of_another_kind_is_refused(kind: str) -> None:
    with refused(Status.ARRAY, "'tas'", "real32 or real64"):
        HostArray("tas", np.zeros(3, kind), make_cells(np.ones(3, bool)))


@pytest.mark.parametrize("thing", [np.float64(1.0), 1.0, [1.0]])
def test_what_is_no_array_is_refused(thing: object) -> None:
    with refused(Status.ARRAY, "'tas'", "no array", type(thing).__name__):
        HostArray("tas", thing, make_cells(np.ones((), bool)))


@pytest.mark.parametrize("shape", [(), (4,), (1, 1, 2, 3), (3, 3), (6,), (3, 2)])
def test_array_of_another_shape_is_refused_in_the_order_of_fortran(shape: tuple[int, ...]) -> None:
    with refused(Status.ARRAY, "'tas'", str(shape[::-1]), "(3, 2)", "fastest"):
        HostArray("tas", np.zeros(shape), make_cells(np.ones((2, 3), bool)))


def test_levels_that_cannot_be_told_from_cells_are_refused() -> None:
    with refused(Status.ARRAY, "'tsl'", "cannot be told", "slices"):
        HostArray("tsl", np.zeros((3, 3)), make_cells(np.ones(3, bool)))


def test_what_an_emulator_gave_is_nothing_before_its_first_answer() -> None:
    held = HeldArray(2, 3)
    values = np.zeros((2, 3))
    held.read(values)
    assert np.isnan(values).all()
