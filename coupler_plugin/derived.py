# SPDX-License-Identifier: Apache-2.0
"""Inputs that emulators ask for and no host should have to give: season, day length, sun, position.

All follow from the clock and the cells' coordinates. A window's value is taken at its middle; the sun's is the mean
over the window's hours, in closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from coupler_plugin.cells import Cells, Values
from coupler_plugin.clock import Clock

SOLAR_CONSTANT: Final = 1361.0  #: W m-2 (Kopp and Lean 2011, doi 10.1029/2010GL045777)
_DAY: Final = 86_400_000_000  # microseconds
_HARMONICS: Final = np.array([1.0, 2.0, 3.0])


class Sun:
    """The sun over the cells in a window of time, after Spencer (1971).

    Parameters
    ----------
    clock : Clock
    cells : Cells
    begin, end : int
        The window [microseconds since 0001-01-01].
    """

    def __init__(self, clock: Clock, cells: Cells, begin: int, end: int) -> None:
        self.phase = x = 2.0 * np.pi * clock.year_phase((begin + end) // 2)
        self._cells = cells
        self._begin, self._end = begin, end
        (c1, c2, c3), (s1, s2, s3) = (wave(_HARMONICS * x).tolist() for wave in (np.cos, np.sin))
        #: declination [rad]
        self.declination = (
            0.006918 - 0.399912 * c1 + 0.070257 * s1 - 0.006758 * c2 + 0.000907 * s2 - 0.002697 * c3 + 0.001480 * s3
        )
        #: (mean distance / distance to the sun) squared [1]
        self.distance_factor = 1.000110 + 0.034221 * c1 + 0.001280 * s1 + 0.000719 * c2 + 0.000077 * s2

    def half_day(self) -> Values:
        """Return the hour angle of sunset [rad]: 0 in polar night, pi in polar day; shape (n,)."""
        cosine = self._cells.tan_lat * -np.tan(self.declination)
        np.maximum(np.minimum(cosine, 1.0, out=cosine), -1.0, out=cosine)
        half: Values = np.arccos(cosine, out=cosine)
        return half

    def mean_cos_zenith(self) -> Values:
        """Return the mean over the window of the cosine of the zenith angle, 0 at night; shape (n,)."""
        half = self.half_day()
        a = self._cells.sin_lat * np.sin(self.declination)
        b = self._cells.cos_lat * np.cos(self.declination)
        length = self._end - self._begin
        if length >= _DAY:
            mean: Values = np.maximum(a * half + b * np.sin(half), 0.0) / np.pi
            return mean
        # Hour angle of the begin, brought to [-pi, pi): the window then reaches at most once past midnight.
        first = (self._begin % _DAY) / _DAY * 2 * np.pi - np.pi + np.deg2rad(self._cells.lon)
        first = (first + np.pi) % (2 * np.pi) - np.pi
        last = first + length / _DAY * 2 * np.pi
        total: Values = _integral(a, b, first, last, half) + _integral(a, b, first - 2 * np.pi, last - 2 * np.pi, half)
        part: Values = np.maximum(total, 0.0) / (last - first)
        return part


def _integral(a: Values, b: Values, first: Values, last: Values, half: Values) -> Values:
    """Return the integral of a + b cos(h) over the part of [first, last] between sunrise and sunset."""
    first, last = np.clip(first, -half, half), np.clip(last, -half, half)
    integral: Values = a * (last - first) + b * (np.sin(last) - np.sin(first))
    return integral


Derived = Callable[[Sun, Cells], Values | float]

#: name -> (units, function of the sun and the cells)
DERIVED: Final[dict[str, tuple[str, Derived]]] = {
    "day_of_year_sin": ("1", lambda sun, cells: np.sin(sun.phase)),
    "day_of_year_cos": ("1", lambda sun, cells: np.cos(sun.phase)),
    "day_length": ("h", lambda sun, cells: sun.half_day() * 24.0 / np.pi),
    "cos_zenith": ("1", lambda sun, cells: sun.mean_cos_zenith()),
    "rsdt": ("W m-2", lambda sun, cells: SOLAR_CONSTANT * sun.distance_factor * sun.mean_cos_zenith()),
    "latitude": ("degrees_north", lambda sun, cells: cells.lat),
    "longitude": ("degrees_east", lambda sun, cells: cells.lon),
}
