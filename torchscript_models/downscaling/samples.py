# SPDX-License-Identifier: Apache-2.0
"""Windows of pairs to learn from and to be judged on, of which no cell and no hour is on two sides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pixel_unshuffle

from torchscript_models.cubes import block_folds, block_sums
from torchscript_models.downscaling.fields import Pairs
from torchscript_models.downscaling.network import Scales
from torchscript_models.downscaling.upsampling import Interpolate, coarsened

WINDOW: Final = 16  #: coarse cells of a window of the normals along each axis, and of a block of the split
BATCH: Final = 16
N_FOLDS: Final = 10  #: blocks are dealt out to them by a seed of their own, as in every training
SPLIT_SEED: Final = 0
SIDES: Final = {"test": (0, 1), "validation": (2,), "train": (3, 4, 5, 6, 7, 8, 9)}
#: hours of each side; a day lies between them
HOURS: Final = {"train": (0, 320), "validation": (344, 404), "test": (428, 500)}
_LEAST_KNOWN: Final = 0.05

Window = tuple[slice, slice]  #: rows and columns on the coarse grid


@dataclass(frozen=True)
class Batch:
    """Coarse fields, static fields packed on the coarse grid, fine fields, and 1 where these are known."""

    coarse: Tensor
    static: Tensor
    fine: Tensor
    known: Tensor


@dataclass(frozen=True)
class Side:
    """One side of a split: at which times and in which windows there is something to learn or to score."""

    pairs: Pairs
    times: NDArray[np.int64]
    windows: list[Window]
    is_cyclic: bool  #: whether the first time follows the last, as months do

    def batch(self, chosen: list[tuple[int, int]], length: int = 1) -> Batch:
        """Return samples of (number of time, number of window) with `length` coarse samples each."""
        parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in Batch.__dataclass_fields__}
        for time, window in chosen:
            coarse, fine = self.windows[window], fine_window(self.windows[window], self.pairs.scale)
            last = int(self.times[time])
            steps = np.arange(last - length + 1, last + 1)
            steps = steps % len(self.pairs.fine) if self.is_cyclic else np.maximum(steps, self.times[0])
            samples = self.pairs.coarse[steps][:, :, *coarse]
            parts["coarse"].append(samples if length > 1 else samples[0])
            parts["static"].append(self.pairs.static[:, *fine])
            parts["fine"].append(self.pairs.fine[last, *fine][None])
            parts["known"].append(self.pairs.is_known[fine][None].astype(np.float32))
        tensors = {name: torch.from_numpy(np.stack(values)) for name, values in parts.items()}
        tensors["static"] = pixel_unshuffle(tensors["static"], self.pairs.scale)
        return Batch(**tensors)

    def epoch(self, n_batches: int, rng: np.random.Generator, length: int = 1) -> Iterator[Batch]:
        """Return batches of samples drawn at random."""
        for _ in range(n_batches):
            times, windows = rng.integers(len(self.times), size=BATCH), rng.integers(len(self.windows), size=BATCH)
            yield self.batch(list(zip(times.tolist(), windows.tolist(), strict=True)), length)

    def all(self, length: int = 1) -> Iterator[Batch]:
        """Return everything, window by window: the windows may differ in size."""
        for window in range(len(self.windows)):
            yield self.batch([(time, window) for time in range(len(self.times))], length)


def fine_window(window: Window, scale: int) -> Window:
    """Return the same window on the fine grid."""
    rows, columns = (slice(side.start * scale, side.stop * scale) for side in window)
    return rows, columns


def by_region(pairs: Pairs) -> dict[str, Side]:
    """Split by blocks of space; what a window sees lies on its own side altogether."""
    shape = pairs.coarse.shape[2:]
    grid = xr.Dataset(coords={dim: np.arange(n) for dim, n in zip("yx", shape, strict=True)})
    fold = block_folds(grid, {"y": WINDOW, "x": WINDOW}, N_FOLDS, SPLIT_SEED).to_numpy()
    known = block_sums(pairs.is_known, pairs.scale) / pairs.scale**2
    times = np.arange(len(pairs.fine))
    sides = {}
    for side, folds in SIDES.items():
        mine = np.isin(fold, folds)
        places = _windows(shape, 1 if side == "train" else WINDOW)
        windows = [at for at in places if mine[at].all() and known[at].mean() >= _LEAST_KNOWN]
        if side == "train":  # samples of a batch have one size
            windows = [at for at in windows if known[at].shape == (WINDOW, WINDOW)]
        sides[side] = Side(pairs, times, windows, is_cyclic=True)
    return sides


def _windows(shape: tuple[int, ...], step: int) -> Iterator[Window]:
    """Return windows that begin every `step` cells; those at the end of the grid are cut off."""
    for y in range(0, shape[0], step):
        for x in range(0, shape[1], step):
            yield slice(y, min(y + WINDOW, shape[0])), slice(x, min(x + WINDOW, shape[1]))


def by_time(pairs: Pairs) -> dict[str, Side]:
    """Split by time: later hours are held out, the whole domain is one window."""
    whole = (slice(0, pairs.coarse.shape[2]), slice(0, pairs.coarse.shape[3]))
    return {side: Side(pairs, np.arange(*hours), [whole], is_cyclic=False) for side, hours in HOURS.items()}


def scales_of(side: Side) -> Scales:
    """Return the scales of the training side's samples, of which at most some hundreds are looked at."""
    rng = np.random.default_rng(0)
    batches = list(side.epoch(20, rng))
    scale = side.pairs.scale
    fine = torch.cat([torch.nn.functional.pixel_shuffle(batch.static, scale) for batch in batches])
    relief = fine[:, :1] - Interpolate(scale)(coarsened(fine[:, :1], scale))
    static = torch.cat([fine, relief], dim=1)
    departure = torch.cat([(b.fine - Interpolate(scale)(b.coarse[:, :1]))[b.known > 0] for b in batches])
    return Scales(_mean_and_std(torch.cat([b.coarse for b in batches])), _mean_and_std(static), float(departure.std()))


def _mean_and_std(fields: Tensor) -> NDArray[np.float32]:
    values = fields.movedim(1, 0).flatten(1)
    return torch.stack([values.mean(dim=1), values.std(dim=1).clamp(min=1e-3)]).numpy()
