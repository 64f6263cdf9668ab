# SPDX-License-Identifier: Apache-2.0
"""The five main climates of Koeppen, from months of temperature and rain: for weights and for baselines."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

MAIN_CLIMATES: Final = "ABCDE"  #: tropical, arid, temperate, continental, polar


def main_climate(tas: NDArray[np.floating], pr: NDArray[np.floating]) -> str:
    """Return the main climate of a year of months.

    Parameters
    ----------
    tas, pr : array, shape (12,)
        Temperature [degC] and rain [kg m-2 d-1]; the order of the months does not matter.

    References
    ----------
    Peel et al. (2007), Hydrol. Earth Syst. Sci. 11, 1633, table 1.
    """
    rain = 30.4 * np.asarray(pr)
    is_summer = np.zeros(12, bool)
    is_summer[np.argsort(tas, kind="stable")[6:]] = True
    share = rain[is_summer].sum() / max(rain.sum(), 1e-6)
    dryness = 2.0 * np.mean(tas) + (28.0 if share >= 0.7 else 0.0 if share <= 0.3 else 14.0)
    if np.max(tas) < 10.0:
        return "E"
    if rain.sum() < 10.0 * dryness:
        return "B"
    coldest = np.min(tas)
    return "A" if coldest >= 18.0 else "C" if coldest > 0.0 else "D"
