# SPDX-License-Identifier: Apache-2.0
"""Potential solar radiation at the towers, by the formulae with which the plugin derives `rsdt` for a host."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

SOLAR_CONSTANT: Final = 1361.0  #: W m-2 (Kopp and Lean 2011, doi 10.1029/2010GL045777)


def potential_radiation(lat: ArrayLike, year_phase: ArrayLike) -> NDArray[np.float64]:
    """Return the daily mean of shortwave radiation at the top of the atmosphere [W m-2].

    Parameters
    ----------
    lat : array
        Latitude [degrees_north].
    year_phase : array
        Share of the year that has passed at the middle of the day, in [0, 1).

    References
    ----------
    Spencer, J. W. (1971): Fourier series representation of the position of the sun. Search 2, 172.
    """
    x = 2.0 * np.pi * np.asarray(year_phase)
    declination = (
        0.006918 - 0.399912 * np.cos(x) + 0.070257 * np.sin(x) - 0.006758 * np.cos(2 * x)
        + 0.000907 * np.sin(2 * x) - 0.002697 * np.cos(3 * x) + 0.001480 * np.sin(3 * x)
    )  # fmt: skip
    distance_factor = (
        1.000110 + 0.034221 * np.cos(x) + 0.001280 * np.sin(x) + 0.000719 * np.cos(2 * x) + 0.000077 * np.sin(2 * x)
    )
    phi = np.deg2rad(np.asarray(lat))
    half_day = np.arccos(np.clip(-np.tan(phi) * np.tan(declination), -1.0, 1.0))
    cos_zenith = np.sin(phi) * np.sin(declination) * half_day + np.cos(phi) * np.cos(declination) * np.sin(half_day)
    return np.asarray(SOLAR_CONSTANT * distance_factor * np.maximum(cos_zenith, 0.0) / np.pi)
