# SPDX-License-Identifier: Apache-2.0
"""The network of leaf_area_index: small LSTMs and boosted trees over twelve means of thirty days, and what grows there.

It is trained on calendar months and applied to days; the bins that end today are what joins the two. Networks and
trees err differently: half and half they are better than either, and smoother in time than trees.
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
RSDS, VPD, PR = 2, 3, 4  #: channels of the inputs: tas (minimum, maximum), rsds, vpd, pr, co2
N_INPUTS: Final = 6
#: the classes of IGBP in the order of their codes, from 1 on
CLASSES: Final = (
    "ENF", "EBF", "DNF", "DBF", "MF", "CSH", "OSH", "WSA", "SAV",
    "GRA", "WET", "CRO", "URB", "CVM", "SNO", "BSV", "WAT",
)  # fmt: skip
#: shares of trees, shrubs and herbs of a class, and whether it keeps its leaves, has needles, is wet, is tilled: rare
#: classes are so described by what they share with others
TRAITS: Final = {
    "ENF": (1, 0, 0, 1, 1, 0, 0), "EBF": (1, 0, 0, 1, 0, 0, 0), "DNF": (1, 0, 0, 0, 1, 0, 0),
    "DBF": (1, 0, 0, 0, 0, 0, 0), "MF": (1, 0, 0, 0.5, 0.5, 0, 0), "CSH": (0, 1, 0, 0.5, 0, 0, 0),
    "OSH": (0, 0.5, 0, 0.5, 0, 0, 0), "WSA": (0.5, 0, 0.5, 0, 0, 0, 0), "SAV": (0.2, 0, 0.8, 0, 0, 0, 0),
    "GRA": (0, 0, 1, 0, 0, 0, 0), "WET": (0, 0, 1, 0, 0, 1, 0), "CRO": (0, 0, 1, 0, 0, 0, 1),
    "URB": (0, 0, 0.5, 0, 0, 0, 0), "CVM": (0, 0, 1, 0, 0, 0, 0.5), "SNO": (0, 0, 0, 0, 0, 0, 0),
    "BSV": (0, 0, 0, 0, 0, 0, 0), "WAT": (0, 0, 0, 0, 0, 0, 0),
}  # fmt: skip
N_VEGETATION: Final = len(CLASSES) + 1 + len(TRAITS["ENF"])  #: the class, whether it is known, its traits


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


class Vegetation(nn.Module):
    """What a class of vegetation says: its place among the classes, and its traits; nothing where it is not known."""

    def __init__(self) -> None:
        super().__init__()
        table = np.zeros((1 + len(CLASSES), N_VEGETATION), np.float32)
        for code, name in enumerate(CLASSES, start=1):
            table[code, code - 1] = 1.0
            table[code, len(CLASSES) :] = (1.0, *TRAITS[name])
        self.register_buffer("table", torch.tensor(table))
        self.table: Tensor

    def forward(self, codes: Tensor) -> Tensor:
        """Return numbers for codes (N, 1), shape (N, N_VEGETATION)."""
        known = torch.clamp(torch.round(codes[:, 0]), 0, self.table.shape[0] - 1)
        return self.table[known.to(torch.int64)]


class LeafAreaIndex(nn.Module):
    """Leaf area index from the weather of the last 360 days, the class of the vegetation, and CO2.

    Parameters
    ----------
    samples : array, shape (n, 6)
        Training inputs, for the scaling.
    members, hidden : int
        Networks of the ensemble, and units of each.
    """

    def __init__(self, samples: NDArray[np.float32], members: int, hidden: int = 32, dropout: float = 0.3) -> None:
        super().__init__()
        self.bins, self.days = BINS, DAYS  # a script knows attributes, but no globals
        self.scaling = Scaling(samples, logarithmic=(VPD, PR))
        self.water_supply = WaterSupply(RSDS, VPD, PR, watt=0.0864, vpd_scale=20.0)
        self.vegetation = Vegetation()
        self.members = nn.ModuleList(Member(samples.shape[1] + N_VEGETATION, hidden, dropout) for _ in range(members))
        self.trees = BoostedTrees(N_TREES, TREE_DEPTH)

    def forward(self, inputs: Tensor, static: Tensor) -> Tensor:
        """Return the mean leaf area index [1] over the last 30 days, shape (N, 1).

        Parameters
        ----------
        inputs : Tensor, shape (N, 360, 6)
            Daily minimum and maximum of tas [degC], rsds [MJ m-2 d-1], daily maximum of vpd [hPa],
            pr [kg m-2 d-1], co2 [ppm]; oldest day first.
        static : Tensor, shape (N, 1)
            Code of the vegetation class in `CLASSES`, from 1 on; 0 where it is not known.
        """
        is_known, mean = known_past(inputs)
        days = fill_unknown(inputs, is_known, mean)
        months = days.view(-1, self.bins, self.days, inputs.shape[2]).mean(dim=2)
        return self.from_months(months, is_known.sum(dim=1), static)

    def from_months(self, months: Tensor, known_days: Tensor, static: Tensor) -> Tensor:
        """Return the leaf area index [1] of the last of twelve months, shape (N, 1).

        Parameters
        ----------
        months : Tensor, shape (N, 12, 6)
            Months of which nothing is known hold the mean of the others.
        known_days : Tensor, shape (N,)
        static : Tensor, shape (N, 1)
        """
        vegetation = self.vegetation(static)
        x = self.sequence(months, vegetation)
        total = torch.zeros(months.shape[0], 1, device=months.device)
        with torch.no_grad():  # a host needs no gradients, and torch's LSTM is three times as fast without
            for member in self.members:
                total = total + member(x)
        trees = torch.clamp(self.trees(features(months, vegetation)), min=0.0)
        supply = self.water_supply(months.mean(dim=1), known_days).unsqueeze(1)
        return 0.5 * (total / len(self.members) + trees) * supply

    def sequence(self, months: Tensor, vegetation: Tensor) -> Tensor:
        """Return what the LSTMs read: scaled months, with the year's mean of CO2, beside the vegetation."""
        co2 = months[:, :, -1:].mean(dim=1, keepdim=True).expand(-1, self.bins, -1)
        scaled = self.scaling(torch.cat([months[:, :, :-1], co2], dim=2))
        return torch.cat([scaled, vegetation.unsqueeze(1).expand(-1, self.bins, -1)], dim=2)


def features(months: Tensor, vegetation: Tensor) -> Tensor:
    """Return what the trees see of twelve months (N, 12, 6): lags, means, extremes, CO2, vegetation; shape (N, F)."""
    weather, co2 = months[:, :, :-1], months[:, :, -1].mean(dim=1, keepdim=True)
    lags = [weather[:, -1], weather[:, -2], weather[:, -4], weather[:, -7]]
    means = [weather[:, -3:].mean(dim=1), weather.mean(dim=1)]
    return torch.cat(lags + means + [weather.amin(dim=1), weather.amax(dim=1), co2, vegetation], dim=1)
