# SPDX-License-Identifier: Apache-2.0
"""How downscaling is judged: errors on held-out regions or hours, beside interpolation and a lapse rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from torch import Tensor

from torchscript_models.downscaling.architecture import Architecture
from torchscript_models.downscaling.losses import dssim
from torchscript_models.downscaling.network import start_of
from torchscript_models.downscaling.samples import Batch, Side, fitted_lapse_rate, height
from torchscript_models.downscaling.upsampling import Interpolate, kept, nearest, weighted_means

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
    """Return bilinear interpolation corrected for elevation, by a lapse rate fitted to the training side."""
    scale = train.pairs.scale
    slope = fitted_lapse_rate(list(train.epoch(40, np.random.default_rng(0))), scale)
    return lambda batch: interpolation("bilinear", scale)(batch) + slope * height(batch, scale)


def mean_kept(method: Method, scale: int) -> Method:
    """Return a method whose answers are shifted to the coarse values, as means over what is known of each cell."""
    return lambda batch: kept(method(batch), _latest(batch), batch.known, scale)


def local_lapse_rate(train: Side, config: Architecture) -> Method:
    """Return what the networks start from: local lapse rates, means kept."""
    scale = train.pairs.scale
    start = start_of(config, 1000.0 * fitted_lapse_rate(list(train.epoch(40, np.random.default_rng(0))), scale))
    return mean_kept(lambda batch: start(_latest(batch)[:, None], batch.static)[0], scale)


def judge(side: Side, methods: dict[str, Method], length: int = 1) -> dict[str, dict[str, float]]:
    """Return the scores of each method over all known cells of a side.

    Returns
    -------
    dict
        For each method `rmse`, `mae`, `bias` [K], `skill` (1 - squared error over that of bilinear interpolation),
        `dssim` (structural dissimilarity; unknown cells as the truth), and `detail` (variance within coarse cells over
        that of the truth). Of several answers, as channels, their mean is scored, with `crps` [K] (continuous ranked
        probability score; of a single answer it is the `mae`) and `spread_over_error` (1 where the answers differ from
        each other as they do from the truth).
    """
    scale = side.pairs.scale
    inner = slice(TRIM * scale, -TRIM * scale)
    methods = {"bilinear": interpolation("bilinear", scale), **methods}
    parts: dict[str, dict[str, list[Tensor]]] = {name: {} for name in methods}
    with torch.inference_mode():
        for batch in side.all(length):
            known, fine = (field[:, :, inner, inner] for field in (batch.known, batch.fine))
            if not known.any():
                continue
            for name, method in methods.items():
                answers = torch.where(known > 0, method(batch)[:, :, inner, inner], fine)
                for key, value in _measures(answers, fine, known, scale).items():
                    parts[name].setdefault(key, []).append(value)
    reference = (torch.cat(parts["bilinear"]["error"]) ** 2).mean()
    return {name: _scores({key: torch.cat(v) for key, v in of.items()}, reference) for name, of in parts.items()}


def _measures(answers: Tensor, fine: Tensor, known: Tensor, scale: int) -> dict[str, Tensor]:
    """Return what the scores of a batch are made of, as vectors."""
    mean = answers.mean(dim=1, keepdim=True)
    found = {
        "error": (mean - fine)[known > 0].double(),
        "dssim": dssim(mean, fine)[None],
        "detail": _within(mean, known, scale)[None],
        "true_detail": _within(fine, known, scale)[None],
    }
    n = answers.shape[1]
    if n > 1:
        apart = sum((answers - answers.roll(i, dims=1)).abs().sum(dim=1, keepdim=True) for i in range(1, n))
        crps = (answers - fine).abs().mean(dim=1, keepdim=True) - apart / (2 * n * (n - 1))
        found |= {"crps": crps[known > 0].double()}
        found |= {"variance": (answers.var(dim=1, keepdim=True) * (n + 1) / n)[known > 0].double()}
    return found


def _scores(of: dict[str, Tensor], reference: Tensor) -> dict[str, float]:
    """Return the scores of a method from its measures over all batches."""
    squared = (of["error"] ** 2).mean()
    scores = {
        "rmse": squared.sqrt(),
        "mae": of["error"].abs().mean(),
        "bias": of["error"].mean(),
        "skill": 1.0 - squared / reference,
        "dssim": of["dssim"].mean(),
        "detail": of["detail"].sum() / of["true_detail"].sum(),
    }
    if "crps" in of:
        scores |= {"crps": of["crps"].mean(), "spread_over_error": (of["variance"].mean() / squared).sqrt()}
    return {key: float(np.round(float(value), _DIGITS)) for key, value in scores.items()}


def _within(fine: Tensor, known: Tensor, scale: int) -> Tensor:
    """Return the sum of squared departures of known cells from the means of their coarse cells."""
    return ((fine - nearest(weighted_means(fine, known, scale), scale)) ** 2 * known).double().sum()
