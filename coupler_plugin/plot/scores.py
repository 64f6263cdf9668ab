# SPDX-License-Identifier: Apache-2.0
"""How near emulated values are to observed ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coupler_plugin.plot.results import Values


@dataclass(frozen=True)
class Score:
    """Scores over pairs of observed and emulated values.

    Attributes
    ----------
    n : int
        Pairs.
    rmse, mae, bias : float
        In the units of the values; the bias is emulated minus observed.
    r2 : float
        1 - squared error over variance.
    correlation : float
    spread : float
        Standard deviation of the emulated values over that of the observed ones.
    """

    n: int
    rmse: float
    r2: float
    mae: float
    bias: float
    correlation: float
    spread: float


def score(observed: Values, emulated: Values) -> Score:
    """Return the scores over all places where both have a value; NaN where fewer than three have."""
    both = np.isfinite(observed) & np.isfinite(emulated)
    x, y = observed[both], emulated[both]
    if x.size < 3:
        nan = float("nan")
        return Score(int(x.size), nan, nan, nan, nan, nan, nan)
    error = y - x
    square, variance = float(np.mean(error**2)), float(np.var(x))
    sx, sy = float(np.std(x)), float(np.std(y))
    return Score(
        n=int(x.size),
        rmse=square**0.5,
        r2=1.0 - square / variance if variance > 0 else float("nan"),
        mae=float(np.mean(np.abs(error))),
        bias=float(np.mean(error)),
        correlation=float(np.mean((x - x.mean()) * (y - y.mean())) / (sx * sy)) if sx * sy > 0 else float("nan"),
        spread=sy / sx if sx > 0 else float("nan"),
    )
