# SPDX-License-Identifier: Apache-2.0
"""The shared parts of the networks: an unknown past, scaling, and what water allows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from torchscript_models.layers import Scaling, WaterSupply, fill_unknown, known_past


def window(*rows: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32).unsqueeze(0)


@pytest.mark.parametrize(
    ("rows", "known"),
    [
        ([(1, 1), (1, 1), (1, 1), (2, 5)], 2),
        ([(1, 1), (2, 1), (1, 1), (1, 1)], 4),
        ([(1, 1), (1, 2), (1, 1), (1, 1)], 4),  # a sample is a copy only when all channels agree
        ([(3, 1), (3, 1), (3, 1), (3, 1)], 1),
    ],
)
def test_known_are_the_last_copy_and_what_follows(rows: list[tuple[float, float]], known: int) -> None:
    inputs = window(*rows)
    is_known, mean = known_past(inputs)
    assert is_known[0].tolist() == [False] * (4 - known) + [True] * known
    torch.testing.assert_close(mean, inputs[:, 4 - known :].mean(dim=1))


def test_mean_of_the_known_takes_the_place_of_copies() -> None:
    inputs = window((1, 4), (1, 4), (1, 4), (3, 8))
    filled = fill_unknown(inputs, *known_past(inputs))
    torch.testing.assert_close(filled, window((2, 6), (2, 6), (1, 4), (3, 8)))


def test_full_window_stays_as_it_is() -> None:
    inputs = torch.rand(5, 20, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fill_unknown(inputs, *known_past(inputs)), inputs)


def test_scaling_clips_a_tenth_beyond_the_training_range() -> None:
    samples = np.array([[0.0, -10.0], [10.0, 10.0]], np.float32)
    scaling = Scaling(samples)
    inside, edge = scaling(torch.tensor([[11.0, -12.0], [1e9, -1e9]]))
    torch.testing.assert_close(inside, edge)
    torch.testing.assert_close(scaling(torch.tensor([[0.0, 0.0]])), scaling(torch.tensor([[-5.0, 0.0]])))


def test_scaled_training_data_have_mean_0_and_variance_1() -> None:
    samples = np.random.default_rng(0).gamma(0.5, 3.0, (1000, 2)).astype(np.float32)
    scaled = Scaling(samples, logarithmic=(1,))(torch.from_numpy(samples))
    torch.testing.assert_close(scaled.mean(dim=0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(dim=0, correction=0), torch.ones(2), atol=1e-5, rtol=0)


def supply(rsds: float, vpd: float, pr: float, days: float) -> float:
    water = WaterSupply(rsds=0, vpd=1, pr=2, watt=1.0, vpd_scale=12.0)
    return water(torch.tensor([[rsds, vpd, pr]]), torch.tensor([days])).item()


def test_water_supply_knows_deserts_and_leaves_the_wet_alone() -> None:
    assert supply(300.0, 30.0, 0.0, 360) == 0.0
    assert supply(300.0, 30.0, 0.05, 360) < 0.15
    assert supply(200.0, 8.0, 5.0, 360) > 0.99


def test_water_supply_grows_with_rain() -> None:
    values = [supply(200.0, 10.0, pr, 360) for pr in (0.0, 0.1, 0.3, 1.0, 3.0)]
    assert values == sorted(values)
    assert len(set(values)) == len(values)


def test_one_dry_day_is_no_desert_where_the_air_is_moist() -> None:
    assert supply(200.0, 4.0, 0.0, 1) > 0.95
    assert supply(200.0, 40.0, 0.0, 1) < 0.35
