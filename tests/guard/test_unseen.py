# SPDX-License-Identifier: Apache-2.0
"""Inputs that lie outside the training data: by the range of each, and by their distance as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import Rig, bits, echo
from small_emulators import Affine, field

from coupler_plugin.emulator.manifest import Manifest
from coupler_plugin.guard.distance import Distance

STATISTICS = {"mean": 5.0, "std": 2.0, "min": 0.0, "max": 10.0}
OWN = [100.0, -0.0, np.nan, 103.0]


def single(folder: Path, guard: dict[str, Any] | None, **more: Any) -> Rig:
    return echo(folder, guard, input={"statistics": STATISTICS}, **more)


def test_what_is_unseen_is_flagged_and_counted_by_default_and_nothing_else(tmp_path: Path) -> None:
    rig = single(tmp_path, None)
    assert rig.step(x=[0.0, 10.0, 10.5, -2.0])["y"].tolist() == [0.0, 10.0, 10.5, -2.0]
    assert rig.emulator.guard.tally.flags[:, 0].tolist() == [0, 0, 1, 1]
    assert rig.counts == {("unseen", "all"): 2}
    rig.step(x=5.0)
    assert rig.emulator.guard.tally.flags[:, 0].tolist() == [0, 0, 0, 0]


def test_without_statistics_nothing_is_unseen(tmp_path: Path) -> None:
    rig = echo(tmp_path)
    rig.step(x=1e9)
    assert rig.counts == {}


def test_fallback_leaves_unseen_cells_to_the_host(tmp_path: Path) -> None:
    rig = single(tmp_path, {"unseen": "fallback"})
    answers = rig.step(x=[3.0, 11.0, -1.0, 4.0], y=OWN)["y"]
    assert bits(answers[1:3]) == bits(np.array(OWN)[1:3])
    assert answers[[0, 3]].tolist() == [3.0, 4.0]


def test_blend_goes_over_to_the_host_within_one_standard_deviation(tmp_path: Path) -> None:
    rig = single(tmp_path, {"unseen": "blend"})
    answers = rig.step(x=[4.0, 10.5, 11.0, 13.0], y=100.0)["y"]
    assert answers.tolist() == [4.0, 0.75 * 10.5 + 25.0, 0.5 * 11.0 + 50.0, 100.0]
    # The value of the host's own is read anew at each call.
    assert rig.step(x=[4.0, 10.5, 1.0, 13.0], y=8.0)["y"].tolist() == [4.0, 0.75 * 10.5 + 2.0, 1.0, 8.0]


def test_host_stays_where_an_answer_that_was_blended_cannot_be_held(tmp_path: Path) -> None:
    """What was in force is then no answer of the emulator, and not to be had again."""
    rig = single(tmp_path, {"unseen": "blend", "input": "hold"})
    assert rig.step(x=[4.0, 10.5, 11.0, 13.0], y=100.0)["y"].tolist() == [4.0, 0.75 * 10.5 + 25.0, 55.5, 100.0]
    assert rig.step(x=np.nan, y=8.0)["y"].tolist() == [4.0, 8.0, 8.0, 8.0]
    assert rig.step(x=[np.nan, 5.0, np.nan, 6.0], y=9.0)["y"].tolist() == [4.0, 5.0, 9.0, 6.0]
    assert rig.step(x=np.nan, y=10.0)["y"].tolist() == [4.0, 5.0, 10.0, 6.0]


@pytest.mark.parametrize("lag", [0, 1])
def test_that_an_answer_was_blended_goes_over_a_restart(tmp_path: Path, lag: int) -> None:
    def rig(start: str) -> Rig:
        guard = {"unseen": "blend", "input": "hold"}
        return single(tmp_path, guard, start=start, restart={}, emulator={"lag": lag} if lag else None)

    first = rig("2001-01-01")
    first.step(x=[4.0, 10.5, 11.0, 13.0], y=100.0)
    first.coupler.write_restart()
    second = rig("2001-01-01T01:00:00")
    for host in (8.0, 9.0):
        ways = [one.step(x=np.nan, y=host)["y"] for one in (first, second)]
        assert bits(ways[0]) == bits(ways[1])
    assert ways[1].tolist() == [4.0, 9.0, 9.0, 9.0]


def test_blended_closure_is_the_sum_of_blended_terms(tmp_path: Path) -> None:
    outputs = [
        field("gpp", "g m-2 d-1"),
        field("reco", "g m-2 d-1"),
        field("nee", "g m-2 d-1", closure={"reco": 1, "gpp": -1}),
    ]
    inputs = [field("x", "1", statistics=STATISTICS)]
    history = {"file": "h.nc", "fields": ["nee"], "every": "1h"}
    rig = Rig(tmp_path, Affine([[1.0, 3.0, 2.0]]), inputs, outputs, {"unseen": "blend"}, history=history)
    after = rig.step(x=[4.0, 10.3, 11.1, 30.0], gpp=1e-8, reco=3e-8, nee=2e-8)
    used = [0, 1, 2]
    assert bits(after["nee"][used]) == bits((after["reco"] - after["gpp"])[used])
    assert after["nee"][3] == 2e-8
    held = rig.coupler._exchange._held["nee"].view[:, 0]
    np.testing.assert_allclose(held, after["nee"], rtol=1e-12)


def test_quantity_that_was_constant_in_training_is_unseen_when_it_differs(tmp_path: Path) -> None:
    constant = {"mean": 400.0, "std": 0.0, "min": 400.0, "max": 400.0}
    rig = echo(tmp_path, {"unseen": "blend"}, input={"statistics": constant})
    assert rig.step(x=[400.0, 402.0, 500.0, 400.0], y=0.0)["y"].tolist() == [400.0, 201.0, 0.0, 400.0]


# --- distance --------------------------------------------------------------------------------------------------

WIDE = {"mean": 0.0, "std": 1.0, "min": -9.0, "max": 9.0}
PAIR = [field("a", "1", statistics=WIDE), field("b", "1", statistics=WIDE)]
CLOSE = {"correlation": [[1.0, 0.95], [0.95, 1.0]], "max_distance": 4.0}


def pair(folder: Path, guard: dict[str, Any] | None, **distribution: Any) -> Rig:
    return Rig(
        folder, Affine([[1.0], [1.0]]), PAIR, [field("y", "1")], guard, manifest={"distribution": CLOSE | distribution}
    )


def mahalanobis(a: float, b: float) -> float:
    """Return the distance in the textbook's words."""
    x = np.array([a, b])
    return float(np.sqrt(x @ np.linalg.inv(np.array(CLOSE["correlation"])) @ x))


def excess(manifest: Manifest, sample: np.ndarray) -> np.ndarray:
    """Return how far beyond the limit the rows of a sample lie."""
    distance = Distance(manifest, sample)
    found = distance.is_exceeded()
    beyond = distance.excess()
    assert found == (beyond > 0.0).any()
    return beyond


def test_combination_that_no_range_finds_is_unseen(tmp_path: Path) -> None:
    rig = pair(tmp_path, None)
    rig.step(a=[2.0, 2.0, -3.0, 0.0], b=[2.0, -2.0, 0.0, 0.0])
    assert [mahalanobis(2, 2) < 4, mahalanobis(2, -2) > 4, mahalanobis(-3, 0) > 4] == [True] * 3
    assert rig.emulator.guard.tally.flags[:, 0].tolist() == [0, 1, 1, 0]


def test_distance_can_be_left_out(tmp_path: Path) -> None:
    rig = pair(tmp_path, {"distance": False})
    rig.step(a=2.0, b=-2.0)
    assert rig.counts == {}


def test_blend_by_distance_ends_at_twice_the_largest(tmp_path: Path) -> None:
    rig = pair(tmp_path, {"unseen": "blend"})
    b = np.array([0.2, 0.0, -0.2, -2.0])
    answers = rig.step(a=1.0, b=b, y=100.0)["y"]
    weight = np.clip(2.0 - np.array([mahalanobis(1.0, value) for value in b]) / 4.0, 0.0, 1.0)
    assert weight[0] == 1.0
    assert weight[3] == 0.0
    np.testing.assert_allclose(answers, weight * (1.0 + b) + (1.0 - weight) * 100.0, rtol=1e-5)


def test_largest_distance_that_is_not_given_is_one_that_few_normal_samples_exceed(tmp_path: Path) -> None:
    for channels in (1, 5, 32):
        inputs = [field("x", "1", size=channels, statistics=WIDE)]
        about = {"name": "m", "version": "1", "description": "d", "every": "1h", "outputs": [field("y", "1")]}
        distribution = {"correlation": np.eye(channels).tolist()}
        manifest = Manifest.model_validate({**about, "inputs": inputs, "distribution": distribution})
        sample = np.random.default_rng(0).normal(size=(100_000, channels)).astype(np.float32)
        share = np.mean(excess(manifest, sample) > 0)
        assert share == pytest.approx(1e-4, abs=8e-5)


@pytest.mark.parametrize(("channels", "is_used"), [(16, True), (17, False)])
def test_distance_of_few_channels_is_looked_at_by_default(tmp_path: Path, channels: int, is_used: bool) -> None:
    inputs = [field("x", "1", size=channels, statistics=WIDE)]
    manifest = {"distribution": {"correlation": np.eye(channels).tolist()}}
    weights = np.zeros((channels, 1)).tolist()
    rig = Rig(tmp_path, Affine(weights), inputs, [field("y", "1")], None, manifest=manifest)
    rig.step(x=8.0)
    assert rig.counts == ({("unseen", "all"): 4} if is_used else {})


@given(st.integers(1, 12), st.lists(st.integers(0, 300), max_size=4))
@settings(max_examples=25)
def test_distance_has_the_same_bits_however_the_cells_are_spread(channels: int, cuts: list[int]) -> None:
    random = np.random.default_rng(channels)
    correlation = np.corrcoef(
        random.normal(size=(50, channels)) @ random.normal(size=(channels, channels)), rowvar=False
    )
    about = {"name": "m", "version": "1", "description": "d", "every": "1h", "outputs": [field("y", "1")]}
    inputs = [field("x", "1", size=channels, statistics={"mean": 0.3, "std": 1.7, "min": -9, "max": 9})]
    distribution = {"correlation": np.atleast_2d(correlation).tolist(), "max_distance": 1.0}
    manifest = Manifest.model_validate({**about, "inputs": inputs, "distribution": distribution})
    sample = random.normal(0.0, 3.0, (300, channels)).astype(np.float32)
    whole = excess(manifest, sample)
    parts = np.split(sample, sorted(cuts))
    spread = np.concatenate([excess(manifest, np.ascontiguousarray(part)) for part in parts])
    np.testing.assert_array_equal(whole.view(np.int64), spread.view(np.int64))
