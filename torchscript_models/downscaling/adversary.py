# SPDX-License-Identifier: Apache-2.0
"""Adversarial training: a second network learns to tell downscaled fields from true ones, the first to deceive it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from torchscript_models.downscaling.architecture import Architecture
from torchscript_models.downscaling.blocks import ConvLSTM, ResidualBlock, conv3

PIXEL_SHARE: Final = 100.0  #: weight of the pixel loss beside the adversary's (Isola et al. 2017)
LEARNING_RATE: Final = 2e-4
BETAS: Final = (0.5, 0.999)
_BLOCKS: Final = 4
_DROPOUT: Final = 0.4


class Discriminator(nn.Module):
    """Tells whether a fine field belongs to a coarse one: a logit, positive for true fields.

    Two branches of residual blocks, the fine one brought to the coarse grid, joined and averaged over the field. The
    fine field is seen as its departure from the interpolated coarse one: what both share tells nothing.
    """

    def __init__(self, config: Architecture) -> None:
        super().__init__()
        width, plain = config.width, Architecture()
        self.coarse_first = ConvLSTM(config.n_predictors, width, 5) if config.window > 1 else None
        self.coarse_stem = conv3(width if config.window > 1 else config.n_predictors, width)
        self.fine_stem = conv3(1, width)
        self.coarse = nn.Sequential(*(ResidualBlock(plain, width, width) for _ in range(_BLOCKS)))
        self.fine = nn.Sequential(*(ResidualBlock(plain, width, width) for _ in range(_BLOCKS)))
        self.join = ResidualBlock(plain, 2 * width, 2 * width)
        self.tell = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(_DROPOUT), nn.Linear(2 * width, 32), nn.ReLU(),
            nn.Linear(32, 1),
        )  # fmt: skip

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Return the logits (N, 1) of coarse fields (N[, T], C, H, W) and fine ones (N, 1, s H, s W)."""
        latest = coarse[:, -1, :1] if coarse.ndim == 5 else coarse[:, :1]
        fine = fine - interpolate(latest, size=fine.shape[2:], mode="bilinear", align_corners=False)
        if self.coarse_first is not None:
            coarse = self.coarse_first(coarse)[:, -1]
        low, high = self.coarse_stem(coarse), self.fine_stem(fine)
        low = low + self.coarse(low)
        high = high + self.fine(high)
        high = interpolate(high, size=low.shape[2:], mode="bilinear", align_corners=False)
        return self.tell(self.join(torch.cat([low, high], dim=1)))


def fit_against(
    generator: nn.Module,
    discriminator: nn.Module,
    batches: Callable[[], Iterable[tuple[Tensor, Tensor, Tensor]]],
    pixel_loss: Callable[[Tensor, Tensor], Tensor],
    epochs: int,
    advance: Callable[[], None],
) -> list[tuple[float, float]]:
    """Train both networks in turn; return the mean losses of generator and discriminator in each epoch.

    Parameters
    ----------
    batches : callable
        Gives the batches of an epoch: coarse field, static fields, true fine field, as the networks take them.
    """
    rates = {"lr": LEARNING_RATE, "betas": BETAS}
    of_generator = torch.optim.Adam(generator.parameters(), **rates)
    of_discriminator = torch.optim.Adam(discriminator.parameters(), **rates)
    history = []
    for _ in range(epochs):
        generator.train()
        discriminator.train()
        sums, n = [0.0, 0.0], 0
        for coarse, static, truth in batches():
            found = generator(coarse, static)
            told = _verdict(discriminator(coarse, truth), 1.0) + _verdict(discriminator(coarse, found.detach()), 0.0)
            _step(of_discriminator, told)
            deceived = _verdict(discriminator(coarse, found), 1.0) + PIXEL_SHARE * pixel_loss(found, truth)
            _step(of_generator, deceived)
            sums, n = [sums[0] + float(deceived.detach()), sums[1] + float(told.detach())], n + 1
        history.append((sums[0] / n, sums[1] / n))
        advance()
    generator.eval()
    return history


def _verdict(logits: Tensor, wanted: float) -> Tensor:
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, wanted))


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
