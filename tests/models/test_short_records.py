# SPDX-License-Identifier: Apache-2.0
"""Towers with one year of data, or less: they are trained on as far as they reach, and nothing is made up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

pd = pytest.importorskip("pandas", reason="training needs the libraries of the extra 'train'")

from torchscript_models.carbon_flux.network import RSDS, VPD, PR  # noqa: E402, I001
from torchscript_models.carbon_flux.samples import LENGTH, SCORED, TowerSequences, windows  # noqa: E402
from torchscript_models.carbon_flux.sites import Sites  # noqa: E402
from torchscript_models.data import Tower  # noqa: E402
from torchscript_models.layers import WaterSupply  # noqa: E402


def tower(days: int) -> Tower:
    """Return a tower whose temperature rises by 0.1 K a day from 5 degC on."""
    forcing = np.tile(np.array([0.0, 150.0, 5.0, 2.0, 300.0], np.float32), (days, 1))
    forcing[:, 0] = 5.0 + 0.1 * np.arange(days)
    fluxes = np.tile(np.array([4.0, 3.0, -1.0], np.float32), (days, 1))
    times = pd.date_range("2001-01-01", periods=days)
    return Tower("XX-One", 50.0, 10.0, "GRA", times, forcing, fluxes, np.ones(days, np.float32))


@pytest.mark.parametrize("days", [100, 200, 359, 360, 365])
def test_a_year_of_months_holds_only_what_the_record_has(days: int) -> None:
    one = tower(days)
    months = Sites({one.site: one}, {}).year(one.site, np.random.default_rng(0))
    assert months.shape == (12, 5)
    assert (months[:, 0] >= 5.0).all(), "no month of zeros"
    assert (months[:, 0] <= one.forcing[:, 0].max()).all()
    np.testing.assert_allclose(months[:, 1:], one.forcing[:12, 1:], rtol=1e-5)


@pytest.mark.parametrize("days", [LENGTH - 1, LENGTH, 365])
def test_sequences_end_within_the_record(days: int) -> None:
    supply = WaterSupply(RSDS, VPD, PR, watt=1.0, vpd_scale=12.0)
    sequences = TowerSequences([tower(days), replace(tower(800), site="XX-Two")], supply)
    inputs, _, fluxes, weights = sequences.draw(0)
    assert sequences.site.count("XX-One") == max(days - LENGTH, -1) // SCORED + 1
    assert inputs.shape[1:] == (LENGTH, 5)
    assert fluxes.shape[1] == SCORED
    assert np.isfinite(weights).all()


def test_a_window_before_the_record_repeats_its_first_day() -> None:
    one = tower(40)
    seen = windows(one.forcing)
    assert seen.shape[0] == 40
    assert (seen[0] == one.forcing[0]).all()
    assert torch.from_numpy(seen[39].copy()).unique(dim=0).shape[0] == 40
