# SPDX-License-Identifier: Apache-2.0
"""Scores of predictions: pooled over all samples, and the median of the scores of single sites."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

#: a site with fewer samples has no score of its own
_FEWEST: Final = 10
_DIGITS: Final = 3


def score(observed: pd.Series, predicted: pd.Series) -> dict[str, float]:
    """Return rmse, r2 (1 - squared error over variance), mae and bias (predicted - observed).

    Raises
    ------
    ValueError
        When a value is not finite: pandas would leave it out, and score the others.
    """
    error = predicted - observed
    if wrong := int((~np.isfinite(error)).sum()):
        raise ValueError(
            f"{wrong} of {len(error)} errors of '{predicted.name}' are not finite: a score without them would not be "
            "that of the samples of the others; look for NaN in its answers and in the observations."
        )
    variance = float(((observed - observed.mean()) ** 2).mean())
    mean_square = float((error**2).mean())
    return {
        "rmse": mean_square**0.5,
        "r2": 1.0 - mean_square / variance if variance > 0 else float("nan"),
        "mae": float(error.abs().mean()),
        "bias": float(error.mean()),
    }


def site_scores(table: pd.DataFrame, observed: str, predicted: str) -> pd.DataFrame:
    """Return the scores of each site with enough samples, indexed by site."""
    rows = {
        site: score(samples[observed], samples[predicted])
        for site, samples in table.groupby("site")
        if len(samples) >= _FEWEST
    }
    return pd.DataFrame(rows).T


def summary(table: pd.DataFrame, observed: str, predicted: str) -> dict[str, Any]:
    """Return the pooled scores, and under `site_median` the medians over sites, rounded for a file."""
    medians = site_scores(table, observed, predicted).median()
    return _rounded(score(table[observed], table[predicted])) | {"site_median": _rounded(dict(medians))}


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: float(np.round(value, _DIGITS)) for name, value in scores.items()}


def mean(runs: list[Any]) -> Any:
    """Return the mean of the scores of several runs, which are alike in form; what is no score is that of the first."""
    first = runs[0]
    if isinstance(first, dict):
        return {key: mean([run[key] for run in runs]) for key in first}
    if isinstance(first, list):
        return [mean(list(values)) for values in zip(*runs, strict=True)]
    return float(f"{np.mean(runs):.6g}") if isinstance(first, float) else first
