# SPDX-License-Identifier: Apache-2.0
"""Arguments of the grid emulators on a small tile, made by rule: what they answer to these is stored and compared."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pixel_unshuffle

SIZE = 40  #: rows and columns


def _patches(generator: torch.Generator, values: list[float], size: int) -> Tensor:
    """Return a map of patches of 5 x 5 cells, each with one of the values."""
    chosen = torch.tensor(values)[torch.randint(0, len(values), (-(-size // 5),) * 2, generator=generator)]
    return chosen.repeat_interleave(5, dim=0).repeat_interleave(5, dim=1)[:size, :size]


def land_cover() -> list[Tensor]:
    """Return a coast of forest with fields, and a scenario that asks for more fields."""
    generator = torch.Generator().manual_seed(1)
    codes = _patches(generator, [1.0, 2.0, 2.0, 2.0, 3.0, 6.0, 7.0, 9.0], SIZE)
    codes[:, : SIZE // 5] = 255.0
    landform = _patches(generator, [float(code) for code in range(1, 18)], SIZE)
    before = torch.tensor([0.1, 0.6, 0.1, 0.0, 0.05, 0.05, 0.1]).reshape(1, 7, 1, 1).expand(1, 7, SIZE, SIZE)
    after = torch.tensor([0.3, 0.4, 0.1, 0.0, 0.05, 0.05, 0.1]).reshape(1, 7, 1, 1).expand(1, 7, SIZE, SIZE)
    return [torch.stack([before, after], dim=1), torch.stack([codes, landform])[None]]


def downscaling() -> list[Tensor]:
    """Return two months of temperature [degC] over mountains, and their elevation [m] and land fraction [%]."""
    generator = torch.Generator().manual_seed(2)
    size = 12
    y, x = torch.meshgrid(torch.arange(4 * size), torch.arange(4 * size), indexing="ij")
    orog = 900.0 * (1.0 + torch.sin(y / 5.0) * torch.cos(x / 7.0))
    land = 100.0 * (_patches(generator, [0.0, 1.0, 1.0, 1.0], 4 * size))
    static = pixel_unshuffle(torch.stack([orog, land])[None].expand(2, -1, -1, -1), 4)
    coarse = 15.0 - 6.5e-3 * orog.reshape(size, 4, size, 4).mean(dim=(1, 3))
    return [torch.stack([coarse, coarse - 20.0])[:, None], static.contiguous()]


def biomass() -> list[Tensor]:
    """Return a scene of two stands, one of them in part under clouds."""
    generator = torch.Generator().manual_seed(3)
    soil = torch.tensor([900.0, 1300.0, 1700.0, 2600.0, 3300.0, 2800.0]).reshape(-1, 1, 1)
    canopy = torch.tensor([250.0, 500.0, 300.0, 3000.0, 1400.0, 600.0]).reshape(-1, 1, 1)
    share = _patches(generator, [0.1, 0.5, 0.9], SIZE)
    image = soil * (1 - share) + canopy * share
    image[:, 5:12, 20:30] = 0.0
    return [image[None]]


def photograph() -> list[Tensor]:
    """Return a wood, a field, a pond and a roof, with a stripe without data."""
    generator = torch.Generator().manual_seed(4)
    colours = torch.tensor([[85.0, 108.0, 62.0], [150.0, 145.0, 95.0], [58.0, 80.0, 84.0], [168.0, 92.0, 72.0]])
    image = colours[_patches(generator, [0.0, 1.0, 2.0, 3.0], SIZE).long()].movedim(-1, 0)
    image = image * (1.0 + 0.15 * torch.rand(1, SIZE, SIZE, generator=generator))
    image[:, :, 30:33] = 0.0
    return [image[None].contiguous()]


TILES = {
    "biomass": biomass,
    "downscaling": downscaling,
    "land_cover": land_cover,
    "surface_classes": photograph,
    "tree_cover": photograph,
}
