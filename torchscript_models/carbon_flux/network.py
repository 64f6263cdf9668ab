# SPDX-License-Identifier: Apache-2.0
"""The network of carbon_flux: TAM-RL, a task encoder that modulates a forward LSTM, within physical bounds.

Photosynthesis and respiration are never negative, the one needs light and both need water, and the net flux is the
difference of the two.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, softplus

from torchscript_models.layers import Scaling, WaterSupply, fill_unknown, known_past

Closure = Literal["hard", "penalty"]

WINDOW: Final = 360  #: days that the emulator sees: a year, for its rain and for the task encoder
RECENT: Final = 45  #: the last of them, which the forward LSTM reads
MONTHS: Final = 12  #: means of thirty days, which the task encoder reads
RSDS, VPD, PR = 1, 2, 3  #: channels of the inputs: tas, rsds, vpd, pr, rsdt
HALF_LIGHT: Final = 100.0  #: daily mean of rsds [W m-2] at which photosynthesis reaches half of its capacity
HIDDEN: Final = 32
CODE: Final = 12  #: numbers that describe a site


class TaskEncoder(nn.Module):
    """A bidirectional LSTM over the months of a year: what kind of site this is, as a few numbers."""

    def __init__(self, n_inputs: int) -> None:
        super().__init__()
        self.inward = nn.Linear(n_inputs, HIDDEN)
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, batch_first=True, bidirectional=True)
        self.outward = nn.Linear(HIDDEN, CODE)

    def forward(self, months: Tensor) -> Tensor:
        """Return the code z of scaled months (N, 12, C), shape (N, CODE)."""
        _, (hidden, _) = self.lstm(leaky_relu(self.inward(months), 0.2))
        return self.outward(hidden[0] + hidden[1])


class Member(nn.Module):
    """One TAM-RL: its code modulates what goes into its forward LSTM, and by FiLM what comes out of it.

    Both modulations start as the identity. An LSTM without knowledge of its task is so trained first.
    """

    def __init__(self, n_inputs: int, n_rates: int, dropout: float) -> None:
        super().__init__()
        self.encoder = TaskEncoder(n_inputs)
        self.inward = nn.Linear(n_inputs, HIDDEN)
        self.modulation = nn.Linear(CODE, 2 * HIDDEN)
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.film = nn.Linear(CODE, 2 * HIDDEN)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(HIDDEN, n_rates)
        for layer in (self.modulation, self.film):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, months: Tensor, classes: Tensor, days: int) -> Tensor:
        """Return rates [g m-2 d-1] of the last `days` of x (N, T, C), shape (N, days, rates).

        Parameters
        ----------
        x, months : Tensor
            Scaled forcing of days, and of the twelve months (N, 12, C) that the code is made of.
        classes : Tensor
            Not used; a baseline of the same form takes the classes of the site.
        """
        return self.respond(x, self.encoder(months), days)

    def respond(self, x: Tensor, code: Tensor, days: int) -> Tensor:
        """Return rates from a code (N, CODE) that is known already."""
        scale, shift = self.modulation(code).unsqueeze(1).chunk(2, dim=2)
        hidden, _ = self.lstm((1.0 + scale) * self.inward(x) + shift)
        scale, shift = self.film(code).unsqueeze(1).chunk(2, dim=2)
        return 5.0 * self.head(self.dropout((1.0 + scale) * hidden[:, -days:] + shift))


class CarbonFlux(nn.Module):
    """Daily gpp, reco and nee from the weather of the last days, the year's climate, and the year's rain.

    The code of a cell is its state: it is made of the cell's own year, at first from what is known of it, every thirty
    days in the first year and once a year from then on.

    Parameters
    ----------
    samples : array, shape (n, 5)
        Training inputs, for the scaling.
    members : int
        Networks of the ensemble.
    closure : {"hard", "penalty"}
        Whether nee is reco - gpp, or a rate of its own that training holds near it.
    """

    def __init__(
        self, samples: NDArray[np.float32], members: int, closure: Closure = "hard", dropout: float = 0.3
    ) -> None:
        super().__init__()
        # a script knows no globals
        self.window, self.recent, self.months, self.code = WINDOW, RECENT, MONTHS, CODE
        self.rsds, self.half_light = RSDS, HALF_LIGHT
        self.is_hard = closure == "hard"
        self.scaling = Scaling(samples, logarithmic=(VPD, PR))
        self.water_supply = WaterSupply(RSDS, VPD, PR, watt=1.0, vpd_scale=12.0)
        n_rates = 2 if self.is_hard else 3
        self.members = nn.ModuleList(Member(samples.shape[1], n_rates, dropout) for _ in range(members))

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return gpp, reco, nee [g m-2 d-1] of the last day, shape (N, 3), and the new state.

        Parameters
        ----------
        inputs : Tensor, shape (N, 360, 5)
            tas [degC], rsds [W m-2], vpd [hPa], pr [kg m-2 d-1], rsdt [W m-2]; oldest day first.
        state : Tensor, shape (N, 1 + members * CODE)
            Days since the beginning, counted down by 360 after two years, and the codes.
        """
        _, supply, x = self.recent_past(inputs)
        day, codes = state[:, :1], state[:, 1:]
        is_due = (
            torch.remainder(day, torch.where(day < self.window, self.window / self.months, float(self.window))) == 0
        )
        with torch.no_grad():  # a host needs no gradients, and torch's LSTM is three times as fast without
            # The encoders run on the few days on which a code is due; a graph that is not scripted runs them always.
            if not torch.jit.is_scripting() or bool(is_due.any()):
                months = self.scaling(self.year(inputs))
                codes = torch.where(
                    is_due, torch.cat([member.encoder(months) for member in self.members], dim=1), codes
                )
            rates = torch.zeros(inputs.shape[0], 1, 2 if self.is_hard else 3, device=inputs.device)
            for index, member in enumerate(self.members):
                rates = rates + member.respond(x, codes[:, index * self.code : (index + 1) * self.code], 1)
        day = torch.where(day + 1 >= 2 * self.window, day + 1 - self.window, day + 1)
        fluxes = self.fluxes(rates / len(self.members), inputs, supply.unsqueeze(1))[:, 0]
        return fluxes, torch.cat([day, codes], dim=1)

    def recent_past(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return windows (N, 360, C), what their water sustains (N,), and their last days, scaled (N, 45, C)."""
        is_known, mean = known_past(inputs)
        recent = fill_unknown(inputs[:, -self.recent :], is_known[:, -self.recent :], mean)
        return inputs, self.water_supply(mean, is_known.sum(dim=1)), self.scaling(recent)

    def year(self, inputs: Tensor) -> Tensor:
        """Return the twelve means of thirty days of windows (N, 360, C), shape (N, 12, C)."""
        is_known, mean = known_past(inputs)
        days = fill_unknown(inputs, is_known, mean)
        return days.view(-1, self.months, self.window // self.months, inputs.shape[2]).mean(dim=2)

    def fluxes(self, rates: Tensor, inputs: Tensor, supply: Tensor) -> Tensor:
        """Return gpp, reco, nee of the days of `rates` (N, days, 2 or 3), shape (N, days, 3).

        Light limits photosynthesis as a rectangular hyperbola of the day's radiation; in polar night it is 0.

        Parameters
        ----------
        inputs : Tensor, shape (N, at least days, 5)
        supply : Tensor, shape (N, days)
            Share that the water of the last year sustains.
        """
        light = torch.clamp(inputs[:, -rates.shape[1] :, self.rsds], min=0.0)
        positive = softplus(rates[:, :, :2], beta=0.2)
        gpp = positive[:, :, 0] * supply * light / (light + self.half_light)
        reco = positive[:, :, 1] * supply
        nee = reco - gpp if self.is_hard else rates[:, :, 2] * supply
        return torch.stack([gpp, reco, nee], dim=2)
