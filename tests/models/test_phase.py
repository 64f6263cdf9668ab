# SPDX-License-Identifier: Apache-2.0
"""Months in training, days in use: at the ends of months, both must say the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from torchscript_models.carbon_flux.network import WINDOW
from torchscript_models.leaf_area_index.network import BINS, CLASSES, DAYS, N_INPUTS, LeafAreaIndex

MIXED_FOREST = 5.0
ZOO = Path(__file__).parents[2] / "torchscript_models" / "zoo"


@pytest.fixture(scope="module")
def network() -> LeafAreaIndex:
    weights = torch.jit.load(str(ZOO / "leaf_area_index.pt")).state_dict()
    members = 1 + max(int(key.split(".")[1]) for key in weights if key.startswith("members."))
    network = LeafAreaIndex(np.ones((2, N_INPUTS), np.float32), members=members)
    network.load_state_dict(weights)
    return network.eval()


def days_of_months(months: torch.Tensor, lengths: list[int], seed: int = 0) -> torch.Tensor:
    """Return days whose monthly means are `months` (n, C), with weather around them."""
    generator = torch.Generator().manual_seed(seed)
    days = []
    for month, length in zip(months, lengths, strict=True):
        noise = torch.randn(length, len(month), generator=generator)
        days.append(month + (0.2 * month.abs() + 0.1) * (noise - noise.mean(dim=0)))
    return torch.cat(days)


def test_months_of_thirty_days_are_the_bins(network: LeafAreaIndex) -> None:
    months = torch.rand(BINS, N_INPUTS, generator=torch.Generator().manual_seed(1)) * 20.0
    days, vegetation = days_of_months(months, [DAYS] * BINS), torch.full((1, 1), MIXED_FOREST)
    with torch.inference_mode():
        daily = network(days[None], vegetation)
        monthly = network.from_months(months[None], torch.tensor([WINDOW]), vegetation)
    torch.testing.assert_close(daily, monthly, rtol=1e-4, atol=1e-5)


def test_a_day_later_is_another_answer(network: LeafAreaIndex) -> None:
    months = torch.rand(BINS + 1, N_INPUTS, generator=torch.Generator().manual_seed(2)) * 20.0
    days = days_of_months(months, [DAYS] * (BINS + 1))
    with torch.inference_mode():
        vegetation = torch.full((2, 1), MIXED_FOREST)
        at_end, half_way = network(torch.stack([days[:360], days[15:375]]), vegetation)[:, 0].tolist()
    assert at_end != half_way


def test_daily_use_at_month_ends_matches_the_monthly_evaluation(network: LeafAreaIndex, observations: Path) -> None:
    """Run over real months of 28 to 31 days, where the bins drift from the months by up to five days."""
    from torchscript_models.data import read_monthly_sites

    lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    differences, values = [], []
    for site in list(read_monthly_sites(observations).values())[::4]:
        months = torch.from_numpy(site.inputs()[:36])
        days = months.repeat_interleave(torch.tensor(lengths * 3), dim=0)
        ends = np.cumsum(lengths * 3)[BINS:]
        with torch.inference_mode():
            vegetation = torch.full((len(ends), 1), 1.0 + CLASSES.index(site.igbp))
            daily = network(torch.stack([days[end - 360 : end] for end in ends]), vegetation)
            past = torch.stack([months[last - BINS + 1 : last + 1] for last in range(BINS, 36)])
            monthly = network.from_months(past, torch.full((len(past),), WINDOW), vegetation)
        differences.append(daily - monthly)
        values.append(monthly)
    difference, value = torch.cat(differences), torch.cat(values)
    assert difference.pow(2).mean().sqrt() < 0.1
    assert difference.mean().abs() < 0.02, "no drift to one side"
    assert value.std() > 0.5, "the answers vary, so that agreement means something"
