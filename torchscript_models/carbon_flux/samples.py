# SPDX-License-Identifier: Apache-2.0
"""Training samples of carbon_flux: stretches of tower days, cut from whole records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from torchscript_models.carbon_flux.network import RECENT, WINDOW
from torchscript_models.data import Array, Tower
from torchscript_models.layers import WaterSupply

SCORED: Final = 30  #: last days of a training sequence, on which it is scored
LENGTH: Final = RECENT - 1 + SCORED  #: days of a training sequence: the first scored day has a full past
GOOD: Final = 0.5  #: quality above which a day is scored in tests
USABLE: Final = 0.3  #: quality from which a day is trained on, weighted by its quality
#: |nee - (reco - gpp)| [g m-2 d-1] above which the fluxes of a day contradict each other: it is not trained on
CONTRADICTION: Final = 2.0


class TowerSequences:
    """Sequences of days from towers, each tower's with weights that fall with the square root of its record."""

    def __init__(self, towers: Iterable[Tower], water_supply: WaterSupply) -> None:
        self._towers = list(towers)
        self.site: list[str] = []  #: of each sequence of the last draw
        self._supply = [supply_of_days(tower.forcing, water_supply) for tower in self._towers]
        records = np.array([max((tower.quality > GOOD).sum(), 60) for tower in self._towers])
        self._weights = np.sqrt(records.mean() / records)

    def draw(self, first_day: int) -> tuple[Array, Array, Array, Array]:
        """Return all sequences that follow each other; the first one ends `first_day` days after it could.

        Returns
        -------
        inputs : array, shape (n, LENGTH, 5)
        supply : array, shape (n, SCORED)
            Share that the water of the last year sustains.
        fluxes : array, shape (n, SCORED, 3)
        weights : array, shape (n, SCORED)
        """
        self.site = []
        parts: list[list[Array]] = [[], [], [], []]
        for tower, supply, weight in zip(self._towers, self._supply, self._weights, strict=True):
            gpp, reco, nee = tower.fluxes.T
            is_usable = (tower.quality >= USABLE) & (np.abs(nee - (reco - gpp)) <= CONTRADICTION)
            quality = np.where(is_usable, tower.quality, 0.0)
            for end in range(LENGTH + first_day, len(tower.days) + 1, SCORED):
                scored = slice(end - SCORED, end)
                self.site.append(tower.site)
                values = (
                    tower.forcing[end - LENGTH : end],
                    supply[scored],
                    tower.fluxes[scored],
                    weight * quality[scored],
                )
                for part, value in zip(parts, values, strict=True):
                    part.append(value)
        inputs, supply, fluxes, weights = (np.array(part, np.float32) for part in parts)
        return inputs, supply, fluxes, weights


def supply_of_days(forcing: Array, water_supply: WaterSupply) -> Array:
    """Return, for each day of a record (T, C), what the water of its last year sustains; shape (T,)."""
    total = np.cumsum(np.concatenate([np.zeros((1, forcing.shape[1])), forcing]), axis=0)
    days = np.arange(1, len(forcing) + 1)
    known = np.minimum(days, WINDOW)
    mean = (total[days] - total[days - known]) / known[:, None]
    return np.asarray(water_supply(torch.tensor(mean, dtype=torch.float32), torch.tensor(known)).numpy())


def windows(forcing: Array) -> NDArray[np.float32]:
    """Return the window of each day of a record (T, C), filled as the plugin does; a view, shape (T, WINDOW, C)."""
    filled = np.concatenate([np.repeat(forcing[:1], WINDOW - 1, axis=0), forcing])
    return np.lib.stride_tricks.sliding_window_view(filled, WINDOW, axis=0).transpose(0, 2, 1)
