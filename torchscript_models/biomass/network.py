# SPDX-License-Identifier: Apache-2.0
"""Networks that tell biomass: a U-Net over images, a head on a frozen encoder, and the three small nets for patches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from torchscript_models.unet import DoubleConv, UNet, reach

N_BANDS: Final = 6
DEPTH: Final = 2
HALO: Final = 4 * -(-reach(DEPTH) // 4)  #: pixels that an answer can depend on, as whole pooled pixels
#: means and standard deviations of the bands of harmonised Landsat and Sentinel-2 reflectance times 10,000
MEANS: Final = (547.4, 898.5, 1020.9, 2665.5, 2340.6, 1610.1)
STDS: Final = (411.5, 558.5, 815.9, 812.4, 1113.7, 1067.6)
MOST: Final = 500.0  #: no answer is above [Mg ha-1]
CLASSES: Final = (50.0, 150.0)  #: [Mg ha-1] between sparse, medium and dense biomass


def masked_rmse(found: Tensor, labels: Tensor) -> Tensor:
    """Return the root mean square error over the pixels that carry a label; labels below 0 are none."""
    has_label = labels >= 0
    error = torch.where(has_label, found - labels, torch.zeros_like(found))
    return torch.sqrt((error**2).sum() / has_label.sum().clamp(min=1) + 1e-12)


class Reflectance(nn.Module):
    """Bring reflectances to mean 0 and variance 1; a pixel without data becomes 0 in all bands."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEANS).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(STDS).reshape(1, -1, 1, 1))
        self.mean: Tensor
        self.std: Tensor

    def forward(self, image: Tensor) -> Tensor:
        """Scale (N, 6, H, W), reflectance times 10,000."""
        has_data = (image > 0).any(dim=1, keepdim=True)
        scaled = torch.clamp((image - self.mean) / self.std, -10.0, 10.0)
        return torch.where(has_data, scaled, torch.zeros_like(scaled))


def bounded(x: Tensor, most: float = MOST) -> Tensor:
    """Return biomass [Mg ha-1] between 0 and `most` from the last layer of a network [100 Mg ha-1]."""
    return torch.clamp(100.0 * softplus(x), max=most)


class BiomassUNet(nn.Module):
    """Biomass of every pixel of an image, by a U-Net trained from scratch."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.scaling = Reflectance()
        self.unet = UNet(N_BANDS, 1, width, DEPTH)

    def forward(self, image: Tensor) -> Tensor:
        """Return biomass [Mg ha-1], shape (N, 1, H, W), from (N, 6, H, W)."""
        return bounded(self.unet(self.scaling(image)))


class SwinEncoder(nn.Module):
    """A Swin transformer (Liu et al. 2021) as the library `transformers` has it; Swin-B unless told otherwise.

    Its code is no TorchScript: `export.traced` makes it such. Weights come from a user's file, by `read_pretrained`.

    Parameters
    ----------
    width : int
        Channels of the first stage; they double with each stage, and the pixels of a patch, 4 x 4 at first, quadruple.
    depths, heads : sequence of int
        Blocks and attention heads of each stage.
    """

    def __init__(
        self, width: int = 128, depths: Sequence[int] = (2, 2, 18, 2), heads: Sequence[int] = (4, 8, 16, 32)
    ) -> None:
        super().__init__()
        from transformers import SwinConfig, SwinModel

        config = SwinConfig(num_channels=N_BANDS, embed_dim=width, depths=list(depths), num_heads=list(heads))
        self.inner = SwinModel(config, add_pooling_layer=False)
        self.channels = width * 2 ** (len(depths) - 1)
        self.stride = 4 * 2 ** (len(depths) - 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return features (N, channels, H / stride, W / stride), from (N, 6, H, W) of whole patches."""
        rows, columns = image.shape[2] // self.stride, image.shape[3] // self.stride
        features: Tensor = self.inner(image, return_dict=False)[0]
        return features.transpose(1, 2).unflatten(2, (rows, columns))


class EncoderWithHead(nn.Module):
    """Biomass by one convolution on the features of a pretrained encoder, which stays as it is.

    Parameters
    ----------
    encoder : nn.Module
        Takes (N, 6, H, W) scaled by `Reflectance` and gives (N, channels, H / stride, W / stride), as `SwinEncoder`.
    """

    def __init__(self, encoder: nn.Module, channels: int, stride: int) -> None:
        super().__init__()
        self.scaling = Reflectance()
        self.encoder = encoder.requires_grad_(False).eval()
        self.head = nn.Sequential(nn.Conv2d(channels, stride**2, 3, padding=1), nn.PixelShuffle(stride))

    def train(self, mode: bool = True) -> EncoderWithHead:
        """Set the mode of the head; the encoder's normalisation and dropout stay those of its own training."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Return biomass [Mg ha-1], shape (N, 1, H, W), from (N, 6, H, W)."""
        return bounded(self.head(self.encoder(self.scaling(image))))


def read_pretrained(module: nn.Module, path: Path, prefix: str = "") -> nn.Module:
    """Give `module` the weights in a file of tensors by name; names may carry a `prefix`, such as ``encoder.``.

    Raises
    ------
    ValueError
        When the file lacks a weight of the module, or has one of another shape; the first of them is named.
    """
    content = torch.load(path, map_location="cpu", weights_only=True)
    tensors = content.get("state_dict", content)
    tensors = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    for name, own in module.state_dict().items():
        if name not in tensors:
            raise ValueError(f"'{path.name}' has no weight '{prefix}{name}', which the network needs.")
        if tensors[name].shape != own.shape:
            raise ValueError(
                f"'{path.name}': '{prefix}{name}' has the shape {tuple(tensors[name].shape)}, not {tuple(own.shape)}."
            )
    module.load_state_dict({name: tensors[name] for name in module.state_dict()})
    return module


class PatchFCN(nn.Module):
    """Biomass of the centre pixel of a patch: six convolutions and a last one for single pixels."""

    def __init__(self, n_channels: int, widths: Sequence[int] = (32, 32, 64, 128, 128, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in zip([n_channels, *widths], widths, strict=False):
            layers += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 1))

    def forward(self, patch: Tensor) -> Tensor:
        """Return biomass in units of 100 Mg ha-1, shape (N, 1), from (N, C, rows, columns)."""
        return centre(self.layers(patch))


class PatchUNet(nn.Module):
    """Biomass of the centre pixel of a patch, by a U-Net."""

    def __init__(self, n_channels: int, width: int = 32) -> None:
        super().__init__()
        self.unet = UNet(n_channels, 1, width, DEPTH)

    def forward(self, patch: Tensor) -> Tensor:
        """Return biomass in units of 100 Mg ha-1, shape (N, 1), from (N, C, rows, columns)."""
        return centre(self.unet(patch))


class PatchFiLM(nn.Module):
    """Biomass of the centre pixel of a patch: residual blocks whose channels facts about the place scale and shift."""

    def __init__(self, n_channels: int, n_facts: int, width: int = 32, n_blocks: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(n_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(DoubleConv(width, width) for _ in range(n_blocks))
        self.films = nn.ModuleList(
            nn.Sequential(nn.Linear(n_facts, width), nn.ReLU(), nn.Linear(width, 2 * width)) for _ in range(n_blocks)
        )
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, patch: Tensor, facts: Tensor) -> Tensor:
        """Return biomass in units of 100 Mg ha-1, shape (N, 1), from (N, C, rows, columns) and facts (N, n_facts)."""
        x = torch.relu(self.first(patch))
        for block, film in zip(self.blocks, self.films):  # noqa: B905 (TorchScript knows no `strict`)
            scale, shift = film(facts).unsqueeze(2).unsqueeze(3).chunk(2, dim=1)
            x = x + block(x) * (1.0 + scale) + shift
        return centre(self.last(x))


def centre(field: Tensor) -> Tensor:
    """Return the middle pixel of (N, C, rows, columns), shape (N, C)."""
    return field[:, :, field.shape[2] // 2, field.shape[3] // 2]


class Biomass(nn.Module):
    """What a host runs: biomass, and which share of the area is sparse, medium or dense."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.medium, self.dense = CLASSES

    def forward(self, image: Tensor) -> Tensor:
        """Return biomass [Mg ha-1] and three channels of zeros and ones, shape (N, 4, H, W), from (N, 6, H, W)."""
        biomass = self.network(image)
        at_least = [(biomass >= bound).to(biomass.dtype) for bound in (self.medium, self.dense)]
        return torch.cat([biomass, 1.0 - at_least[0], at_least[0] - at_least[1], at_least[1]], dim=1)
