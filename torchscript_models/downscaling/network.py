# SPDX-License-Identifier: Apache-2.0
"""The downscaling networks: a backbone on the coarse or the fine grid, static fields, one head for all.

A network answers how the fine field departs from what local lapse rates make of the coarse one, in scaled units:
where it knows nothing better, that remains. `Downscaling` puts this and the scaling around it and is what a host runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from torchscript_models.downscaling.architecture import Architecture
from torchscript_models.downscaling.blocks import (
    BLOCKS,
    ConvBlock,
    EachFrame,
    LocalizedBlock,
    RecurrentBlock,
    conv3,
    drop,
)
from torchscript_models.downscaling.lapse import N_SEEN, Start
from torchscript_models.downscaling.upsampling import Interpolate, coarsened, kept, upsampling

UNET_WIDEST = 256


class Head(nn.Module):
    """The end of every network: localized weights and static fields join, then one channel comes out."""

    def __init__(self, config: Architecture, n_inputs: int) -> None:
        super().__init__()
        self.n_static = config.n_static
        localized = 2 if config.localized else 0
        self.localized = LocalizedBlock(n_inputs, config.localized) if config.localized else None
        self.static = ConvBlock(config, config.n_static, config.width) if config.n_static else None
        joined = n_inputs + localized + (config.width if config.n_static else 0)
        self.mix = nn.Sequential(
            nn.Conv2d(joined, config.width, 1), nn.ReLU(), ConvBlock(config, config.width, config.width)
        )
        self.last = conv3(config.width, 1)

    def forward(self, x: Tensor, static: Tensor) -> Tensor:
        """Return (N, 1, H, W) from (N, n_inputs, H, W) and (N, n_static, H, W), all on the fine grid."""
        joined = [x]
        if self.localized is not None:
            joined.append(self.localized(x))
        if self.static is not None:
            joined.append(self.static(static))
        return self.last(self.mix(torch.cat(joined, dim=1)))


class SpatialNet(nn.Module):
    """A backbone for single fields: convnet, resnet, densenet or convnext; static fields enter at both ends."""

    def __init__(self, config: Architecture) -> None:
        super().__init__()
        self.backbone, self.scale = config.backbone, config.scale
        self.pre = Interpolate(config.scale, config.interpolation) if config.upsampling == "pin" else None
        width, n_inputs = config.width, config.n_predictors + config.n_static
        kernel = 7 if config.backbone == "convnext" else 3
        self.stem = nn.Sequential(nn.Conv2d(n_inputs, width, kernel, padding=kernel // 2), nn.ReLU())
        widths = [width, *(width * (i + 1) for i in range(config.n_blocks))]
        block = BLOCKS[config.backbone]
        self.body = nn.Sequential(
            *(block(config, a, b) for a, b in pairwise(widths)),
            conv3(widths[-1], widths[-1]), nn.ReLU(), *drop(config),
        )  # fmt: skip
        merged = widths[-1] + (width if config.backbone == "densenet" else 0)
        self.shortcut = nn.Conv2d(width, widths[-1], 1) if config.backbone in ("resnet", "convnext") else nn.Identity()
        self.narrow = nn.Sequential(nn.Conv2d(merged, width, 1), nn.ReLU())
        up = nn.Identity() if self.pre is not None else upsampling(config.upsampling, width, config.scale)
        self.up = nn.Sequential(self.narrow, up)
        self.head = Head(config, width)

    def forward(self, coarse: Tensor, static: Tensor) -> Tensor:
        """Return (N, 1, s H, s W) from (N, n_predictors, H, W) and (N, n_static, s H, s W)."""
        if self.pre is not None:
            x = torch.cat([self.pre(coarse), static], dim=1)
        else:
            x = torch.cat([coarse, coarsened(static, self.scale)], dim=1)
        stem = self.stem(x)
        x = self.body(stem)
        if self.backbone == "densenet":
            x = torch.cat([x, stem], dim=1)
        elif self.backbone != "convnet":
            x = x + self.shortcut(stem)
        return self.head(self.up(x), static)


class UNetDownscaling(nn.Module):
    """A U-Net on the fine grid; width doubles down to the level where the field is two cells wide, or `n_blocks`."""

    def __init__(self, config: Architecture) -> None:
        super().__init__()
        self.pre = Interpolate(config.scale, config.interpolation)
        widths = [min(config.width * 2**level, UNET_WIDEST) for level in range(config.n_blocks + 1)]
        pairs = list(pairwise(widths))
        self.first = ConvBlock(config, config.n_predictors + config.n_static, widths[0])
        self.down = nn.ModuleList(ConvBlock(config, a, b) for a, b in pairs)
        self.up = nn.ModuleList(upsampling(config.decoder, b, 2) for _, b in reversed(pairs))
        self.join = nn.ModuleList(ConvBlock(config, a + b, a) for a, b in reversed(pairs))
        self.after = nn.Sequential(*drop(config))
        self.head = Head(config, widths[0])

    def forward(self, coarse: Tensor, static: Tensor) -> Tensor:
        """Return (N, 1, s H, s W) from (N, n_predictors, H, W) and (N, n_static, s H, s W)."""
        x = self.first(torch.cat([self.pre(coarse), static], dim=1))
        levels = [x]
        for convs in self.down:
            x = convs(torch.max_pool2d(x, 2))
            levels.append(x)
        levels.pop()
        for up, join in zip(self.up, self.join):  # noqa: B905 (TorchScript knows no `strict`)
            fine = levels.pop()
            x = up(x)
            x = pad(x, [0, fine.shape[3] - x.shape[3], 0, fine.shape[2] - x.shape[2]])
            x = join(torch.cat([x, fine], dim=1))
        return self.head(self.after(x), static)


class RecurrentNet(nn.Module):
    """ConvLSTM blocks over a time window; the last field is downscaled. Static fields enter at the end."""

    def __init__(self, config: Architecture) -> None:
        super().__init__()
        width = config.width
        pre = config.upsampling == "pin"
        self.pre = EachFrame(Interpolate(config.scale, config.interpolation)) if pre else nn.Identity()
        widths = [config.n_predictors, *[width] * (config.n_blocks + 1)]
        self.body = nn.Sequential(*(RecurrentBlock(config, a, b) for a, b in pairwise(widths)))
        self.up = nn.Sequential(*drop(config)) if pre else upsampling(config.upsampling, width, config.scale)
        self.head = Head(config, width)

    def forward(self, coarse: Tensor, static: Tensor) -> Tensor:
        """Return (N, 1, s H, s W) from (N, T, n_predictors, H, W) and (N, n_static, s H, s W)."""
        return self.head(self.up(self.body(self.pre(coarse))[:, -1]), static)


def build(config: Architecture) -> nn.Module:
    """Return an untrained network."""
    if config.window > 1:
        return RecurrentNet(config)
    return UNetDownscaling(config) if config.backbone == "unet" else SpatialNet(config)


@dataclass(frozen=True)
class Scales:
    """What the training data say of the fields.

    Attributes
    ----------
    coarse, static : array, shape (2, channels)
        Mean and standard deviation of what networks see on the coarse and on the fine grid.
    departure : float
        Standard deviation of the fine field's departure from its `Start`.
    lapse_rate : float
        The lapse rate that fits all of them [units of the field per km].
    """

    coarse: NDArray[np.float32]
    static: NDArray[np.float32]
    departure: float
    lapse_rate: float


def start_of(config: Architecture, lapse_rate: float) -> Start:
    """Return what a network with this architecture departs from."""
    return Start(config.scale, config.interpolation, config.land_mean, lapse_rate)


class Downscaling(nn.Module):
    """A downscaling network in physical units; the first coarse channel is the one that is downscaled.

    What it answers is added to the `Start`, and shifted so that the means over coarse cells are kept. Static fields
    come as all their fine values in a coarse cell, row by row, so that they can lie on the coarse grid; the first one
    is the elevation.

    Parameters
    ----------
    config : Architecture
        Its `n_predictors` and `n_static` count what a host gives.
    """

    def __init__(self, config: Architecture, scales: Scales) -> None:
        super().__init__()
        self.network = build(replace(config, n_predictors=N_SEEN + config.n_predictors - 1))
        for weights in self.network.head.last.parameters():
            nn.init.zeros_(weights)  # so that training begins with the start itself
        self.start = start_of(config, scales.lapse_rate)
        self.scale, self.is_recurrent = config.scale, config.window > 1
        self.register_buffer("departure", torch.tensor(scales.departure))
        self.departure: Tensor
        for name, values in (("coarse", scales.coarse), ("static", scales.static)):
            mean, std = (torch.from_numpy(part).reshape(-1, 1, 1) for part in values)
            self.register_buffer(f"{name}_mean", mean)
            self.register_buffer(f"{name}_std", std)
        self.coarse_mean: Tensor
        self.coarse_std: Tensor
        self.static_mean: Tensor
        self.static_std: Tensor

    def forward(self, inputs: Tensor, static: Tensor) -> Tensor:
        """Return the fine field, shape (N, 1, s H, s W).

        Parameters
        ----------
        inputs : Tensor, shape (N, C, H, W), or (N, T, C, H, W) with a time window
        static : Tensor, shape (N, S s s, H, W)
        """
        frames = inputs if self.is_recurrent else inputs[:, None]
        start, weights, seen, fine = self.start(frames, static)
        coarse = (seen - self.coarse_mean) / self.coarse_std
        if not self.is_recurrent:
            coarse = coarse[:, 0]
        fine = (fine - self.static_mean) / self.static_std
        return kept(start + self.departure * self.network(coarse, fine), frames[:, -1, :1], weights, self.scale)
