# SPDX-License-Identifier: Apache-2.0
"""Budgets of a manifest hold for whatever the network gives, and what was done for it is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusal import refused
from rig import Rig, bits
from small_emulators import Affine, Echo, Reciprocal, field

from coupler_plugin import Status
from coupler_plugin.emulator.manifest import Budget
from coupler_plugin.guard.budget import Closing

EPS = float(np.finfo(np.float64).eps)


def classes(folder: Path, guard: dict[str, Any] | None = None, **more: Any) -> Rig:
    """Return a host whose emulator gives three class fractions: the numbers of its input."""
    budget = {"terms": {"y": 1}, "equals": 1}
    outputs = [field("y", "1", size=3, valid_range=(0, 1))]
    return Rig(folder, Echo(), [field("x", "1", size=3)], outputs, guard, manifest={"budgets": [budget]}, **more)


def test_fractions_sum_to_one_to_rounding(tmp_path: Path) -> None:
    rig = classes(tmp_path)
    x = np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.1], [-0.5, 0.4, 0.8], [0.0, 0.0, 0.0]])
    y = rig.step(x=x)["y"]
    np.testing.assert_allclose(y.sum(axis=1), 1.0, rtol=0, atol=4 * EPS)
    np.testing.assert_allclose(y, [[0.2, 0.3, 0.5], [1 / 3] * 3, [0, 1 / 3, 2 / 3], [1 / 3] * 3], atol=1e-7)
    assert rig.counts == {("range", "y"): 1, ("budget", "y"): 3}
    assert rig.emulator.guard.tally.flags[:, 0].tolist() == [0, 4, 4, 4]


def test_what_float32_misses_is_closed_but_not_counted(tmp_path: Path) -> None:
    rig = classes(tmp_path)
    y = rig.step(x=np.float32([1, 1, 1]) / np.float32(3) + np.float32(1e-7))["y"]
    np.testing.assert_allclose(y.sum(axis=1), 1.0, rtol=0, atol=4 * EPS)
    assert rig.counts == {}


def test_budget_that_is_off_is_left_alone(tmp_path: Path) -> None:
    rig = classes(tmp_path, {"budget": "off"})
    assert rig.step(x=[0.25, 0.25, 0.25])["y"].tolist() == [[0.25] * 3] * 4


def test_budget_that_stops_says_so_and_touches_nothing(tmp_path: Path) -> None:
    rig = classes(tmp_path, {"budget": "stop"})
    rig.step(x=[0.25, 0.25, 0.5])
    words = ("the output 'y'", "where y is not 1, in cell 2", "one of 1 such cells", "'budget: close'")
    with refused(Status.RUN, *words):
        rig.step(x=[[0.5, 0.25, 0.25], [0.5, 0.25, 0.5], [1, 0, 0], [0, 1, 0]], y=-9.0)
    assert (rig.arrays["y"] == -9.0).all()


@pytest.mark.parametrize(("terms", "total"), [({"sftlf": 1, "a": 1}, 100), ({"a": 1, "sftlf": 1}, 1)])
def test_fractions_of_several_outputs_in_other_units_are_closed_in_those_of_the_first_term(
    tmp_path: Path, terms: dict[str, float], total: float
) -> None:
    budget = {"terms": terms, "equals": total}
    outputs = [field("sftlf", "%"), field("a", "1")]
    manifest = {"budgets": [budget]}
    rig = Rig(tmp_path, Affine([[80.0, 0.6]]), [field("x", "1")], outputs, manifest=manifest)
    after = rig.step(x=1.0)
    np.testing.assert_allclose(after["sftlf"] + 100 * after["a"], 100.0, rtol=4 * EPS)
    np.testing.assert_allclose(after["sftlf"], 100 * 80 / 140, rtol=1e-6)
    assert rig.counts == {("budget", "sftlf"): 4, ("budget", "a"): 4}


def test_what_is_given_back_is_given_back_as_a_whole(tmp_path: Path) -> None:
    manifest = {"budgets": [{"terms": {"y": 1, "z": 1}, "equals": 1}]}
    outputs = [field("y", "1", size=2), field("z", "1")]
    inputs = [field("x", "1", size=3)]
    rig = Rig(tmp_path, Reciprocal(), inputs, outputs, {"finite": "fallback"}, manifest=manifest)
    x = [[4.0, 4.0, 2.0], [4.0, 4.0, 0.0], [0.0, 1.0, 1.0], [2.0, 2.0, 1.0]]
    after = rig.step(x=x, y=0.1, z=0.7)
    assert after["y"].tolist() == [[0.25, 0.25], [0.1, 0.1], [0.1, 0.1], [0.25, 0.25]]
    assert after["z"].tolist() == [0.5, 0.7, 0.7, 0.5]
    assert rig.counts == {("finite", "y"): 1, ("finite", "z"): 1, ("budget", "y"): 1, ("budget", "z"): 1}


# --- what is there ---------------------------------------------------------------------------------------------

WATER = {"terms": {"evspsbl": 1}, "at_most": {"mrso": 1, "snw": 1}, "per_step": True}


def evaporation(folder: Path, guard: dict[str, Any] | None = None, budget: dict[str, Any] = WATER, **more: Any) -> Rig:
    outputs = [field("evspsbl", "kg m-2 d-1")]
    more = {"bound": ("mrso", "snw"), "manifest": {"budgets": [budget]}, **more}
    return Rig(folder, Echo(), [field("x", "1")], outputs, guard, **more)


def test_no_more_evaporates_than_the_water_there(tmp_path: Path) -> None:
    rig = evaporation(tmp_path)
    after = rig.step(x=[24.0, 48.0, -24.0, 24.0], mrso=[5.0, 1.0, 0.0, 0.0], snw=[0.0, 0.5, 0.0, 0.0])["evspsbl"]
    np.testing.assert_allclose(after * 3600.0, [1.0, 1.5, -1.0, 0.0], rtol=1e-12, atol=1e-15)
    assert (after * 3600.0 <= np.array([5.0, 1.5, 0.0, 0.0]) * (1 + 4 * EPS)).all()
    assert rig.counts == {("budget", "evspsbl"): 2}


@pytest.mark.parametrize("unknown", [np.nan, np.inf, 1e20])
def test_water_that_nobody_knows_leaves_no_answer_that_can_be_right(tmp_path: Path, unknown: float) -> None:
    rig = evaporation(tmp_path)
    words = ("'evspsbl'", "where mrso + snw, its limit, is not known", "in cell 2", "one of 1 such", "'finite: hold'")
    with refused(Status.RUN, *words):
        rig.step(x=24.0, mrso=[5.0, unknown, 5.0, 5.0], snw=0.0, evspsbl=-9.0)
    assert (rig.arrays["evspsbl"] == -9.0).all()


def test_water_that_nobody_knows_is_dealt_with_by_the_guard_of_what_is_not_finite(tmp_path: Path) -> None:
    rig = evaporation(tmp_path, {"finite": "fallback"})
    after = rig.step(x=[24.0, 24.0, -24.0, 24.0], mrso=[5.0, np.nan, np.nan, 0.5], snw=0.0, evspsbl=7.0)["evspsbl"]
    np.testing.assert_allclose(after * 3600.0, [1.0, 7.0 * 3600.0, -1.0, 0.5], rtol=1e-12)
    assert rig.counts == {("finite", "evspsbl"): 1, ("budget", "evspsbl"): 1}
    assert rig.emulator.guard.tally.flags[:, 0].tolist() == [0, 5, 0, 4]


def test_limit_may_be_a_number_in_the_units_of_the_output(tmp_path: Path) -> None:
    rig = evaporation(tmp_path, budget={"terms": {"evspsbl": 1}, "at_most": 12.0})
    np.testing.assert_allclose(rig.step(x=[6.0, 12.0, 24.0, 99.0])["evspsbl"] * 86_400, [6.0, 12.0, 12.0, 12.0])


def test_water_that_is_not_bound_is_refused(tmp_path: Path) -> None:
    with refused(Status.FIELD, "'mrso'", "is not bound"):
        evaporation(tmp_path, bound=()).step(x=1.0)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    rig = evaporation(tmp_path, budget=WATER | {"per_step": False})
    with refused(Status.UNITS, "compares 'evspsbl' (kg m-2 s-1) with 'mrso' (kg m-2)"):
        rig.step(x=1.0)


def test_closure_is_summed_after_its_terms_were_scaled(tmp_path: Path) -> None:
    outputs = [field("a", "1"), field("b", "1"), field("c", "1", closure={"a": 1, "b": -1})]
    budgets = [{"terms": {"a": 1}, "at_most": 2.0}]
    rig = Rig(tmp_path, Affine([[1.0, 1.0, 0.0]]), [field("x", "1")], outputs, manifest={"budgets": budgets})
    assert rig.step(x=[1.0, 2.0, 3.0, 5.0])["c"].tolist() == [0.0, 0.0, -1.0, -3.0]


# --- properties ------------------------------------------------------------------------------------------------

SHARES = st.lists(st.floats(-1, 5, width=32), min_size=4, max_size=4)


@given(st.lists(SHARES, min_size=1, max_size=6), st.floats(0.125, 100))
@settings(max_examples=200)
def test_closed_sum_is_exact_to_rounding_and_closing_again_changes_nothing(
    shares: list[list[float]], total: float
) -> None:
    values = np.array(shares)
    closing = Closing(Budget(terms={"y": 1}, equals=total), (0,), np.arange(4), np.ones(4))
    kept = np.zeros(len(values), bool)
    closing.close(values, kept, 0, 1)
    assert (values >= 0).all()
    np.testing.assert_allclose(values.sum(axis=1), total, rtol=16 * EPS)
    again = values.copy()
    changed, *_ = closing.close(again, kept, 0, 1)
    assert changed.size == 0
    assert bits(again) == bits(values)


@given(st.lists(SHARES, min_size=1, max_size=6), st.floats(0, 10))
def test_limited_sum_is_kept_and_only_what_is_too_much_is_scaled(shares: list[list[float]], limit: float) -> None:
    values = np.array(shares)
    before = values.copy()
    closing = Closing(Budget(terms={"y": 1}, at_most=limit), (0,), np.arange(4), np.ones(4))
    kept = np.zeros(len(values), bool)
    changed, *_ = closing.close(values, kept, 0, 1)
    positive = np.maximum(values, 0).sum(axis=1)
    assert (positive <= limit * (1 + 32 * EPS)).all()
    same = np.setdiff1d(np.arange(len(values)), changed)
    assert bits(values[same]) == bits(before[same])
    np.testing.assert_array_equal(values[before < 0], before[before < 0])
    assert closing.close(values.copy(), kept, 0, 1)[0].size == 0
