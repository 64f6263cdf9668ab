# SPDX-License-Identifier: Apache-2.0
"""A run for the restart tests, with weather that follows from cell and step."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import cftime
import numpy as np

from coupler_plugin import Coupler

CELLS = 37
OUTPUTS = ("gpp", "reco", "nee")


def run(config: Path, first: int, steps: int, demand: int = -1, cells: int = CELLS) -> list[str]:
    """Take hourly steps from step `first`; return a hash of the outputs of each.

    Parameters
    ----------
    demand : int
        Write a restart after this many steps of its own.
    """
    ids = np.arange(1, cells + 1)
    start = cftime.datetime(2001, 1, 1, calendar="noleap") + timedelta(hours=first)
    coupler = Coupler(config, start=start.strftime("%Y-%m-%dT%H:%M:%S"), dt=3600.0)
    coupler.set_cells(ids, ids * 3.0 % 360.0, ids % 90.0 - 40.0)
    tas, rsds = np.zeros(ids.size), np.zeros(ids.size, np.float32)
    outputs = {name: np.zeros(ids.size) for name in OUTPUTS}
    for name, array in {"tas": tas, "rsds": rsds, **outputs}.items():
        coupler.bind(name, array)
    seen = []
    for step in range(first, first + steps):
        tas[:] = 280.0 + 10.0 * np.sin(step / 24.0 * 2 * np.pi + ids) + np.cos(step * ids)
        rsds[:] = 200.0 + 100.0 * np.sin(step * 0.7 + ids)
        coupler.step()
        seen.append(hashlib.sha256(np.stack(list(outputs.values())).tobytes()).hexdigest())
        if step - first + 1 == demand:
            coupler.write_restart()
    coupler.finalize()
    return seen
