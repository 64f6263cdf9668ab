# SPDX-License-Identifier: Apache-2.0
"""The U-Net that the grid emulators share: down by pooling, up by repetition, skip connections at every level."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad


class DoubleConv(nn.Sequential):
    """Twice a 3 x 3 convolution, normalised over the batch (free of cost once frozen) and rectified."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        layers: list[nn.Module] = []
        for channels in (n_inputs, n_outputs):
            layers += [nn.Conv2d(channels, n_outputs, 3, padding=1, bias=False), nn.BatchNorm2d(n_outputs), nn.ReLU()]
        super().__init__(*layers)


class ResidualConv(nn.Module):
    """A `DoubleConv` whose input is added to its output before the last rectification, as in a ResNet."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(*list(DoubleConv(n_inputs, n_outputs))[:-1])
        self.shortcut = nn.Identity() if n_inputs == n_outputs else nn.Conv2d(n_inputs, n_outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, n_outputs, H, W)."""
        return torch.relu(self.convs(x) + self.shortcut(x))


class Up(nn.Module):
    """Bring a coarse level to the size of the finer one, join both, convolve."""

    def __init__(self, n_coarse: int, n_fine: int) -> None:
        super().__init__()
        self.convs = DoubleConv(n_coarse + n_fine, n_fine)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Return the finer level, (N, n_fine, H, W), from (N, n_coarse, H / 2, W / 2) and (N, n_fine, H, W)."""
        return self.convs(torch.cat([interpolate(coarse, scale_factor=2.0, mode="nearest"), fine], dim=1))


class UNet(nn.Module):
    """A U-Net whose width doubles at each of its `depth` poolings.

    An answer sees at most `reach(depth)` pixels around itself.

    Parameters
    ----------
    block : type
        What the way down is made of: `DoubleConv` or `ResidualConv`.
    """

    def __init__(
        self, n_inputs: int, n_outputs: int, width: int, depth: int, block: type[nn.Module] = DoubleConv
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.grain = 2**depth
        self.first = block(n_inputs, width)
        self.down = nn.ModuleList(block(a, b) for a, b in pairwise(widths))
        self.up = nn.ModuleList(Up(b, a) for a, b in zip(widths[-2::-1], widths[:0:-1], strict=True))
        self.last = nn.Conv2d(width, n_outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, n_outputs, H, W) from (N, n_inputs, H, W); a size that pooling would cut is padded meanwhile."""
        rows, columns = x.shape[2], x.shape[3]
        below, right = (-rows) % self.grain, (-columns) % self.grain
        if below + right > 0:
            x = pad(x, [0, right, 0, below])
        x = self.first(x)
        levels = [x]
        for convs in self.down:
            x = convs(torch.max_pool2d(x, 2))
            levels.append(x)
        levels.pop()
        for up in self.up:
            x = up(x, levels.pop())
        return self.last(x)[:, :, :rows, :columns]


def reach(depth: int) -> int:
    """Return how many pixels around itself an answer of a U-Net with `depth` poolings can see."""
    below = 2**depth
    inner = 2 * below + sum(4 * 2**level for level in range(depth))  # two convolutions down, two up, at each level
    return inner + below - 1  # a pooled pixel stands for all that it covers
