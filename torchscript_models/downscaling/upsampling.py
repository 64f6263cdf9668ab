# SPDX-License-Identifier: Apache-2.0
"""From coarse cells to fine ones: interpolation, and the three kinds of learned upsampling."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from torchscript_models.downscaling.blocks import conv3


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
