# SPDX-License-Identifier: Apache-2.0
"""Training samples of leaf_area_index: twelve months of weather, the vegetation, the leaf area index of the last."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from torchscript_models.data import MonthlySite
from torchscript_models.leaf_area_index.network import BINS, CLASSES


class MonthlySamples:
    """Samples of the given sites.

    Attributes
    ----------
    site : list of str
        Site of each sample.
    months : array, shape (n, BINS, 6)
        Forcing of the months, as in `MonthlySite`, and CO2 [ppm]; oldest month first.
    vegetation : array, shape (n, 1)
        Code of the class of the site's vegetation.
    lai : array, shape (n,)
        Leaf area index of the last month [1].
    month : array, shape (n,)
        The last month of the year, 1 to 12.
    """

    def __init__(self, sites: Iterable[MonthlySite]) -> None:
        self.site: list[str] = []
        months, vegetation, lai, month = [], [], [], []
        for site in sites:
            observed = np.flatnonzero(np.isfinite(site.lai))
            inputs = site.inputs()
            for last in observed[observed >= BINS - 1]:
                self.site.append(site.site)
                months.append(inputs[last - BINS + 1 : last + 1])
                vegetation.append([1 + CLASSES.index(site.igbp)])
                lai.append(site.lai[last])
                month.append(site.months[last] % 100)
        self.months = np.array(months, np.float32).reshape(-1, BINS, 6)
        self.vegetation = np.array(vegetation, np.float32).reshape(-1, 1)
        self.lai = np.array(lai, np.float32)
        self.month = np.array(month, np.int64)
