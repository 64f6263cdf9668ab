# SPDX-License-Identifier: Apache-2.0
"""Formulas of ensembles against direct computations: scores, ranks, quantiles, noise."""

from __future__ import annotations

import numpy as np
import pytest

from coupler_plugin.ensemble.perturb import Noise
from coupler_plugin.ensemble.section import PerturbSection
from coupler_plugin.ensemble.statistics import crps, mean_and_spread, quantiles, ranks

DAY = 86_400_000_000
CELLS = np.arange(1, 401)


def series(steps: int, **section: object) -> np.ndarray:
    """Return what noise makes of ones for two members, shape (steps, 2, cells)."""
    noise = Noise(PerturbSection.model_validate({"field": "tas", **section}), 1.0, DAY, CELLS, 9, [1, 2])
    found = np.ones((steps, 2, CELLS.size))
    for step in range(steps):
        noise.apply(found[step], step)
    return found


@pytest.mark.parametrize("count", [1, 2, 9])
def test_crps_is_the_integral_of_the_squared_distance_of_distributions(count: int) -> None:
    random = np.random.default_rng(count)
    members, observed = random.normal(size=(count, 5)), random.normal(size=5)
    x = np.linspace(-8.0, 8.0, 160_001)
    for cell in range(5):
        steps = (members[:, cell, None] <= x).mean(axis=0) - (observed[cell] <= x)
        integral = (steps**2).sum() * (x[1] - x[0])
        assert crps(np.sort(members, axis=0), observed)[cell] == pytest.approx(integral, abs=2e-4)


def test_crps_of_one_member_is_its_absolute_error() -> None:
    np.testing.assert_allclose(crps(np.array([[1.0, -2.0]]), np.array([3.0, 4.0])), [2.0, 6.0])


def test_statistics_do_not_depend_on_the_number_of_cells() -> None:
    members = np.random.default_rng(1).normal(size=(37, 50))
    mean, spread = mean_and_spread(members)
    for cell in (0, 17, 49):
        one_mean, one_spread = mean_and_spread(members[:, cell : cell + 1])
        assert (one_mean[0], one_spread[0]) == (mean[cell], spread[cell])
    np.testing.assert_allclose(mean, members.mean(axis=0))
    np.testing.assert_allclose(spread, members.std(axis=0, ddof=1))


@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_quantiles_are_those_of_numpy(count: int) -> None:
    members = np.random.default_rng(2).normal(size=(count, 20))
    shares = [0.0, 0.05, 0.5, 0.77, 1.0]
    found = quantiles(np.sort(members, axis=0), shares)
    np.testing.assert_allclose(found, np.quantile(members, shares, axis=0), rtol=1e-12)


def test_ranks_of_equal_values_are_drawn() -> None:
    members = np.array([[1.0, 0.0, 0.0], [2.0, 0.0, 1.0], [3.0, 0.0, 2.0]])
    observed = np.array([2.5, 0.0, np.nan])
    assert ranks(members, observed, np.full(3, 0.1)).tolist() == [2, 0, -1]
    assert ranks(members, observed, np.full(3, 0.9)).tolist() == [2, 3, -1]


def test_correlated_noise_has_variance_1_and_the_correlation_of_its_time() -> None:
    noise = series(400, add=1.0, time="4d") - 1.0
    assert noise[0].std() == pytest.approx(1.0, abs=0.05)
    assert noise.std() == pytest.approx(1.0, abs=0.03)
    lagged = [(noise[lag:] * noise[:-lag]).mean() for lag in (1, 4)]
    assert lagged == pytest.approx([np.exp(-0.25), np.exp(-1.0)], abs=0.03)


def test_white_noise_has_no_memory() -> None:
    noise = series(200, add=2.0) - 1.0
    assert noise.std() == pytest.approx(2.0, abs=0.03)
    assert abs((noise[1:] * noise[:-1]).mean()) < 0.05
    assert abs((noise[:, 0] * noise[:, 1]).mean()) < 0.05


def test_factor_is_lognormal_with_mean_1() -> None:
    factor = series(300, multiply=0.3)
    assert factor.min() > 0.0
    assert factor.mean() == pytest.approx(1.0, abs=0.01)
    assert factor.std() == pytest.approx(0.3, abs=0.01)
    logarithm = np.log(factor)
    skewness = ((logarithm - logarithm.mean()) ** 3).mean() / logarithm.std() ** 3
    assert abs(skewness) < 0.05
