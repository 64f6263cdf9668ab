# SPDX-License-Identifier: Apache-2.0
"""The quick check of all channels finds exactly what lies outside, wherever it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coupler_plugin.guard.band import LARGEST, Band, inward

LIMIT = st.floats(-10, 10, width=32)
NUMBERS = st.one_of(st.floats(-20, 20, width=32), st.sampled_from([np.nan, np.inf, -np.inf, 1e20, -1e30, -0.0]))


@given(st.integers(0, 70) | st.sampled_from([256, 300, 2048, 2049, 4700]), st.integers(1, 5), st.data())
def test_what_lies_outside_is_found_and_nothing_else(n: int, channels: int, data: st.DataObject) -> None:
    low = np.array(data.draw(st.lists(LIMIT | st.just(-np.inf), min_size=channels, max_size=channels)), np.float32)
    width = np.array(data.draw(st.lists(st.floats(0, 9, width=32), min_size=channels, max_size=channels)), np.float32)
    high = np.where(np.isfinite(low), low + width, np.float32(np.inf)).astype(np.float32)
    seed = data.draw(st.integers(0, 99))
    values = np.random.default_rng(seed).uniform(-12, 22, (n, channels)).astype(np.float32)
    for _ in range(data.draw(st.integers(0, 3)) if n else 0):
        values[data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, channels - 1))] = data.draw(NUMBERS)
    band = Band(values, low, high)
    inside = (values >= np.maximum(low, -LARGEST)) & (values <= np.minimum(high, LARGEST))
    outside = band.outside()
    assert (outside is None) == inside.all()
    if outside is not None:
        rows, places, found = outside
        np.testing.assert_array_equal(np.stack([rows, places], axis=1), np.argwhere(~inside))
        np.testing.assert_array_equal(found, values[~inside])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e20, -9.96921e36])
@pytest.mark.parametrize("place", [0, 7, 19])
def test_what_is_no_number_or_a_fill_value_is_found_without_limits(value: float, place: int) -> None:
    values = np.full((20, 2), 1e15, np.float32)
    band = Band(values, np.full(2, -np.inf, np.float32), np.full(2, np.inf, np.float32))
    assert band.outside() is None
    values[place, 1] = value
    outside = band.outside()
    assert outside is not None
    assert (outside[0].tolist(), outside[1].tolist()) == ([place], [1])


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_limits_are_rounded_so_that_what_passes_them_is_in_the_range(low: float, width: float) -> None:
    first, last = inward(low, low + width)
    assert float(first) >= low
    assert float(last) <= low + width
