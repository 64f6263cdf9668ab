# SPDX-License-Identifier: Apache-2.0
"""Training samples of land_cover: patches of the maps at two times, away from everything that is held out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from torchscript_models.cubes import block_folds, block_sums, widened
from torchscript_models.land_cover.classes import CELL
from torchscript_models.land_cover.maps import Maps
from torchscript_models.land_cover.network import HALO

Bools = NDArray[np.bool_]

BLOCK: Final = 12 * CELL  #: pixels of a block of the split along each axis: 115 km
PATCH: Final = 5 * CELL  #: pixels along each axis that a training sample is cut from
#: blocks are dealt out to ten folds, by a seed of their own: every training is judged on the same pixels
N_FOLDS: Final = 10
SPLIT_SEED: Final = 0
SIDES: Final = {"test": (0, 1), "validation": (2,), "train": (3, 4, 5, 6, 7, 8, 9)}
_LEAST_LAND: Final = 0.1


@dataclass(frozen=True)
class Batch:
    """Steps of single patches.

    Attributes
    ----------
    prior, target, landform : int64 Tensors, shape (n, H, W)
    known : Tensor, shape (n, 1, H, W)
        1 where the prior may be seen.
    before, after : Tensors, shape (n, 7, H, W)
        Coarse fractions at the times of prior and target.
    """

    prior: Tensor
    known: Tensor
    before: Tensor
    after: Tensor
    landform: Tensor
    target: Tensor


def split(maps: Maps) -> dict[str, Bools]:
    """Return the pixels of each side of the split: whole blocks."""
    grid = xr.Dataset(coords={dim: np.arange(n) for dim, n in zip("yx", maps.before.shape, strict=True)})
    fold = block_folds(grid, {"y": BLOCK, "x": BLOCK}, N_FOLDS, SPLIT_SEED).to_numpy()
    return {side: np.isin(fold, folds) for side, folds in SIDES.items()}


def training_corners(maps: Maps, sides: dict[str, Bools]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the corners (n, 2) of all patches that see nothing held out, and how often each is to be drawn.

    Patches begin on coarse cells. They lie apart from held-out blocks and from the halo around these.
    """
    forbidden = widened(~sides["train"], HALO)
    per_cell = {
        "forbidden": block_sums(forbidden, CELL),
        "land": block_sums(maps.is_land, CELL),
        "changed": 0.5 * np.abs(maps.coarse[1] - maps.coarse[0]).sum(axis=0) * block_sums(maps.is_land, CELL),
    }
    size = PATCH // CELL
    sums = {
        name: np.lib.stride_tricks.sliding_window_view(cells, (size, size)).sum(axis=(2, 3))
        for name, cells in per_cell.items()
    }
    usable = (sums["forbidden"] == 0) & (sums["land"] >= _LEAST_LAND * PATCH**2)
    corners = CELL * np.argwhere(usable)
    worth = sums["land"][usable] / PATCH**2 + 10.0 * np.sqrt(sums["changed"][usable] / PATCH**2)
    return corners, worth / worth.sum()


def seen_in_training(maps: Maps, sides: dict[str, Bools]) -> Bools:
    """Return all pixels that training patches take in."""
    corners, _ = training_corners(maps, sides)
    seen = np.zeros(maps.before.shape, bool)
    for y, x in corners:
        seen[y : y + PATCH, x : x + PATCH] = True
    return seen


def window_of(corner: NDArray[np.int64]) -> tuple[slice, slice]:
    """Return the pixels of a patch."""
    y, x = (int(place) for place in corner)
    return slice(y, y + PATCH), slice(x, x + PATCH)


def blocks_of(side: Bools, maps: Maps) -> Iterator[tuple[slice, slice]]:
    """Return the blocks of one side of the split that hold land; those at the end of the map may be smaller."""
    for y, x in BLOCK * np.argwhere(side[::BLOCK, ::BLOCK]):
        window = tuple(slice(int(i), min(int(i) + BLOCK, n)) for i, n in zip((y, x), side.shape, strict=True))
        if maps.is_land[window].any():
            yield window[0], window[1]


def fine_fractions(cells: NDArray[np.float32], window: tuple[slice, slice]) -> NDArray[np.float32]:
    """Return coarse fractions at the pixels of a window of whole cells, interpolated linearly between cells.

    Parameters
    ----------
    cells : array, shape (7, coarse rows, coarse columns)
    """
    lows = [side.start // CELL - 1 for side in window]
    highs = [side.stop // CELL + 1 for side in window]
    inner = [slice(max(low, 0), high) for low, high in zip(lows, highs, strict=True)]
    around = [(int(low < 0), max(high - n, 0)) for low, high, n in zip(lows, highs, cells.shape[1:], strict=True)]
    chosen = np.pad(cells[:, inner[0], inner[1]], ((0, 0), *around))
    fine = interpolate(torch.from_numpy(chosen[None]), scale_factor=float(CELL), mode="bilinear", align_corners=False)
    return fine[0, :, CELL:-CELL, CELL:-CELL].numpy()


def blocky_fractions(cells: NDArray[np.float32], window: tuple[slice, slice]) -> NDArray[np.float32]:
    """Return coarse fractions at the pixels of a window of whole cells, constant in each cell."""
    y, x = (slice(side.start // CELL, side.stop // CELL) for side in window)
    return np.repeat(np.repeat(cells[:, y, x], CELL, axis=1), CELL, axis=2)


def step_batch(
    maps: Maps,
    windows: list[tuple[slice, slice]],
    times: list[tuple[float, float]],
    is_blocky: list[bool],
) -> Batch:
    """Return steps from one time to another in some windows of one size; nothing is masked."""
    parts: dict[str, list[NDArray]] = {name: [] for name in ("prior", "before", "after", "landform", "target")}
    for window, (start, end), blocky in zip(windows, times, is_blocky, strict=True):
        at_pixels = blocky_fractions if blocky else fine_fractions
        parts["prior"].append(maps.at(start, window))
        parts["target"].append(maps.at(end, window))
        parts["landform"].append(maps.landform[window])
        parts["before"].append(at_pixels(maps.coarse_at(start), window))
        parts["after"].append(at_pixels(maps.coarse_at(end), window))
    layers = {name: torch.from_numpy(np.stack(values)) for name, values in parts.items()}
    numbers = {name: layers[name].to(torch.int64) for name in ("prior", "landform", "target")}
    known = torch.ones(len(windows), 1, *numbers["prior"].shape[1:])
    return Batch(known=known, before=layers["before"], after=layers["after"], **numbers)
