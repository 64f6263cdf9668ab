# SPDX-License-Identifier: Apache-2.0
"""Networks that tell what covers the ground: a U-Net with a residual encoder, and SegFormer of a library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from torchscript_models.segmentation.scenes import BACKGROUND
from torchscript_models.unet import ResidualConv, UNet, reach

DEPTH: Final = 3
HALO: Final = reach(DEPTH)  #: pixels around an answer that it can depend on
#: means and standard deviations of the bands of ImageNet, in counts
MEANS: Final = (123.7, 116.3, 103.5)
STDS: Final = (58.4, 57.1, 57.4)


class Counts(nn.Module):
    """Bring counts from 0 to 255 to about mean 0 and variance 1."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEANS).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(STDS).reshape(1, -1, 1, 1))
        self.mean: Tensor
        self.std: Tensor

    def forward(self, image: Tensor) -> Tensor:
        """Scale (N, 3, H, W)."""
        return (torch.clamp(image, 0.0, 255.0) - self.mean) / self.std


class Segmentation(nn.Module):
    """Logits of the classes of every pixel.

    Parameters
    ----------
    network : nn.Module
        Takes scaled bands (N, 3, H, W) and gives logits (N, classes, h, w), on a grid that may be coarser.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.scaling = Counts()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, shape (N, classes, H, W), from counts (N, 3, H, W)."""
        logits = self.network(self.scaling(image))
        if logits.shape[2:] == image.shape[2:]:
            return logits
        return interpolate(logits, size=(image.shape[2], image.shape[3]), mode="bilinear", align_corners=False)


def residual_unet(n_classes: int, width: int = 8) -> Segmentation:
    """Return an untrained U-Net with a residual encoder."""
    return Segmentation(UNet(3, n_classes, width, DEPTH, ResidualConv))


class SegFormer(nn.Module):
    """SegFormer (Xie et al. 2021) as the library `transformers` has it, untrained.

    Its code is no TorchScript: `export.traced` makes it such.

    Parameters
    ----------
    widths, depths, heads : sequence of int
        Channels, blocks and attention heads of the four stages; those of B0 unless given.
    """

    def __init__(
        self,
        n_classes: int,
        widths: Sequence[int] = (32, 64, 160, 256),
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (1, 2, 5, 8),
    ) -> None:
        super().__init__()
        from transformers import SegformerConfig, SegformerForSemanticSegmentation

        self.inner = SegformerForSemanticSegmentation(
            SegformerConfig(
                num_labels=n_classes,
                hidden_sizes=list(widths),
                depths=list(depths),
                num_attention_heads=list(heads),
                decoder_hidden_size=widths[-1],
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, shape (N, classes, H / 4, W / 4), from (N, 3, H, W)."""
        logits: Tensor = self.inner(x, return_dict=False)[0]
        return logits


class Cover(nn.Module):
    """What a host runs: which class covers each pixel, as channels of zeros and ones.

    A pixel with 0 in all bands has no data, and counts as background.

    Parameters
    ----------
    is_tree : bool
        Whether the only output is the second class, in percent.
    """

    def __init__(self, logits: nn.Module, n_classes: int, *, is_tree: bool) -> None:
        super().__init__()
        self.logits, self.n_classes, self.is_tree, self.background = logits, n_classes, is_tree, BACKGROUND

    def forward(self, image: Tensor) -> Tensor:
        """Return (N, n_classes, H, W), or the cover with trees [%], (N, 1, H, W), from counts (N, 3, H, W)."""
        number = self.logits(image).argmax(dim=1)
        number = torch.where((image > 0).any(dim=1), number, self.background)
        planes = nn.functional.one_hot(number, self.n_classes).permute(0, 3, 1, 2).to(image.dtype)
        return 100.0 * planes[:, 1:2] if self.is_tree else planes
