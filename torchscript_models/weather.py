# SPDX-License-Identifier: Apache-2.0
"""Daily weather for sites of which only monthly means are known, borrowed from towers with similar months.

A network that sees days must be trained on days. A month keeps its own means; only the departures of its days from
them (differences for temperature, ratios for radiation, humidity and rain) are those of a month observed elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from torchscript_models.data import Array, MonthlySite, Tower
from torchscript_models.solar import potential_radiation

DAYS: Final = 30  #: days of a month here
NEIGHBOURS: Final = 30  #: similar tower months to choose from
MID_MONTH: Final = np.array([15.5, 45, 74.5, 105, 135.5, 166, 196.5, 227.5, 258, 288.5, 319, 349.5])
CLEAREST: Final = 0.85  #: highest share of rsdt that reaches the ground in a day


def daily_means(site: MonthlySite) -> Array:
    """Return tas [degC], rsds [W m-2], vpd [hPa], pr [kg m-2 d-1] of each month, shape (months, 4).

    The table holds the vapour pressure deficit at the daily maximum of temperature: at the towers that both tables
    share it is 1.5 times the daily mean. The saturation at minimum and maximum, less the vapour pressure, is the mean.
    """
    tasmin, tasmax, rsds, vpd_max, pr = site.forcing.T
    saturation_max = saturation(tasmax)
    vpd = 0.5 * (saturation(tasmin) + saturation_max) - (saturation_max - vpd_max)
    return np.column_stack([0.5 * (tasmin + tasmax), rsds / 0.0864, np.maximum(vpd, 0.1), pr]).astype(np.float32)


def saturation(tas: Array) -> Array:
    """Return the saturation vapour pressure [hPa] over water at `tas` [degC] (Murray 1967)."""
    return np.asarray(6.1078 * np.exp(17.27 * tas / (tas + 237.3)), np.float32)


class BorrowedWeather:
    """Months of daily weather, to be borrowed.

    Parameters
    ----------
    towers : iterable of Tower
        Lenders; in cross-validation only towers that are trained on.
    """

    def __init__(self, towers: Iterable[Tower]) -> None:
        anomalies, climates = [], []
        for tower in towers:
            month = tower.days.year * 12 + tower.days.month
            for start in np.flatnonzero(np.diff(month, prepend=0)):
                days = tower.forcing[start : start + DAYS, :4]
                if len(days) == DAYS:
                    mean = days.mean(axis=0)
                    anomalies.append(np.column_stack([days[:, 0] - mean[0], _ratios(days[:, 1:], mean[1:])]))
                    climates.append(mean)
        self._anomalies = np.array(anomalies, np.float32)
        self._months = KDTree(_similarity_space(np.array(climates)))

    def similar(self, months: Array) -> NDArray[np.int64]:
        """Return the most similar tower months of each month (n, 4), shape (n, NEIGHBOURS)."""
        return np.asarray(self._months.query(_similarity_space(months), NEIGHBOURS)[1])

    def anomalies(self, similar: NDArray[np.int64], rng: np.random.Generator) -> Array:
        """Return departures of daily weather, drawn from similar months (..., NEIGHBOURS): (..., DAYS, 4)."""
        chosen = rng.integers(NEIGHBOURS, size=(*similar.shape[:-1], 1))
        return self._anomalies[np.take_along_axis(similar, chosen, axis=-1)[..., 0]]


def _ratios(days: Array, mean: Array) -> Array:
    """Return days / mean, and 1 where a month has (nearly) none of a quantity."""
    return np.where(mean > 0.02, days / np.maximum(mean, 0.02), 1.0)


def _similarity_space(months: Array) -> Array:
    """Return tas, rsds, vpd, pr on scales on which equal distances look equally different."""
    tas, rsds, vpd, pr = months.T
    return np.column_stack([tas / 10, rsds / 80, np.log1p(vpd), 1.5 * np.log1p(pr)]).astype(np.float32)


class MonthlySequences:
    """Daily forcing of the year and a month up to the end of each observed month of the given sites.

    Attributes
    ----------
    site : list of str
        Site of each sequence.
    means : array, shape (n, 5)
        Mean forcing of the twelve months that end with the observed one.
    fluxes : array, shape (n, 3)
        Observed gpp, reco, nee of the last month.
    month : array, shape (n,)
        Its month of the year, 1 to 12.
    """

    MONTHS: Final = 13

    def __init__(self, sites: Iterable[MonthlySite], weather: BorrowedWeather) -> None:
        self.site: list[str] = []
        daily, rsdt, similar, means, observed, month = [], [], [], [], [], []
        for site in sites:
            monthly = daily_means(site)
            neighbours = weather.similar(monthly)
            for last in np.flatnonzero(is_usable(site)):
                past = np.arange(last - self.MONTHS + 1, last + 1)
                day = (
                    MID_MONTH[site.months[last] % 100 - 1] + DAYS * (0.5 - self.MONTHS) + np.arange(DAYS * self.MONTHS)
                )
                self.site.append(site.site)
                daily.append(_interpolated(monthly, past))
                rsdt.append(potential_radiation(site.lat, (day / 365.25) % 1.0))
                similar.append(neighbours[past])
                means.append([*monthly[past[1:]].mean(axis=0), rsdt[-1][DAYS:].mean()])
                observed.append(site.fluxes[last])
                month.append(site.months[last] % 100)
        self._weather = weather
        self._daily = np.array(daily, np.float32)
        self._rsdt = np.array(rsdt, np.float32)
        self._similar = np.array(similar)
        self.means = np.array(means, np.float32)
        self.fluxes = np.array(observed, np.float32)
        self.month = np.array(month)

    def draw(self, months: int, rng: np.random.Generator) -> Array:
        """Return one possible daily forcing of the last `months` of all sequences, shape (n, days, 5)."""
        means, rsdt = self._daily[:, -months * DAYS :], self._rsdt[:, -months * DAYS :]
        anomalies = self._weather.anomalies(self._similar[:, -months:], rng).reshape(means.shape)
        tas = means[:, :, 0] + anomalies[:, :, 0]
        rsds, vpd, pr = np.moveaxis(means[:, :, 1:] * anomalies[:, :, 1:], 2, 0)
        return np.stack([tas, np.minimum(rsds, CLEAREST * rsdt), vpd, pr, rsdt], axis=2)


def is_usable(site: MonthlySite) -> NDArray[np.bool_]:
    """Return which months have observed fluxes, and weather of more than a year behind them."""
    usable = np.isfinite(site.fluxes).all(axis=1)
    usable[: MonthlySequences.MONTHS - 1] = False
    return usable


def _interpolated(monthly: Array, past: NDArray[np.int64]) -> Array:
    """Return daily values in the months `past`, shape (days, 4): constant for rain, else between their centres."""
    place = past[0] + (np.arange(len(past) * DAYS) + 0.5) / DAYS - 0.5
    before = np.floor(place).astype(int)
    weight = (place - before)[:, None]
    after = np.minimum(before + 1, len(monthly) - 1)
    values = monthly[np.maximum(before, 0)] * (1.0 - weight) + monthly[after] * weight
    values[:, 3] = np.repeat(monthly[past, 3], DAYS)
    return values
