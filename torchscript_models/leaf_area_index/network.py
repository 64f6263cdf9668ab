# SPDX-License-Identifier: Apache-2.0
"""The network of leaf_area_index: small LSTMs and boosted trees over twelve means of thirty days.

It is trained on calendar months and applied to days; the bins that end today are what joins the two. Networks and
trees err differently: half and half they are better at a cold start than either, and smoother in time than trees.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import softplus

from torchscript_models.layers import Scaling, WaterSupply, fill_unknown, known_past
from torchscript_models.trees import BoostedTrees

BINS: Final = 12
DAYS: Final = 30  #: days of a bin
N_TREES: Final = 100
TREE_DEPTH: Final = 6
RSDS, VPD, PR = 2, 3, 4  #: channels of the inputs: tas (minimum, maximum), rsds, vpd, pr


class Member(nn.Module):
    """One LSTM: scaled means of twelve months to the leaf area index of the last one."""

    def __init__(self, n_inputs: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_inputs, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the leaf area index [1], shape (N, 1)."""
        hidden, _ = self.lstm(x)
        return softplus(self.head(self.dropout(hidden[:, -1])))


class LeafAreaIndex(nn.Module):
    """Leaf area index from the weather of the last 360 days.

    Parameters
    ----------
    samples : array, shape (n, 5)
        Training inputs, for the scaling.
    members, hidden : int
        Networks of the ensemble, and units of each.
    """

    def __init__(self, samples: NDArray[np.float32], members: int, hidden: int = 32, dropout: float = 0.3) -> None:
        super().__init__()
        self.bins, self.days = BINS, DAYS  # a script knows attributes, but no globals
        self.scaling = Scaling(samples, logarithmic=(VPD, PR))
        self.water_supply = WaterSupply(RSDS, VPD, PR, watt=0.0864, vpd_scale=20.0)
        self.members = nn.ModuleList(Member(samples.shape[1], hidden, dropout) for _ in range(members))
        self.trees = BoostedTrees(N_TREES, TREE_DEPTH)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the mean leaf area index [1] over the last 30 days, shape (N, 1).

        Parameters
        ----------
        inputs : Tensor, shape (N, 360, 5)
            Daily minimum and maximum of tas [degC], rsds [MJ m-2 d-1], daily maximum of vpd [hPa],
            pr [kg m-2 d-1]; oldest day first.
        """
        is_known, mean = known_past(inputs)
        days = fill_unknown(inputs, is_known, mean)
        months = days.view(-1, self.bins, self.days, inputs.shape[2]).mean(dim=2)
        return self.from_months(months, is_known.sum(dim=1))

    def from_months(self, months: Tensor, known_days: Tensor) -> Tensor:
        """Return the leaf area index [1] of the last of twelve months, shape (N, 1).

        Parameters
        ----------
        months : Tensor, shape (N, 12, 5)
            Months of which nothing is known hold the mean of the others.
        known_days : Tensor, shape (N,)
        """
        x = self.scaling(months)
        total = torch.zeros(months.shape[0], 1, device=months.device)
        with torch.no_grad():  # a host needs no gradients, and torch's LSTM is three times as fast without
            for member in self.members:
                total = total + member(x)
        trees = torch.clamp(self.trees(features(months)), min=0.0)
        supply = self.water_supply(months.mean(dim=1), known_days).unsqueeze(1)
        return 0.5 * (total / len(self.members) + trees) * supply


def features(months: Tensor) -> Tensor:
    """Return what the trees see of twelve months (N, 12, C): lags, means and extremes; shape (N, 8 C)."""
    lags = [months[:, -1], months[:, -2], months[:, -4], months[:, -7]]
    means = [months[:, -3:].mean(dim=1), months.mean(dim=1)]
    return torch.cat(lags + means + [months.amin(dim=1), months.amax(dim=1)], dim=1)
