# SPDX-License-Identifier: Apache-2.0
"""History windows, against a plain list of samples."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from coupler_plugin.emulator.window import Window

sizes = st.lists(st.integers(1, 5), min_size=1, max_size=3)


def newest(past: list[np.ndarray], length: int) -> np.ndarray:
    """Return the last `length` samples of a list, the first of all standing for what came before it."""
    filled = [past[0]] * max(0, length - len(past)) + past[-length:]
    return np.stack(filled, axis=1)


def draw(sample: torch.Tensor, k: int) -> np.ndarray:
    values = np.random.default_rng(k).normal(size=tuple(sample.shape)).astype(np.float32)
    sample.copy_(torch.from_numpy(values))
    return values


def whole(window: Window, n_blocks: int) -> np.ndarray:
    return np.concatenate([window.block(index).numpy().copy() for index in range(n_blocks)])


@given(st.integers(1, 6), sizes, st.integers(1, 3), st.integers(1, 15))
def test_window_holds_the_newest_samples_oldest_first(length: int, sizes: list[int], channels: int, n: int) -> None:
    sample = torch.empty(sum(sizes), channels)
    window = Window(length, sample, sizes)
    past = []
    for k in range(n):
        past.append(draw(sample, k))
        window.push()
        np.testing.assert_array_equal(whole(window, len(sizes)), newest(past, length))


@given(st.integers(1, 6), sizes, st.integers(1, 9), st.integers(1, 9))
def test_recalled_window_goes_on_as_if_never_interrupted(
    length: int, sizes: list[int], before: int, after: int
) -> None:
    sample = torch.empty(sum(sizes), 2)
    first, second = Window(length, sample, sizes), Window(length, sample, sizes)
    past = []
    for k in range(before):
        past.append(draw(sample, k))
        first.push()
    second.restore(first.recall())
    for k in range(before, before + after):
        past.append(draw(sample, k))
        second.push()
    np.testing.assert_array_equal(whole(second, len(sizes)), newest(past, length))


def test_window_of_a_rank_without_cells_is_empty() -> None:
    window = Window(3, torch.empty(0, 2), [])
    window.push()
    assert window.recall().shape == (0, 3, 2)
