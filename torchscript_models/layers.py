# SPDX-License-Identifier: Apache-2.0
"""Parts that the networks share: scaling of inputs, how an unknown past is met, and what water allows."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Scaling(nn.Module):
    """Bring physical inputs to mean 0 and variance 1, after clipping them to what the training data nearly reach.

    The range of each channel is that of the training data, widened on both sides by a tenth of its width; a channel
    that is never negative stays so. Channels in `logarithmic` are skewed: log(1 + x) is taken of them.

    Parameters
    ----------
    samples : array, shape (n, C)
        Training data in physical units.
    logarithmic : tuple of int
        Channels with a long tail.
    """

    def __init__(self, samples: NDArray[np.float32], logarithmic: tuple[int, ...] = ()) -> None:
        super().__init__()
        lowest, highest = samples.min(axis=0), samples.max(axis=0)
        margin = 0.1 * (highest - lowest)
        lower = np.where(lowest >= 0.0, 0.0, lowest - margin)
        is_skewed = np.isin(np.arange(samples.shape[1]), logarithmic)
        shaped = np.where(is_skewed, np.log1p(np.maximum(samples, 0.0)), samples)
        for name, values in {
            "lower": lower,
            "upper": highest + margin,
            "mean": shaped.mean(axis=0),
            "std": shaped.std(axis=0),
        }.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32))
        self.register_buffer("is_skewed", torch.tensor(is_skewed))
        self.lower: Tensor
        self.upper: Tensor
        self.mean: Tensor
        self.std: Tensor
        self.is_skewed: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Scale (..., C)."""
        x = torch.clamp(x, self.lower, self.upper)
        x = torch.where(self.is_skewed, torch.log1p(torch.clamp(x, min=0.0)), x)
        return (x - self.mean) / self.std


def known_past(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return which samples of a window are known, and their mean.

    A window that is not yet full begins with copies of its first sample. Known are the last of these copies and what
    follows; of a window of equal samples only the last one.

    Parameters
    ----------
    inputs : Tensor, shape (N, T, C)
        Windows, oldest sample first.

    Returns
    -------
    is_known : bool Tensor, shape (N, T)
    mean : Tensor, shape (N, C)
    """
    length = inputs.shape[1]
    differs = inputs[:, :, 0] != inputs[:, :1, 0]
    for channel in range(1, inputs.shape[2]):
        differs = differs | (inputs[:, :, channel] != inputs[:, :1, channel])
    first = torch.where(differs.any(dim=1), differs.to(torch.uint8).argmax(dim=1), length)
    is_known = torch.arange(length, device=inputs.device) >= first.unsqueeze(1) - 1
    known = is_known.to(inputs.dtype)
    total = torch.bmm(known.unsqueeze(1), inputs).squeeze(1)
    return is_known, total / known.sum(dim=1, keepdim=True)


def fill_unknown(inputs: Tensor, is_known: Tensor, mean: Tensor) -> Tensor:
    """Put the mean of the known samples in the place of the others: one day's weather must not stand for a year."""
    return torch.where(is_known.unsqueeze(2), inputs, mean.unsqueeze(1))


class WaterSupply(nn.Module):
    """The share of a well-watered vegetation that the rain of a year can sustain, from 0 in deserts to nearly 1.

    It is 1 - exp(-i / 0.1), where i is the rain of the last year over what half of the solar radiation could
    evaporate (the inverse of Budyko's radiative index of dryness). The driest tower has i = 0.12, so that the network
    learns all climates with observations; a tenth of all land is drier, and there only this factor knows of deserts.

    In the first year of a run that rain is not known, and half a year without any is no desert yet. The air tells:
    where nothing can evaporate it is dry. Over the sites i falls with the vapour pressure deficit as
    exp(-vpd / `vpd_scale`); that guess gives way to the observed index as the known past grows to 360 days.

    Parameters
    ----------
    rsds, vpd, pr : int
        Channels of the inputs.
    watt : float
        W m-2 in the units of rsds.
    vpd_scale : float
        In the units of vpd.
    """

    def __init__(self, rsds: int, vpd: int, pr: int, watt: float, vpd_scale: float) -> None:
        super().__init__()
        self.rsds, self.vpd, self.pr = rsds, vpd, pr
        self.evaporation = 0.5 / (28.35 * watt)  # kg m-2 d-1 that half of one unit of rsds evaporates
        self.vpd_scale = vpd_scale

    def forward(self, mean: Tensor, days: Tensor) -> Tensor:
        """Return the share (...), from the mean (..., C) over the number of known `days` (...)."""
        demand = self.evaporation * torch.clamp(mean[..., self.rsds], min=0.0) + 1e-3
        observed = torch.clamp(mean[..., self.pr], min=0.0) / demand
        guess = torch.exp(-torch.clamp(mean[..., self.vpd], min=0.0) / self.vpd_scale)
        weight = torch.clamp(days / 360.0, max=1.0)
        return 1.0 - torch.exp(-(weight * observed + (1.0 - weight) * guess) / 0.1)
