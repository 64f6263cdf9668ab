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
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from torchscript_models.cubes import block_folds, block_sums
from torchscript_models.downscaling.architecture import Architecture
from torchscript_models.downscaling.fields import Pairs
from torchscript_models.downscaling.network import Scales, start_of
from torchscript_models.downscaling.upsampling import Interpolate, weighted_means

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
    is_turned: bool = False  #: whether epochs show their samples mirrored and turned as well

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
            batch = self.batch(list(zip(times.tolist(), windows.tolist(), strict=True)), length)
            yield turned(batch, self.pairs.scale, rng) if self.is_turned else batch

    def all(self, length: int = 1) -> Iterator[Batch]:
        """Return everything, window by window: the windows may differ in size."""
        for window in range(len(self.windows)):
            yield self.batch([(time, window) for time in range(len(self.times))], length)


def turned(batch: Batch, scale: int, rng: np.random.Generator) -> Batch:
    """Return a batch in one of the eight ways in which a square can lie, drawn at random."""
    mirrored, turns = bool(rng.integers(2)), int(rng.integers(4))

    def lie(x: Tensor) -> Tensor:
        return torch.rot90(torch.flip(x, [-1]) if mirrored else x, turns, [-2, -1])

    static = pixel_unshuffle(lie(pixel_shuffle(batch.static, scale)), scale)
    return Batch(lie(batch.coarse), static, lie(batch.fine), lie(batch.known))


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
        sides[side] = Side(pairs, times, windows, is_cyclic=True, is_turned=side == "train")
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


def scales_of(side: Side, config: Architecture) -> Scales:
    """Return the scales of the training side's samples, of which at most some hundreds are looked at."""
    batches = list(side.epoch(20, np.random.default_rng(0)))
    rate = 1000.0 * fitted_lapse_rate(batches, side.pairs.scale)
    start = start_of(config, rate)
    found = [(batch, *start(batch.coarse[:, None], batch.static)) for batch in batches]
    departure = torch.cat([(batch.fine - first)[batch.known > 0] for batch, first, *_ in found])
    seen, static = torch.cat([one[3][:, 0] for one in found]), torch.cat([one[4] for one in found])
    return Scales(_mean_and_std(seen), _mean_and_std(static), float(departure.std()), rate)


def fitted_lapse_rate(batches: list[Batch], scale: int) -> float:
    """Return the one lapse rate that fits all samples, upon bilinear interpolation [K m-1]."""
    departures, heights = [], []
    for batch in batches:
        known = batch.known > 0
        departures.append((batch.fine - Interpolate(scale)(batch.coarse[:, :1]))[known])
        heights.append(height(batch, scale)[known])
    x, y = torch.cat(heights), torch.cat(departures)
    return float((x * y).sum() / (x * x).sum())


def height(batch: Batch, scale: int) -> Tensor:
    """Return the elevation above the interpolated elevation of the coarse cells [m].

    Elevation is averaged over the known cells of each coarse cell, as the field was.
    """
    fine = pixel_shuffle(batch.static, scale)[:, :1]
    return fine - Interpolate(scale)(weighted_means(fine, batch.known, scale))


def _mean_and_std(fields: Tensor) -> NDArray[np.float32]:
    values = fields.movedim(1, 0).flatten(1)
    return torch.stack([values.mean(dim=1), values.std(dim=1).clamp(min=1e-3)]).numpy()
