# SPDX-License-Identifier: Apache-2.0
"""Training samples of leaf_area_index: twelve months of weather, and the leaf area index of the last of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from torchscript_models.data import Array, MonthlySite
from torchscript_models.leaf_area_index.network import BINS

#: share of the training samples of which only the last months are known, as at a cold start
COLD: Final = 0.4


class MonthlySamples:
    """Samples of the given sites.

    Attributes
    ----------
    site : list of str
        Site of each sample.
    months : array, shape (n, BINS, 5)
        Forcing of the months, as in `MonthlySite`; oldest month first.
    lai : array, shape (n,)
        Leaf area index of the last month [1].
    month : array, shape (n,)
        The last month of the year, 1 to 12.
    """

    def __init__(self, sites: Iterable[MonthlySite]) -> None:
        self.site: list[str] = []
        months, lai, month = [], [], []
        for site in sites:
            observed = np.flatnonzero(np.isfinite(site.lai))
            for last in observed[observed >= BINS - 1]:
                self.site.append(site.site)
                months.append(site.forcing[last - BINS + 1 : last + 1])
                lai.append(site.lai[last])
                month.append(site.months[last] % 100)
        self.months = np.array(months, np.float32).reshape(-1, BINS, 5)
        self.lai = np.array(lai, np.float32)
        self.month = np.array(month, np.int64)


def forget_the_past(months: Array, known: NDArray[np.int64]) -> Array:
    """Return the samples (n, BINS, C) with only the last `known` months of each; their mean stands for the others."""
    is_known = (np.arange(BINS) >= BINS - known[:, None])[:, :, None]
    mean = np.where(is_known, months, 0.0).sum(axis=1, keepdims=True) / known[:, None, None]
    return np.where(is_known, months, mean).astype(np.float32)


def draw_known_months(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return how many months are known of each of `n` samples: mostly all, else any number from 1 on."""
    return np.where(rng.random(n) < COLD, rng.integers(1, BINS, size=n), BINS)
