# SPDX-License-Identifier: Apache-2.0
"""How maps of classes are judged: pixel by pixel, and by the shares that a host's cell would get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

CELL: Final = 32  #: pixels along each axis over which shares are compared
_DIGITS: Final = 4

Numbers = NDArray[np.integer]


def judge(truth: Numbers, found: Numbers, classes: Sequence[str]) -> dict[str, Any]:
    """Return the scores of class numbers, shape (n, rows, columns).

    Returns
    -------
    dict
        `accuracy`: share of pixels that are right; `mean_iou` over all classes; `precision`, `recall` and `f1`: means
        over the classes but the first, the background; `share_error`: mean absolute error of the share of a class in a
        cell of 32 x 32 pixels; `iou` of each class.
    """
    n = len(classes)
    confusion = np.bincount(
        truth.reshape(-1).astype(np.int64) * n + found.reshape(-1).astype(np.int64), minlength=n * n
    ).reshape(n, n)
    hits, of_truth, of_found = np.diagonal(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    iou = hits / np.maximum(of_truth + of_found - hits, 1)
    precision, recall = hits / np.maximum(of_found, 1), hits / np.maximum(of_truth, 1)
    f1 = 2 * hits / np.maximum(of_truth + of_found, 1)
    values = {
        "accuracy": hits.sum() / confusion.sum(),
        "mean_iou": iou.mean(),
        "precision": precision[1:].mean(),
        "recall": recall[1:].mean(),
        "f1": f1[1:].mean(),
        "share_error": np.mean([np.abs(_shares(truth == k) - _shares(found == k)).mean() for k in range(n)]),
    }
    scores: dict[str, Any] = {name: float(np.round(value, _DIGITS)) for name, value in values.items()}
    return scores | {"iou": {name: float(np.round(value, _DIGITS)) for name, value in zip(classes, iou, strict=True)}}


def _shares(is_class: NDArray[np.bool_]) -> NDArray[np.float64]:
    n, rows, columns = is_class.shape
    cells = is_class.reshape(n, rows // CELL, CELL, columns // CELL, CELL)
    return np.asarray(cells.mean(axis=(2, 4)))


def colour_baselines(
    images: NDArray[np.float32], numbers: Numbers, asked: NDArray[np.float32], n_samples: int = 40_000
) -> dict[str, Numbers]:
    """Return what simpler methods answer: the commonest class, and two classifiers of the colour of single pixels.

    Parameters
    ----------
    images, asked : array, shape (n, 3, rows, columns)
        To learn from, with class `numbers`; and to answer to.
    n_samples : int
        Pixels that the classifiers learn from.
    """
    chosen = np.random.default_rng(0).choice(numbers.size, n_samples, replace=False)
    colours, labels = np.moveaxis(images, 1, -1).reshape(-1, 3)[chosen], numbers.reshape(-1)[chosen]
    flat = np.moveaxis(asked, 1, -1)
    methods = {
        "logistic_regression_of_colours": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
        "gradient_boosted_trees_of_colours": HistGradientBoostingClassifier(max_iter=100, random_state=0),
    }
    answers = {"majority_class": np.full(flat.shape[:-1], np.bincount(numbers.reshape(-1)).argmax(), np.uint8)}
    for name, method in methods.items():
        found = method.fit(colours, labels).predict(flat.reshape(-1, 3))
        answers[name] = found.astype(np.uint8).reshape(flat.shape[:-1])
    return answers
