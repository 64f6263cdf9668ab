# SPDX-License-Identifier: Apache-2.0
"""Years of daily weather as the world has them, made by rule: what the emulators say of them can be judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

DAYS = 360


@dataclass(frozen=True)
class Climate:
    """Means and seasons; the warmest day is the 200th on the northern hemisphere."""

    lat: float
    tas: float  # annual mean [degC]
    season: float  # half of the difference of warmest and coldest month [K]
    pr: float  # [kg m-2 d-1]
    humidity: float  # vapour pressure over saturation [1]
    clearness: float  # rsds / rsdt [1]
    rainy_season: float = 0.0  # 0: all year; 1: half of the year is dry
    diurnal: float = 5.0  # half of the daily range of temperature [K]


CLIMATES = {
    "rainforest": Climate(-3.0, 26.5, 0.7, 7.0, 0.83, 0.48),
    "savanna": Climate(10.0, 27.0, 2.5, 3.0, 0.6, 0.58, rainy_season=1.0),
    "desert": Climate(24.0, 24.0, 9.0, 0.02, 0.25, 0.72, diurnal=8.0),
    "steppe": Climate(45.0, 4.0, 18.0, 0.8, 0.55, 0.58, diurnal=7.0),
    "temperate": Climate(50.0, 9.5, 9.0, 2.0, 0.76, 0.43),
    "boreal": Climate(62.0, -2.0, 17.0, 1.4, 0.75, 0.45),
    "tundra": Climate(73.0, -14.0, 18.0, 0.7, 0.85, 0.5),
}


def potential_radiation(lat: float, day: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rsdt [W m-2] by a circular orbit: close enough to make weather of."""
    declination = np.deg2rad(23.44) * np.cos(2 * np.pi * (day - 172) / DAYS)
    phi = np.deg2rad(lat)
    half = np.arccos(np.clip(-np.tan(phi) * np.tan(declination), -1.0, 1.0))
    mean = np.sin(phi) * np.sin(declination) * half + np.cos(phi) * np.cos(declination) * np.sin(half)
    return 1361.0 / np.pi * np.maximum(mean, 0.0)


def weather(climate: Climate, first_day: int = 0, days: int = DAYS, seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """Return days of weather: tas, tasmin, tasmax [degC], rsds, rsdt [W m-2], vpd, vpd_max [hPa], pr [kg m-2 d-1]."""
    rng = np.random.default_rng(seed)
    day = (first_day + np.arange(days)) % DAYS
    is_north = climate.lat >= 0
    phase = np.cos(2 * np.pi * (day - (200 if is_north else 20)) / DAYS)
    is_rainy_season = phase > 0 if climate.rainy_season else np.ones(days, bool)
    rains = (rng.random(days) < 0.4) & is_rainy_season
    pr = rains * rng.exponential(1.0, days) * climate.pr / (0.4 * (0.5 if climate.rainy_season else 1.0))
    tas = climate.tas + climate.season * phase + 2.5 * rng.standard_normal(days)
    rsdt = potential_radiation(climate.lat, day)
    rsds = rsdt * np.clip(climate.clearness * np.where(rains, 0.7, 1.15) + 0.05 * rng.standard_normal(days), 0.1, 0.8)
    vapour = climate.humidity * _saturation(tas)
    tasmin, tasmax = tas - climate.diurnal, tas + climate.diurnal
    return {
        "tas": tas,
        "tasmin": tasmin,
        "tasmax": tasmax,
        "rsds": rsds,
        "rsdt": rsdt,
        "vpd": np.maximum(0.5 * (_saturation(tasmin) + _saturation(tasmax)) - vapour, 0.0),
        "vpd_max": np.maximum(_saturation(tasmax) - vapour, 0.0),
        "pr": pr,
    }


def _saturation(tas: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(6.1078 * np.exp(17.27 * tas / (tas + 237.3)))


def inputs_of(emulator: str, days: dict[str, NDArray[np.float64]]) -> torch.Tensor:
    """Return the channels of an emulator, shape (days, C)."""
    channels = {
        "carbon_flux": [days["tas"], days["rsds"], days["vpd"], days["pr"], days["rsdt"]],
        "leaf_area_index": [
            days["tasmin"], days["tasmax"], 0.0864 * days["rsds"], days["vpd_max"], days["pr"],
            np.full_like(days["pr"], 380.0),
        ],
    }[emulator]  # fmt: skip
    return torch.tensor(np.stack(channels, axis=1), dtype=torch.float32)


def year(emulator: str, climate: str, every: int = 5) -> torch.Tensor:
    """Return the windows of a year after a year of spin-up, one every `every` days: shape (n, 360, C)."""
    series = inputs_of(emulator, weather(CLIMATES[climate], days=2 * DAYS))
    return torch.stack([series[end - DAYS : end] for end in range(DAYS, 2 * DAYS, every)])


def cold_start(emulator: str, climate: str, first_day: int, known: int) -> torch.Tensor:
    """Return the window of a run that began `known` days ago, filled as the plugin does: shape (1, 360, C)."""
    series = inputs_of(emulator, weather(CLIMATES[climate], first_day, days=known))
    return torch.cat([series[:1].expand(DAYS - known, -1), series]).unsqueeze(0)
