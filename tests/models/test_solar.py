# SPDX-License-Identifier: Apache-2.0
"""The towers' potential radiation is the `rsdt` that the plugin derives for a host."""

import numpy as np

from coupler_plugin.cells import Cells
from coupler_plugin.clock import Clock
from coupler_plugin.derived import DERIVED, Sun
from torchscript_models.solar import potential_radiation

DAY = 86_400_000_000


def test_training_and_plugin_agree_on_rsdt() -> None:
    lat = np.linspace(-89.0, 89.0, 25)
    clock = Clock("2001-01-01", 3600.0, "noleap")
    cells = Cells(np.arange(1, 26), np.zeros(25), lat)
    start = clock.micro(clock.date(clock.now))
    for day in range(0, 365, 13):
        begin = start + day * DAY
        expected = DERIVED["rsdt"][1](Sun(clock, cells, begin, begin + DAY), cells)
        np.testing.assert_allclose(potential_radiation(lat, (day + 0.5) / 365), expected, rtol=1e-9, atol=1e-9)
