# SPDX-License-Identifier: Apache-2.0
"""A baseline of carbon_flux: the LSTM that is told the vegetation class and the climate of its site (CT-LSTM)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchscript_models.carbon_flux.network import HIDDEN


class ClassLstm(nn.Module):
    """Like a `Member` of carbon_flux, but the classes of the site stand in for the code of its year."""

    def __init__(self, n_inputs: int, n_classes: int, n_rates: int, dropout: float = 0.3) -> None:
        super().__init__()
        self.inward = nn.Linear(n_inputs + n_classes, HIDDEN)
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(HIDDEN, n_rates)

    def forward(self, x: Tensor, months: Tensor, classes: Tensor, days: int) -> Tensor:
        """Return rates of the last `days`; arguments as those of a `Member`, `months` are not used."""
        x = torch.cat([x, classes.unsqueeze(1).expand(-1, x.shape[1], -1)], dim=2)
        hidden, _ = self.lstm(self.inward(x))
        return 5.0 * self.head(self.dropout(hidden[:, -days:]))
