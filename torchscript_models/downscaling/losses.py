# SPDX-License-Identifier: Apache-2.0
"""Losses for downscaling: absolute and squared errors, structural dissimilarity on one or several scales, and mixes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, l1_loss, mse_loss

LossName = Literal[
    "mae", "mse", "dssim", "dssim_mae", "dssim_mse", "dssim_mae_mse", "msdssim", "msdssim_mae", "msdssim_mae_mse"
]
LOSSES: Final[tuple[LossName, ...]] = get_args(LossName)

WINDOW, SIGMA = 11, 1.5  #: cells and standard deviation of the Gaussian window (Wang et al. 2004)
K1, K2 = 0.01, 0.03
SCALE_WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363)  #: of the scales, finest first (Wang et al. 2003)
#: shares of the parts in a mix, by how many there are
_SHARES: Final = {1: (1.0,), 2: (0.8, 0.2), 3: (0.6, 0.2, 0.2)}


def loss_function(name: LossName) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of fields (N, 1, H, W) against the truth: one part, or a mix that the name spells out."""
    names = name.split("_")
    parts = list(zip(_SHARES[len(names)], (_PARTS[part] for part in names), strict=True))

    def mixed(found: Tensor, truth: Tensor) -> Tensor:
        return torch.stack([share * part(found, truth) for share, part in parts]).sum()

    return mixed


def dssim(found: Tensor, truth: Tensor) -> Tensor:
    """Return the structural dissimilarity, (1 - SSIM) / 2."""
    luminance, contrast = _similarity(*_from_zero(found, truth))
    return (1.0 - (luminance * contrast).mean()) / 2.0


def msdssim(found: Tensor, truth: Tensor) -> Tensor:
    """Return the multi-scale structural dissimilarity over as many scales as the window fits into, at least one."""
    found, truth, span = _from_zero(found, truth)
    levels = max(sum(min(truth.shape[-2:]) // 2**level >= WINDOW for level in range(len(SCALE_WEIGHTS))), 1)
    weights = torch.tensor(SCALE_WEIGHTS[:levels], dtype=truth.dtype, device=truth.device)
    weights = weights / weights.sum()
    logs = []
    for level in range(levels):
        luminance, contrast = _similarity(found, truth, span)
        value = (luminance * contrast if level == levels - 1 else contrast).mean()
        logs.append(weights[level] * torch.log(torch.clamp(value, min=1e-6)))
        found, truth = avg_pool2d(found, 2), avg_pool2d(truth, 2)
    return (1.0 - torch.exp(torch.stack(logs).sum())) / 2.0


_PARTS: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "mae": l1_loss,
    "mse": mse_loss,
    "dssim": dssim,
    "msdssim": msdssim,
}


def _from_zero(found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return both fields above 0, and the range of both together: SSIM is made for pictures, not for degrees."""
    low = torch.minimum(found.detach().amin(), truth.amin())
    high = torch.maximum(found.detach().amax(), truth.amax())
    return found - low, truth - low, torch.clamp(high - low, min=1e-6)


def _similarity(found: Tensor, truth: Tensor, span: Tensor) -> tuple[Tensor, Tensor]:
    """Return luminance and contrast-structure terms of SSIM at each place of the window."""
    size = min(WINDOW, *truth.shape[-2:])
    places = torch.arange(size, dtype=truth.dtype, device=truth.device)
    line = torch.exp(-0.5 * ((places - (size - 1) / 2) / SIGMA) ** 2)
    line = line / line.sum()
    window = torch.outer(line, line)[None, None]
    mean_a, mean_b = conv2d(found, window), conv2d(truth, window)
    variance_a = conv2d(found * found, window) - mean_a**2
    variance_b = conv2d(truth * truth, window) - mean_b**2
    covariance = conv2d(found * truth, window) - mean_a * mean_b
    c1, c2 = (K1 * span) ** 2, (K2 * span) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance, (2 * covariance + c2) / (variance_a + variance_b + c2)
