# SPDX-License-Identifier: Apache-2.0
"""Arrays as hosts keep them, drawn by hypothesis: any rank, levels anywhere, strides of all kinds, unused places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from coupler_plugin.cells import Cells


@dataclass
class Layout:
    """An array of a host inside the memory that it was cut from.

    Attributes
    ----------
    cells : Cells
    memory : array
        Contiguous; larger than the array where that has gaps.
    array : array
        A view of `memory`: what the host binds.
    levels : int or None
        Position of the dimension of levels.
    """

    cells: Cells
    memory: NDArray[Any]
    array: NDArray[Any]
    levels: int | None

    def packed(self) -> NDArray[Any]:
        """Return the values of the cells, shape (n, levels), in numpy's own words."""
        moved = self.array[..., np.newaxis] if self.levels is None else np.moveaxis(self.array, self.levels, -1)
        return moved[self.cells.mask].reshape(self.cells.n, moved.shape[-1])

    def fill(self, seed: int) -> None:
        """Give all memory, gaps and unused places included, new random values."""
        self.memory[...] = np.random.default_rng(seed).normal(0.0, 100.0, self.memory.shape)

    def used(self) -> NDArray[np.bool_]:
        """Return which places of the memory belong to cells."""
        marks = np.zeros(self.memory.shape, bool)
        array = self._cut(marks)
        moved = array[..., np.newaxis] if self.levels is None else np.moveaxis(array, self.levels, -1)
        moved[self.cells.mask] = True
        return marks

    def _cut(self, memory: NDArray[Any]) -> NDArray[Any]:
        offset = self.array.__array_interface__["data"][0] - self.memory.__array_interface__["data"][0]
        factor = self.memory.itemsize
        return np.ndarray(
            self.array.shape, bool, memory, offset // factor, [stride // factor for stride in self.array.strides]
        )


def make_cells(mask: NDArray[np.bool_]) -> Cells:
    """Return cells with a place for each True of `mask`."""
    ids = np.zeros(mask.shape, np.int32)
    ids[mask] = np.arange(1, mask.sum() + 1)
    return Cells(ids, np.zeros(mask.shape), np.zeros(mask.shape))


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Draw a layout."""
    shape = tuple(draw(st.lists(st.integers(1, 4), max_size=3)))
    ndim = len(shape)
    mask = np.array(
        draw(st.lists(st.booleans(), min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))), dtype=bool
    ).reshape(shape)
    if draw(st.booleans()):
        mask[...] = True
    cells = make_cells(mask)

    levels = draw(st.none() | st.integers(0, ndim))
    full = list(shape)
    if levels is not None:
        full.insert(levels, 5)  # no dimension of the cells is as long, so that it can be told from them
    steps = [draw(st.sampled_from([1, 1, 2, -1, -3])) for _ in full]
    order = draw(st.permutations(range(len(full))))
    kind = draw(st.sampled_from([np.float32, np.float64]))
    # memory of the dimensions in any order, cut with gaps and backwards, then brought to the host's order
    memory = np.zeros([abs(steps[axis]) * full[axis] for axis in order], kind)
    cut = memory[(..., *(slice(None, None, steps[axis]) for axis in order))]
    array = cut.transpose(np.argsort(order)) if order else cut
    layout = Layout(cells, memory, array, levels)
    layout.fill(draw(st.integers(0, 1000)))
    return layout
