# SPDX-License-Identifier: Apache-2.0
"""How downscaling is judged: errors on held-out regions or hours, beside interpolation and a lapse rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle

from torchscript_models.downscaling.losses import dssim
from torchscript_models.downscaling.samples import Batch, Side
from torchscript_models.downscaling.upsampling import Interpolate

TRIM: Final = 2  #: coarse cells at the edges of a window that are not scored: a tile's halo
_DIGITS: Final = 4

Method = Callable[[Batch], Tensor]  #: what answers a batch with fine fields


def interpolation(how: str, scale: int) -> Method:
    """Return the interpolation of the coarse field's first channel, of the last sample of a window."""
    layer = Interpolate(scale, how)
    return lambda batch: layer(_latest(batch))


def _latest(batch: Batch) -> Tensor:
    return batch.coarse[:, -1, :1] if batch.coarse.ndim == 5 else batch.coarse[:, :1]


def lapse_rate(train: Side) -> Method:
    """Return bilinear interpolation corrected for elevation, by a lapse rate fitted to the training side.

    Elevation is averaged over the known cells of each coarse cell, as the field was.
    """
    scale = train.pairs.scale
    departures, heights = [], []
    for batch in train.epoch(40, np.random.default_rng(0)):
        known = batch.known > 0
        departures.append((batch.fine - interpolation("bilinear", scale)(batch))[known])
        heights.append(_height(batch, scale)[known])
    x, y = torch.cat(heights), torch.cat(departures)
    slope = (x * y).sum() / (x * x).sum()
    return lambda batch: interpolation("bilinear", scale)(batch) + slope * _height(batch, scale)


def _height(batch: Batch, scale: int) -> Tensor:
    """Return the elevation above the interpolated elevation of the coarse cells [m]."""
    fine = pixel_shuffle(batch.static, scale)[:, :1]
    pool = torch.nn.AvgPool2d(scale)
    known = pool(batch.known)
    coarse = torch.where(known > 0, pool(fine * batch.known) / known.clamp(min=1e-6), pool(fine))
    return fine - Interpolate(scale)(coarse)


def judge(side: Side, methods: dict[str, Method], length: int = 1) -> dict[str, dict[str, float]]:
    """Return the scores of each method over all known cells of a side.

    Returns
    -------
    dict
        For each method `rmse`, `mae`, `bias` [K], `skill` (1 - squared error over that of bilinear interpolation), and
        `dssim` (structural dissimilarity; unknown cells as the truth).
    """
    scale = side.pairs.scale
    inner = slice(TRIM * scale, -TRIM * scale)
    methods = {"bilinear": interpolation("bilinear", scale), **methods}
    errors: dict[str, list[Tensor]] = {name: [] for name in methods}
    structure: dict[str, list[Tensor]] = {name: [] for name in methods}
    with torch.inference_mode():
        for batch in side.all(length):
            known, fine = (field[:, :, inner, inner] for field in (batch.known, batch.fine))
            if not known.any():
                continue
            for name, method in methods.items():
                found = torch.where(known > 0, method(batch)[:, :, inner, inner], fine)
                errors[name].append((found - fine)[known > 0].double())
                structure[name].append(dssim(found, fine))
    joined = {name: torch.cat(parts) for name, parts in errors.items()}
    reference = (joined["bilinear"] ** 2).mean()
    return {
        name: {
            "rmse": _rounded((error**2).mean().sqrt()),
            "mae": _rounded(error.abs().mean()),
            "bias": _rounded(error.mean()),
            "skill": _rounded(1.0 - (error**2).mean() / reference),
            "dssim": _rounded(torch.stack(structure[name]).mean()),
        }
        for name, error in joined.items()
    }


def _rounded(value: Tensor) -> float:
    return float(np.round(float(value), _DIGITS))
