# SPDX-License-Identifier: Apache-2.0
"""The network of biomass_plots: perceptrons on what temperatures, elevation and position say of a forest."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from torchscript_models.layers import Scaling

MONTHS: Final = 12
LARGEST: Final = 600.0  #: biomass that no answer exceeds [t ha-1]: 0.7 % of the plots hold more
CARBON: Final = 0.47  #: carbon in dry wood (IPCC 2006, volume 4, table 4.3)


class Member(nn.Module):
    """One perceptron with two hidden layers: scaled features to biomass."""

    def __init__(self, n_features: int, hidden: int = 32, dropout: float = 0.2) -> None:
        super().__init__()
        self.first = nn.Linear(n_features, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return biomass [t ha-1] of scaled features (N, F), shape (N, 1)."""
        x = silu(self.second(self.dropout(silu(self.first(x)))))
        return 100.0 * softplus(self.head(x))


class BiomassPlots(nn.Module):
    """Above-ground biomass and the carbon in it.

    Parameters
    ----------
    samples : array, shape (n, F)
        Features of the training plots, for the scaling.
    members : int
        Networks of the ensemble.
    """

    def __init__(self, samples: NDArray[np.float32], members: int) -> None:
        super().__init__()
        self.largest, self.carbon = LARGEST, 0.1 * CARBON  # a script knows no globals; 1 t ha-1 is 0.1 kg m-2
        self.scaling = Scaling(samples)
        self.members = nn.ModuleList(Member(samples.shape[1]) for _ in range(members))

    def forward(self, inputs: Tensor, static: Tensor) -> Tensor:
        """Return biomass [t ha-1] and the carbon in it [kg m-2], shape (N, 2).

        Parameters
        ----------
        inputs : Tensor, shape (N, 2)
            Latitude [degrees_north], longitude [degrees_east].
        static : Tensor, shape (N, 13)
            Normals of temperature [degC] of the twelve months, elevation [m].
        """
        x = self.scaling(features(inputs, static))
        total = torch.zeros(inputs.shape[0], 1, device=inputs.device)
        for member in self.members:
            total = total + member(x)
        biomass = torch.clamp(total / len(self.members), max=self.largest)
        return torch.cat([biomass, self.carbon * biomass], dim=1)


def features(place: Tensor, static: Tensor) -> Tensor:
    """Return what the networks see, shape (N, 9).

    Mean of the year, of its coldest and warmest quarter, and warmth above 5 degC [degC]; elevation [m]; distance from
    the equator [degrees]; the place on a unit sphere, which has no seam at the date line.
    """
    normals, elevation = static[:, :12], static[:, 12:]
    ordered = normals.sort(dim=1).values
    climate = [
        normals.mean(dim=1, keepdim=True),
        ordered[:, :3].mean(dim=1, keepdim=True),
        ordered[:, 9:].mean(dim=1, keepdim=True),
        torch.clamp(normals - 5.0, min=0.0).mean(dim=1, keepdim=True),
    ]
    lat, lon = torch.deg2rad(place[:, :1]), torch.deg2rad(place[:, 1:])
    sphere = [torch.cos(lat) * torch.cos(lon), torch.cos(lat) * torch.sin(lon), torch.sin(lat)]
    return torch.cat(climate + [elevation, place[:, :1].abs()] + sphere, dim=1)
