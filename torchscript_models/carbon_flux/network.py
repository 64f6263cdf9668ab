# SPDX-License-Identifier: Apache-2.0
"""The network of carbon_flux: an ensemble of small LSTMs whose answers obey four physical bounds.

Photosynthesis and respiration are never negative, the one needs light and both need water, and the net flux is the
difference of the two.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import softplus

from torchscript_models.layers import Scaling, WaterSupply, fill_unknown, known_past

WINDOW: Final = 360  #: days that the emulator sees: a year, for its rain
RECENT: Final = 45  #: the last of them, which the LSTMs read
RSDS, VPD, PR = 1, 2, 3  #: channels of the inputs: tas, rsds, vpd, pr, rsdt
HALF_LIGHT: Final = 100.0  #: daily mean of rsds [W m-2] at which photosynthesis reaches half of its capacity


class Member(nn.Module):
    """One LSTM: scaled forcing to photosynthetic capacity and respiration."""

    def __init__(self, n_inputs: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_inputs, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, 2)

    def forward(self, x: Tensor, days: int) -> Tensor:
        """Return capacity and respiration [g m-2 d-1] of the last `days`, shape (N, days, 2)."""
        hidden, _ = self.lstm(x)
        return 5.0 * softplus(self.head(self.dropout(hidden[:, -days:])))


class CarbonFlux(nn.Module):
    """Daily gpp, reco and nee from the weather of the last days and the rain of the last year.

    Parameters
    ----------
    samples : array, shape (n, 5)
        Training inputs, for the scaling.
    members, hidden : int
        Networks of the ensemble, and units of each.
    """

    def __init__(self, samples: NDArray[np.float32], members: int, hidden: int = 32, dropout: float = 0.3) -> None:
        super().__init__()
        self.recent, self.rsds, self.half_light = RECENT, RSDS, HALF_LIGHT  # a script knows no globals
        self.scaling = Scaling(samples, logarithmic=(VPD, PR))
        self.water_supply = WaterSupply(RSDS, VPD, PR, watt=1.0, vpd_scale=12.0)
        self.members = nn.ModuleList(Member(samples.shape[1], hidden, dropout) for _ in range(members))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return gpp, reco, nee [g m-2 d-1] of the last day, shape (N, 3).

        Parameters
        ----------
        inputs : Tensor, shape (N, 360, 5)
            tas [degC], rsds [W m-2], vpd [hPa], pr [kg m-2 d-1], rsdt [W m-2]; oldest day first.
        """
        is_known, mean = known_past(inputs)
        supply = self.water_supply(mean, is_known.sum(dim=1))
        recent = fill_unknown(inputs[:, -self.recent :], is_known[:, -self.recent :], mean)
        x = self.scaling(recent)
        rates = torch.zeros(inputs.shape[0], 1, 2, device=inputs.device)
        with torch.no_grad():  # a host needs no gradients, and torch's LSTM is three times as fast without
            for member in self.members:
                rates = rates + member(x, 1)
        return self.fluxes(rates / len(self.members), inputs, supply.unsqueeze(1))[:, 0]

    def fluxes(self, rates: Tensor, inputs: Tensor, supply: Tensor) -> Tensor:
        """Return gpp, reco, nee of the days of `rates` (N, days, 2), shape (N, days, 3).

        Light limits photosynthesis as a rectangular hyperbola of the day's radiation; in polar night it is 0.

        Parameters
        ----------
        inputs : Tensor, shape (N, at least days, 5)
        supply : Tensor, shape (N, days)
            Share that the water of the last year sustains.
        """
        light = torch.clamp(inputs[:, -rates.shape[1] :, self.rsds], min=0.0)
        gpp = rates[:, :, 0] * supply * light / (light + self.half_light)
        reco = rates[:, :, 1] * supply
        return torch.stack([gpp, reco, reco - gpp], dim=2)
