# SPDX-License-Identifier: Apache-2.0
"""biomass_plots gives a host its woody carbon once, at the beginning of a run, and never again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import yaml
from zoo import ZOO, answer

from coupler_plugin import Coupler
from coupler_plugin.emulator.load import load

LON, LAT = np.array([10.0, 25.0, -65.0, 142.0]), np.array([48.0, 65.0, -5.0, -35.0])
NORMALS = np.array([[9.0], [0.0], [26.0], [15.0]]) + np.array([[9.0], [16.0], [1.0], [-6.0]]) * np.sin(
    2.0 * np.pi * (np.arange(12) - 3.0) / 12.0
)
OROG = np.array([400.0, 150.0, 60.0, 300.0])
DAY = 86400.0
GROWTH = 1e-4  #: kg m-2 a day


def coupled(folder: Path, start: str, wood: np.ndarray) -> Coupler:
    """Return a coupler of four cells that initialises `wood` on the first day of 2001."""
    section = {"model": str(ZOO / "biomass_plots.pt"), "every": "1d", "until": "2001-01-02", "outputs": ["cWood"]}
    config = {"calendar": "360_day", "emulators": [section], "restart": {"dir": "restart"}}
    (folder / "coupling.yml").write_text(yaml.safe_dump(config))
    coupler = Coupler(folder / "coupling.yml", start=start, dt=DAY)
    coupler.set_cells(np.arange(1, 5), LON, LAT)
    coupler.bind("tas_normals", NORMALS.T.copy(), units="degC")
    coupler.bind("orog", OROG, units="m")
    coupler.bind("cWood", wood, units="kg m-2")
    return coupler


def test_carbon_is_given_once_and_then_left_to_the_host_for_ten_years(tmp_path: Path) -> None:
    place = torch.tensor(np.column_stack([LAT, LON]), dtype=torch.float32)
    static = torch.tensor(np.column_stack([NORMALS, OROG]), dtype=torch.float32)
    expected = answer(load(ZOO / "biomass_plots.pt"), place, static)[:, 1].numpy()

    wood = np.full(4, -1.0)
    coupler = coupled(tmp_path, "2001-01-01", wood)
    coupler.step()
    np.testing.assert_allclose(wood, expected, rtol=1e-6)
    assert (wood > 0.3).all(), "forests hold carbon"
    own = wood.copy()
    for day in range(1, 3600):
        wood += GROWTH
        own += GROWTH
        coupler.step()
        if day == 30:
            coupler.write_restart()
            kept = wood.copy()
    np.testing.assert_array_equal(wood, own)
    coupler.finalize()

    wood = kept.copy()  # a run that goes on has its wood from the restart of the host
    coupler = coupled(tmp_path, "2001-02-02", wood)
    coupler.step()
    assert coupler.restarted_from
    np.testing.assert_array_equal(wood, kept)
    coupler.finalize()
