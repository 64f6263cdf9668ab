# SPDX-License-Identifier: Apache-2.0
"""Years of which only the last months are known, as at the cold start of a run: what training sees of them."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from torchscript_models.data import Array

MONTHS: Final = 12
#: share of the training samples of which only the last months are known
COLD: Final = 0.4


def forget_the_past(months: Array, known: NDArray[np.int64]) -> Array:
    """Return years (n, 12, C) with only the last `known` months of each; their mean stands for the others."""
    is_known = (np.arange(MONTHS) >= MONTHS - known[:, None])[:, :, None]
    mean = np.where(is_known, months, 0.0).sum(axis=1, keepdims=True) / known[:, None, None]
    return np.where(is_known, months, mean).astype(np.float32)


def draw_known_months(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return how many months are known of each of `n` samples: mostly all, else any number from 1 on."""
    return np.where(rng.random(n) < COLD, rng.integers(1, MONTHS, size=n), MONTHS)
