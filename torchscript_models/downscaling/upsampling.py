# SPDX-License-Identifier: Apache-2.0
"""From coarse cells to fine ones: interpolation, with means kept or not, and three kinds of learned upsampling."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from torchscript_models.downscaling.blocks import conv3

_ROUNDS: Final = 4  #: of interpolating what the means lack


class Interpolate(nn.Module):
    """Interpolate to a grid `scale` times as fine, whose cells share the corners of the coarse ones."""

    def __init__(self, scale: int, how: str = "bilinear") -> None:
        super().__init__()
        self.scale, self.how = float(scale), how

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, scale * H, scale * W)."""
        if self.how == "nearest":
            return interpolate(x, scale_factor=self.scale, mode="nearest")
        return interpolate(x, scale_factor=self.scale, mode=self.how, align_corners=False)


def coarsened(x: Tensor, scale: int) -> Tensor:
    """Return the means over `scale` x `scale` cells, (N, C, H / scale, W / scale)."""
    return torch.nn.functional.avg_pool2d(x, scale)


def weighted_means(x: Tensor, weights: Tensor, scale: int) -> Tensor:
    """Return the weighted means over `scale` x `scale` cells; where nothing has weight, the plain ones."""
    total = coarsened(weights, scale)
    return torch.where(total > 0.0, coarsened(x * weights, scale) / total.clamp(min=1e-6), coarsened(x, scale))


def missing(fine: Tensor, coarse: Tensor, weights: Tensor, scale: int) -> Tensor:
    """Return what the weighted means of a fine field lack to be the coarse one, 0 where nothing has weight."""
    lack = coarse - weighted_means(fine, weights, scale)
    return torch.where(coarsened(weights, scale) > 0.0, lack, torch.zeros_like(lack))


def nearest(x: Tensor, scale: int) -> Tensor:
    """Return each coarse value on all its fine cells."""
    return interpolate(x, scale_factor=float(scale), mode="nearest")


def kept(fine: Tensor, coarse: Tensor, weights: Tensor, scale: int) -> Tensor:
    """Return the fine field, shifted in each coarse cell so that its weighted mean is the coarse value."""
    return fine + nearest(missing(fine, coarse, weights, scale), scale)


class MeanKept(nn.Module):
    """Interpolation of which the weighted mean in each coarse cell is the coarse value.

    What the means lack is interpolated in turn and added, so that steps between cells become small, before the rest
    shifts whole cells.
    """

    def __init__(self, scale: int, how: str = "bilinear") -> None:
        super().__init__()
        self.scale, self.rounds = scale, _ROUNDS
        self.interpolate = Interpolate(scale, how)

    def forward(self, coarse: Tensor, weights: Tensor) -> Tensor:
        """Return (N, 1, scale * H, scale * W)."""
        fine = self.interpolate(coarse)
        for _ in range(self.rounds):
            fine = fine + self.interpolate(missing(fine, coarse, weights, self.scale))
        return kept(fine, coarse, weights, self.scale)


def upsampling(kind: str, channels: int, scale: int) -> nn.Sequential:
    """Return layers that go up by the prime factors of `scale`, one after the other."""
    return nn.Sequential(*(layer for factor in prime_factors(scale) for layer in _stage(kind, channels, factor)))


def _stage(kind: str, channels: int, factor: int) -> list[nn.Module]:
    if kind == "spc":
        return [conv3(channels, channels * factor**2), nn.PixelShuffle(factor)]
    if kind == "rc":
        return [Interpolate(factor), conv3(channels, channels)]
    return [nn.ConvTranspose2d(channels, channels, 9, stride=factor, padding=4, output_padding=factor - 1, bias=False)]


def prime_factors(number: int) -> list[int]:
    """Return the prime factors of a whole number, rising: 4 is [2, 2], 10 is [2, 5]."""
    factors, divisor = [], 2
    while number > 1:
        if number % divisor:
            divisor += 1
        else:
            factors.append(divisor)
            number //= divisor
    return factors
