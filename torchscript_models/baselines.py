# SPDX-License-Identifier: Apache-2.0
"""What an emulator must beat: mean seasonal cycles, and gradient-boosted trees on the same meteorology."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor


def season(month: NDArray[np.int64], lat: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the month of the year, 0 to 11, shifted by half a year on the southern hemisphere."""
    return np.asarray((month - 1 + np.where(lat < 0, 6, 0)) % 12)


def season_features(month: NDArray[np.int64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sine and cosine of the season, shape (n, 2)."""
    phase = 2 * np.pi * season(month, lat) / 12
    return np.column_stack([np.sin(phase), np.cos(phase)])


def climatology(train: pd.DataFrame, test: pd.DataFrame, targets: list[str], by: list[str]) -> np.ndarray:
    """Return the mean over the training rows with the same values in the columns `by`.

    Combinations that the training rows lack get the mean over all rows with the same first column.
    """
    means = train.groupby(by)[targets].mean()
    coarse = train.groupby(by[0])[targets].mean().reindex(test[by[0]]).fillna(train[targets].mean())
    keys = pd.MultiIndex.from_frame(test[by]) if len(by) > 1 else test[by[0]]
    return np.where(np.isfinite(fine := means.reindex(keys).to_numpy()), fine, coarse.to_numpy())


def boosted_trees(
    train: NDArray[np.float64],
    observed: pd.DataFrame,
    test: NDArray[np.float64],
    *,
    samples_per_leaf: int,
    categories: tuple[int, ...] = (),
) -> np.ndarray:
    """Fit gradient-boosted trees to each column of `observed`; return their answers for `test`."""
    answers = []
    for target in observed:
        trees = HistGradientBoostingRegressor(
            max_iter=200,
            learning_rate=0.05,
            min_samples_leaf=samples_per_leaf,
            l2_regularization=1.0,
            categorical_features=list(categories) or None,
            random_state=0,
        )
        answers.append(trees.fit(train, observed[target]).predict(test))
    return np.column_stack(answers)
