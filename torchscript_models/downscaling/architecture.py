# SPDX-License-Identifier: Apache-2.0
"""What can be chosen when a downscaling network is built, and which choices go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

Backbone = Literal["convnet", "resnet", "densenet", "unet", "convnext"]
Upsampling = Literal["spc", "rc", "dc", "pin"]
DropoutKind = Literal["vanilla", "gaussian", "spatial", "mcdrop", "mcgaussiandrop", "mcspatialdrop"]
Normalization = Literal["bn", "ln"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]

BACKBONES: Final[tuple[Backbone, ...]] = get_args(Backbone)
UPSAMPLINGS: Final[tuple[Upsampling, ...]] = get_args(Upsampling)
RECURRENT: Final[tuple[Backbone, ...]] = ("convnet", "resnet", "densenet")  #: backbones that exist with a time window


@dataclass(frozen=True)
class Architecture:
    """A downscaling network.

    Attributes
    ----------
    backbone : str
        How the blocks are connected: `convnet` plainly, `resnet` by sums, `densenet` by concatenation, `convnext` by
        depthwise convolutions, `unet` over several resolutions.
    upsampling : str
        `spc` sub-pixel convolution, `rc` interpolation and convolution, `dc` transposed convolution, all behind the
        backbone; `pin` interpolation before it.
    scale : int
        Fine cells per coarse cell along each axis.
    n_predictors, n_static : int
        Coarse channels, and static channels on the fine grid.
    land_mean : bool
        Whether a coarse value is the mean over the land of its cell, else over all of it; the land fraction is then the
        second static field.
    window : int
        Coarse samples that are seen, the last one being downscaled; more than one makes the network recurrent.
    localized : (int, int), optional
        Rows and columns of the fine grid, for a block with weights of its own for every cell. Such a network works on
        this one grid only, never in tiles.
    decoder : str
        How a `unet` goes up again: `spc`, `rc` or `dc`.
    """

    backbone: Backbone = "resnet"
    upsampling: Upsampling = "spc"
    scale: int = 4
    n_predictors: int = 1
    n_static: int = 0
    land_mean: bool = False
    width: int = 8
    n_blocks: int = 6
    window: int = 1
    attention: bool = False
    dropout: DropoutKind | None = None
    dropout_rate: float = 0.0
    normalization: Normalization | None = None
    localized: tuple[int, int] | None = None
    interpolation: Interpolation = "bilinear"
    decoder: Literal["spc", "rc", "dc"] = "rc"

    def __post_init__(self) -> None:
        for is_wrong, why in (
            (
                self.backbone == "unet" and self.upsampling != "pin",
                "a unet works on the fine grid; use 'pin'",
            ),
            (
                self.window > 1 and self.backbone not in RECURRENT,
                f"there is no recurrent {self.backbone}; with a window use one of {', '.join(RECURRENT)}",
            ),
            (self.land_mean and self.n_static < 2, "a mean over land needs elevation and land fraction"),
            (self.scale < 2, "the scale is a whole number above 1"),
            ((self.dropout is None) != (self.dropout_rate == 0.0), "a kind of dropout and a rate above 0 go together"),
            (not 0.0 <= self.dropout_rate < 1.0, "the rate of dropout is a share below 1"),
        ):
            if is_wrong:
                raise ValueError(f"{self.backbone} with {self.upsampling}: {why}.")


def allowed(window: int = 1) -> list[tuple[Backbone, Upsampling]]:
    """Return all pairs of backbone and upsampling that exist with a time window."""
    pairs: list[tuple[Backbone, Upsampling]] = []
    for backbone in BACKBONES if window == 1 else RECURRENT:
        pairs += [(backbone, upsampling) for upsampling in UPSAMPLINGS if backbone != "unet" or upsampling == "pin"]
    return pairs
