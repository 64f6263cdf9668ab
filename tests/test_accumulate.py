# SPDX-License-Identifier: Apache-2.0
"""Accumulation over a window: the same numbers as numpy over all its samples, for any layout of the host."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import Layout, layouts, make_cells

from coupler_plugin.accumulate import Accumulator
from coupler_plugin.cells import HeldArray, HostArray

AGGREGATES = ["mean", "sum", "min", "max", "last"]


def window_of(accumulator: Accumulator, layout: Layout, n: int, seed: int = 0) -> np.ndarray:
    """Take `n` samples of new values; return them, shape (n, cells, levels), in float64."""
    samples = []
    for k in range(n):
        layout.fill(1000 * seed + k)
        samples.append(layout.packed().astype(np.float64))
        accumulator.update()
    return np.array(samples)


def value(accumulator: Accumulator, layout: Layout) -> np.ndarray:
    values = np.full((layout.cells.n, accumulator.source.size), np.nan)
    accumulator.read(values)
    return values


def expected(aggregate: str, samples: np.ndarray) -> np.ndarray:
    total = reduce(np.add, samples)
    return {
        "mean": total / len(samples),
        "sum": total,
        "min": samples.min(axis=0),
        "max": samples.max(axis=0),
        "last": samples[-1],
    }[aggregate]


@given(layouts(), st.sampled_from(AGGREGATES), st.integers(1, 30))
def test_window_is_the_aggregate_of_its_samples(layout: Layout, aggregate: str, n: int) -> None:
    accumulator = Accumulator(aggregate, HostArray("tas", layout.array, layout.cells))
    samples = window_of(accumulator, layout, n)
    np.testing.assert_array_equal(value(accumulator, layout), expected(aggregate, samples))


@given(layouts(), st.sampled_from(AGGREGATES))
def test_window_knows_nothing_of_the_one_before(layout: Layout, aggregate: str) -> None:
    accumulator = Accumulator(aggregate, HostArray("tas", layout.array, layout.cells))
    window_of(accumulator, layout, 3, seed=1)
    accumulator.reset()
    samples = window_of(accumulator, layout, 4, seed=2)
    np.testing.assert_array_equal(value(accumulator, layout), expected(aggregate, samples))


@given(layouts(), st.sampled_from(AGGREGATES))
def test_window_without_a_sample_has_the_present_value(layout: Layout, aggregate: str) -> None:
    accumulator = Accumulator(aggregate, HostArray("tas", layout.array, layout.cells))
    layout.fill(5)
    np.testing.assert_array_equal(value(accumulator, layout), layout.packed())


@given(layouts(), st.sampled_from(AGGREGATES))
def test_accumulation_leaves_the_host_alone(layout: Layout, aggregate: str) -> None:
    accumulator = Accumulator(aggregate, HostArray("tas", layout.array, layout.cells))
    before = layout.memory.copy()
    accumulator.update()
    value(accumulator, layout)
    np.testing.assert_array_equal(layout.memory, before)


@given(layouts(), st.sampled_from(AGGREGATES), st.integers(0, 6))
def test_window_that_is_recalled_half_way_ends_in_the_same_bits(layout: Layout, aggregate: str, half: int) -> None:
    def one() -> Accumulator:
        return Accumulator(aggregate, HostArray("tas", layout.array, layout.cells))

    whole, first, second = one(), one(), one()
    for k in range(10):
        layout.fill(k)
        whole.update()
        (first if k < half else second).update()
        if k == half - 1 and (memory := first.recall()) is not None:
            second.restore(first.count, memory.copy())
    np.testing.assert_array_equal(value(second, layout), value(whole, layout))


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_window_goes_on_in_other_memory_after_the_host_reallocated(aggregate: str) -> None:
    cells = make_cells(np.array([[True, False], [True, True]]))
    here = np.array([[1.0, 9.0], [2.0, 3.0]], np.float32)
    there = np.asfortranarray(np.array([[4.0, 9.0], [0.5, 1.0]], np.float64))
    accumulator = Accumulator(aggregate, HostArray("tas", here, cells))
    accumulator.update()
    accumulator.source = HostArray("tas", there, cells)
    accumulator.update()
    values = np.empty((3, 1))
    accumulator.read(values)
    samples = np.array([[1.0, 2.0, 3.0], [4.0, 0.5, 1.0]])
    np.testing.assert_array_equal(values[:, 0], expected(aggregate, samples))


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=200))
def test_sum_of_real32_has_only_the_rounding_of_real64(samples: list[float]) -> None:
    array = np.zeros(1, np.float32)
    accumulator = Accumulator("sum", HostArray("pr", array, make_cells(np.ones(1, bool))))
    for sample in samples:
        array[0] = sample
        accumulator.update()
    values = np.empty((1, 1))
    accumulator.read(values)
    bound = len(samples) * np.finfo(np.float64).eps * math.fsum(map(abs, samples))
    assert abs(values[0, 0] - math.fsum(samples)) <= bound


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("fill", [np.nan, np.inf, 1.7e308, -1e36])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # `Coupler.step` silences them
def test_what_unused_places_hold_reaches_no_cell(aggregate: str, fill: float) -> None:
    array = np.array([fill, 1.0, 2.0])
    accumulator = Accumulator(aggregate, HostArray("tas", array, make_cells(np.array([False, True, True]))))
    for sign in (1, 1, -1, -1, 1):
        array[0] = sign * fill
        accumulator.update()
    values = np.empty((2, 1))
    accumulator.read(values)
    np.testing.assert_array_equal(values[:, 0], np.array([1.0, 2.0]) * (5 if aggregate == "sum" else 1))


@pytest.mark.parametrize("aggregate", ["mean", "sum", "min", "max"])
def test_nan_in_one_sample_stays_in_its_cell_until_the_window_ends(aggregate: str) -> None:
    array = np.ones(2)
    accumulator = Accumulator(aggregate, HostArray("tas", array, make_cells(np.ones(2, bool))))
    values = np.empty((2, 1))
    for sample in (1.0, np.nan, 1.0):
        array[1] = sample
        accumulator.update()
    accumulator.read(values)
    assert list(np.isnan(values[:, 0])) == [False, True]
    accumulator.reset()
    array[1] = 1.0
    accumulator.update()
    accumulator.read(values)
    np.testing.assert_array_equal(values, 1.0)


def test_values_are_read_into_real32_as_the_nearest() -> None:
    array = np.array([0.1, 0.2])
    accumulator = Accumulator("mean", HostArray("tas", array, make_cells(np.ones(2, bool))))
    for _ in range(3):
        accumulator.update()
    values = np.empty((2, 1), np.float32)
    accumulator.read(values)
    np.testing.assert_array_equal(values[:, 0], ((array + array + array) / 3).astype(np.float32))


def test_answers_of_an_emulator_are_accumulated_like_arrays_of_the_host() -> None:
    held = HeldArray(2, 3)
    accumulator = Accumulator("mean", held)
    for k in range(4):
        held.view[:] = k
        accumulator.update()
    values = np.empty((2, 3))
    accumulator.read(values)
    np.testing.assert_array_equal(values, 1.5)
