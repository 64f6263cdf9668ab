# SPDX-License-Identifier: Apache-2.0
"""What training knows of a site besides its days: years of months for the task encoder, its classes, its weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd

from torchscript_models.carbon_flux.network import MONTHS
from torchscript_models.climate_class import MAIN_CLIMATES, main_climate
from torchscript_models.data import Array, MonthlySite, Tower
from torchscript_models.solar import potential_radiation
from torchscript_models.weather import DAYS, MID_MONTH, daily_means

VEGETATION: Final = (
    "CRO", "CSH", "CVM", "DBF", "DNF", "EBF", "ENF", "GRA", "MF", "OSH", "SAV", "SNO", "URB", "WAT", "WET", "WSA",
)  # fmt: skip
N_CLASSES: Final = len(VEGETATION) + len(MAIN_CLIMATES)
#: a rare class counts at most so many times as much as on average, a frequent one at least by the inverse of it
LARGEST_WEIGHT: Final = 2.0


class Sites:
    """Climates and classes of sites.

    Parameters
    ----------
    towers, monthly : mapping
        By name; a site that is in both is a tower.

    Attributes
    ----------
    climate : Series
        Main climate of each site.
    """

    def __init__(self, towers: Mapping[str, Tower], monthly: Mapping[str, MonthlySite]) -> None:
        self._sums = {name: _sums(tower.forcing) for name, tower in towers.items()}
        self._months = {name: _months(site) for name, site in monthly.items() if name not in towers}
        self._igbp = {name: site.igbp for name, site in (*monthly.items(), *towers.items())}
        rng = np.random.default_rng(0)
        names = [*self._sums, *self._months]
        means = {name: self.year(name, rng) for name in names}
        self.climate = pd.Series({name: main_climate(year[:, 0], year[:, 3]) for name, year in means.items()})

    def year(self, site: str, rng: np.random.Generator) -> Array:
        """Return the months of any year of a site, beginning at any time of it, shape (12, 5).

        Months after the end of a record of less than a year hold the mean of the others.
        """
        if site in self._months:
            first = rng.integers(len(self._months[site]) - MONTHS + 1)
            return self._months[site][first : first + MONTHS]
        sums = self._sums[site]
        length = MONTHS * DAYS
        first = rng.integers(max(len(sums) - length, 1))
        marks = np.minimum(first + DAYS * np.arange(MONTHS + 1), len(sums) - 1)
        days = np.diff(marks)[:, None]
        months = np.diff(sums[marks], axis=0) / np.maximum(days, 1)
        return np.where(days > 0, months, sums[-1] / (len(sums) - 1)).astype(np.float32)

    def years(self, sites: Sequence[str], rng: np.random.Generator) -> Array:
        """Return one year of each of `sites`, shape (n, 12, 5)."""
        return np.stack([self.year(site, rng) for site in sites])

    def classes(self, sites: Sequence[str]) -> Array:
        """Return vegetation class and main climate of each of `sites` as ones among zeros, shape (n, N_CLASSES)."""
        known = {site: self._classes(site) for site in set(sites)}
        return np.stack([known[site] for site in sites])

    def _classes(self, site: str) -> Array:
        code = np.zeros(N_CLASSES, np.float32)
        if self._igbp[site] in VEGETATION:
            code[VEGETATION.index(self._igbp[site])] = 1.0
        code[len(VEGETATION) + MAIN_CLIMATES.index(self.climate[site])] = 1.0
        return code

    def weights(self, sites: Sequence[str]) -> Array:
        """Return how much each sample counts, from the vegetation classes and climates of all samples; shape (n,).

        Each class would count alike with the inverse of its frequency as weight. With a few sites in a class that is
        noise: the root of the product of both weights is taken, within bounds.
        """
        table = pd.DataFrame({"igbp": [self._igbp[s] for s in sites], "climate": self.climate.loc[list(sites)].array})
        product = np.ones(len(table))
        for column in table:
            counts = table[column].value_counts()
            product *= len(table) / (len(counts) * counts.loc[table[column]].to_numpy())
        return np.clip(np.sqrt(product), 1.0 / LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.float32)


def _sums(forcing: Array) -> Array:
    return np.concatenate([np.zeros((1, forcing.shape[1])), np.cumsum(forcing, axis=0, dtype=np.float64)])


def _months(site: MonthlySite) -> Array:
    month = site.months % 100
    rsdt = potential_radiation(site.lat, MID_MONTH[month - 1] / 365.25)
    return np.column_stack([daily_means(site), rsdt]).astype(np.float32)
