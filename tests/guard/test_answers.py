# SPDX-License-Identifier: Apache-2.0
"""Answers that are not finite, out of range or changing too fast: each with each action."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusal import refused
from rig import Rig, bits, echo
from small_emulators import Affine, Echo, Reciprocal, Store, field

from coupler_plugin import Status
from coupler_plugin.cells import Cells
from coupler_plugin.emulator.manifest import Manifest
from coupler_plugin.guard.answers import Answers
from coupler_plugin.guard.plan import resolve
from coupler_plugin.guard.section import GuardSection
from coupler_plugin.guard.tally import Tally

RANGE = {"valid_range": (0, 10)}
OWN = np.array([np.nan, -0.0, 1e-310, 7.0])


# --- finite ----------------------------------------------------------------------------------------------------


def reciprocal(folder: Path, guard: dict[str, Any] | None, **more: Any) -> Rig:
    return Rig(folder, Reciprocal(), [field("x", "1")], [field("y", "1")], guard, **more)


def test_answer_that_is_not_finite_stops_the_run_and_touches_nothing(tmp_path: Path) -> None:
    rig = reciprocal(tmp_path, None)
    words = ("the output 'y' of the emulator 'guarded' is inf", "in cell 2 (longitude 10, latitude 5)")
    with refused(Status.RUN, *words, "one of 2 such cells", "'finite: hold'", "2001-01-01 01:00:00"):
        rig.step(x=[1.0, 0.0, 2.0, 0.0], y=OWN)
    assert bits(rig.arrays["y"]) == bits(OWN)


def test_fallback_leaves_the_host_what_is_not_finite(tmp_path: Path) -> None:
    rig = reciprocal(tmp_path, {"finite": "fallback"})
    answers = rig.step(x=[1.0, 0.0, 0.0, 4.0], y=OWN)["y"]
    assert bits(answers[1:3]) == bits(OWN[1:3])
    assert answers[[0, 3]].tolist() == [1.0, 0.25]
    assert rig.counts == {("finite", "y"): 2}


def test_hold_keeps_the_answer_before_what_is_not_finite(tmp_path: Path) -> None:
    rig = reciprocal(tmp_path, {"finite": "hold"})
    rig.step(x=[1.0, 2.0, 4.0, 8.0])
    assert rig.step(x=[2.0, 0.0, 2.0, 0.0])["y"].tolist() == [0.5, 0.5, 0.5, 0.125]
    assert rig.step(x=[0.0, 0.0, 1.0, 1.0])["y"].tolist() == [0.5, 0.5, 1.0, 1.0]


def test_answer_beyond_any_quantity_counts_as_not_finite(tmp_path: Path) -> None:
    rig = reciprocal(tmp_path, {"finite": "fallback"}, manifest={"guard": {"outputs": {"y": RANGE}}})
    assert rig.step(x=[1.0, 1e-25, -1.0, 0.05], y=3.0)["y"].tolist() == [1.0, 3.0, 0.0, 10.0]
    assert rig.counts == {("finite", "y"): 1, ("range", "y"): 2}


def test_state_that_is_not_finite_stays_as_it_was(tmp_path: Path) -> None:
    state = {"state": [{"name": "store", "size": 1, "initial": 8.0}]}
    rig = Rig(tmp_path, Store(0.5), [field("x", "1")], [field("y", "1")], {"finite": "fallback"}, manifest=state)
    rig.step(x=1.0)
    rig.emulator.guard._blocks.state[1] = np.inf  # what no input of this store can do
    assert rig.step(x=1.0, y=-1.0)["y"].tolist() == [3.5, -1.0, 3.5, 3.5]
    assert rig.counts == {("finite", "y"): 1}


# --- range -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guard", "second"),
    [
        (None, [0.0, 10.0, 5.0, 10.0]),
        ({"range": "clip"}, [0.0, 10.0, 5.0, 10.0]),
        ({"range": "hold"}, [1.0, 2.0, 5.0, 10.0]),
        ({"range": "fallback"}, [-3.0, -4.0, 5.0, 10.0]),
        ({"range": "off"}, [-1.0, 11.0, 5.0, 10.0]),
        ({"range": "stop", "outputs": {"y": {"range": "hold"}}}, [1.0, 2.0, 5.0, 10.0]),
    ],
)
def test_answer_out_of_range(tmp_path: Path, guard: dict[str, Any] | None, second: list[float]) -> None:
    rig = echo(tmp_path, guard, output=RANGE)
    assert rig.step(x=[1.0, 2.0, 3.0, 4.0])["y"].tolist() == [1.0, 2.0, 3.0, 4.0]
    rig.arrays["y"][:] = [-3.0, -4.0, -5.0, -6.0]
    assert rig.step(x=[-1.0, 11.0, 5.0, 10.0])["y"].tolist() == second
    assert rig.counts == ({} if guard == {"range": "off"} else {("range", "y"): 2})


def test_range_that_stops_says_which(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Echo(), [field("x", "1")], [field("lai", "1", valid_range=(0, 12))], {"range": "stop"})
    words = ("the output 'lai'", "is 12.5, outside its range of 0 to 12, in cell 3", "'range: hold'")
    with refused(Status.RUN, *words):
        rig.step(x=[0.0, 12.0, 12.5, 0.0])


def test_range_holds_in_the_units_of_the_emulator(tmp_path: Path) -> None:
    output = field("gpp", "g m-2 d-1", valid_range=(0, 40))
    rig = Rig(tmp_path, Echo(), [field("x", "1")], [output])
    answers = rig.step(x=[-1.0, 10.0, 40.0, 50.0])["gpp"]
    np.testing.assert_allclose(answers * 86_400e3, [0.0, 10.0, 40.0, 40.0])


def test_each_level_is_clipped_and_the_cell_counts_once(tmp_path: Path) -> None:
    output = field("y", "1", size=3, valid_range=(0, 10))
    rig = Rig(tmp_path, Affine([[-1.0, 1.0, 2.0]]), [field("x", "1")], [output])
    assert rig.step(x=[0.0, 6.0, 2.0, 20.0])["y"][1].tolist() == [0.0, 6.0, 10.0]
    assert rig.counts == {("range", "y"): 3}


# --- rate ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "second"),
    [
        ("clip", [3.0, 1.0, 1.5, 6.0]),
        ("hold", [1.0, 3.0, 1.5, 4.0]),
        ("fallback", [-3.0, -4.0, 1.5, -6.0]),
        ("off", [5.0, 0.0, 1.5, 99.0]),
    ],
)
def test_change_that_is_too_fast(tmp_path: Path, action: str, second: list[float]) -> None:
    rig = echo(tmp_path, {"outputs": {"y": {"max_change": 2.0}}, "rate": action})
    assert rig.step(x=[1.0, 3.0, 3.0, 4.0])["y"].tolist() == [1.0, 3.0, 3.0, 4.0]  # follows on nothing
    rig.arrays["y"][:] = [-3.0, -4.0, -5.0, -6.0]
    assert rig.step(x=[5.0, 0.0, 1.5, 99.0])["y"].tolist() == second
    assert rig.counts == ({} if action == "off" else {("rate", "y"): 3})


def test_change_that_stops_the_run(tmp_path: Path) -> None:
    rig = echo(tmp_path, {"outputs": {"y": {"max_change": 2.0, "rate": "stop"}}})
    rig.step(x=1.0)
    with refused(Status.RUN, "'y'", "is 3.5, more than 2 from the call before, in cell 1", "'rate: hold'"):
        rig.step(x=3.5)


def test_change_after_the_value_of_the_host_follows_on_nothing(tmp_path: Path) -> None:
    rig = echo(tmp_path, {"input": "fallback", "outputs": {"y": {"max_change": 2.0}}})
    rig.step(x=1.0)
    rig.step(x=[1.0, np.nan, 1.0, 1.0])
    assert rig.step(x=50.0)["y"].tolist() == [3.0, 50.0, 3.0, 3.0]


STOPPED = {"range": "off", "outputs": {"z": {"valid_range": [0, 9], "range": "stop"}}}


def test_answer_of_a_call_that_was_stopped_is_none_to_follow_on(tmp_path: Path) -> None:
    guard = {**STOPPED, "finite": "hold", "outputs": {**STOPPED["outputs"], "y": {"max_change": 2.0}}}
    rig = Rig(tmp_path, Reciprocal(), [field("x", "1", size=2)], [field("y", "1"), field("z", "1")], guard)
    rig.step(x=[1.0, 0.5])
    with refused(Status.RUN, "the output 'z'"):
        rig.step(x=[0.25, 0.01])
    after = rig.step(x=[[0.125, 0.25], [1.0, 0.25], [0.0, 0.25], [1.0, 0.0]])
    assert after["y"].tolist() == [3.0, 1.0, 1.0, 1.0]
    assert after["z"].tolist() == [4.0, 4.0, 4.0, 2.0]


def test_what_was_done_before_a_stop_leaves_no_flag(tmp_path: Path) -> None:
    outputs = [field("y", "1", valid_range=(0, 1)), field("z", "1")]
    rig = Rig(tmp_path, Echo(), [field("x", "1", size=2)], outputs, {**STOPPED, "range": "clip"})
    for _ in range(2):
        rig.step(x=0.5)
    with refused(Status.RUN, "the output 'z'"):
        rig.step(x=[2.0, 99.0])
    rig.step(x=0.5)
    assert not rig.emulator.guard.tally.flags.any()


# --- closures --------------------------------------------------------------------------------------------------

FLUXES = [
    field("gpp", "g m-2 d-1", valid_range=(0, 20)),
    field("reco", "g m-2 d-1", valid_range=(0, 20)),
    field("nee", "g m-2 d-1", valid_range=(-15, 15), closure={"reco": 1, "gpp": -1}),
]


def fluxes(folder: Path, guard: dict[str, Any] | None = None, **more: Any) -> Rig:
    weights = [[1.0, 0.0, -1.0], [0.0, 1.0, 1.0]]
    return Rig(folder, Affine(weights), [field("a", "1"), field("b", "1")], FLUXES, guard, **more)


def test_closure_holds_exactly_after_its_terms_were_clipped(tmp_path: Path) -> None:
    rig = fluxes(tmp_path)
    after = rig.step(a=[-3.0, 5.0, 30.0, 1.0], b=[2.0, 3.0, 12.0, 2.0])
    assert bits(after["nee"]) == bits(after["reco"] - after["gpp"])
    np.testing.assert_allclose(after["nee"] * 86_400e3, [2.0, -2.0, -8.0, 1.0])
    assert rig.counts == {("range", "gpp"): 2}


def test_closure_alone_follows_its_terms_too(tmp_path: Path) -> None:
    rig = fluxes(tmp_path, unbound=("gpp", "reco"), emulator={"outputs": ["nee"]})
    after = rig.step(a=[-3.0, 5.0, 30.0, 1.0], b=[2.0, 3.0, 12.0, 2.0])
    np.testing.assert_allclose(after["nee"] * 86_400e3, [2.0, -2.0, -8.0, 1.0])


def test_sum_out_of_its_range_is_counted_but_stays_a_sum(tmp_path: Path) -> None:
    rig = fluxes(tmp_path)
    after = rig.step(a=[19.0, 1.0, 1.0, 1.0], b=1.0)
    np.testing.assert_allclose(after["nee"] * 86_400e3, [-18.0, 0.0, 0.0, 0.0])
    assert rig.counts == {("range", "nee"): 1}


@pytest.mark.parametrize("wrong", [{"a": [1.0, -1.0, 1.0, 1.0], "b": 2.0}, {"a": 2.0, "b": [1.0, 99.0, 1.0, 1.0]}])
def test_what_a_closure_binds_is_given_back_and_held_together(tmp_path: Path, wrong: dict[str, Any]) -> None:
    own = {"gpp": 5.0, "reco": 7.0, "nee": 2.0}
    rig = fluxes(tmp_path, {"range": "fallback"})
    after = rig.step(**wrong, **own)
    for name, value in own.items():
        assert after[name][1] == value
        assert (after[name][[0, 2, 3]] != value).all()
    rig = fluxes(tmp_path, {"range": "hold"})
    before = rig.step(a=3.0, b=4.0)
    after = rig.step(**wrong)
    for name in own:
        assert bits(after[name][1]) == bits(before[name][1])


# --- properties ------------------------------------------------------------------------------------------------

NUMBER = st.one_of(st.floats(-50, 50, width=32), st.sampled_from([np.nan, np.inf, -np.inf, 1e20, -1e30]))
ROWS = st.lists(st.tuples(NUMBER, NUMBER, NUMBER), min_size=5, max_size=5)
ACTIONS = st.fixed_dictionaries(
    {"finite": st.sampled_from(["hold", "fallback"]), "range": st.sampled_from(["clip", "hold", "fallback"])}
)
OUTPUTS = [
    field("a", "1", valid_range=(-3.3, 10)),
    field("b", "1", valid_range=(0, 0.1)),
    field("c", "1", closure={"a": 1.5, "b": -1}),
    field("d", "1"),
]


class Alone:
    """Answers by themselves, without an emulator."""

    def __init__(self, section: dict[str, Any]) -> None:
        about = {"name": "m", "version": "1", "description": "d", "every": "1h", "inputs": [field("x", "1")]}
        manifest = Manifest.model_validate({**about, "outputs": OUTPUTS})
        plan = resolve(GuardSection.model_validate(section), manifest)
        cells = Cells(np.arange(1, 6), np.zeros(5), np.zeros(5))
        self.tally = Tally(5, ["x"], [output.name for output in plan.outputs])
        self.values = np.full((5, 4), np.nan, np.float32)
        self.previous = self.values.copy()
        self.kept = np.zeros((5, 4), bool)
        self.answers = Answers(plan, manifest, cells, self.values, self.previous, self.kept, self.tally)
        self.answers.bound = {"a", "b", "c", "d"}

    def call(self, rows: list[tuple[float, float, float]]) -> None:
        """Correct the answers of a network that gave `rows`."""
        self.tally.clear()
        self.previous[:] = self.values
        self.previous[self.kept] = np.nan
        self.kept[:] = False
        given = np.array(rows, np.float32)
        self.values[:, [0, 1, 3]] = given
        with np.errstate(invalid="ignore"):
            self.values[:, 2] = np.float32(1.5) * given[:, 0] - given[:, 1]
        self.answers.correct(0, 3_600_000_000)


@given(ACTIONS, st.lists(ROWS, min_size=1, max_size=4), st.floats(0.125, 9, width=32))
@settings(max_examples=150)
def test_answers_are_in_their_ranges_whatever_the_network_gives(
    section: dict[str, Any], calls: list[list[tuple[float, float, float]]], max_change: float
) -> None:
    alone = Alone({**section, "rate": "clip", "outputs": {"d": {"max_change": max_change}}})
    for rows in calls:
        alone.call(rows)
        used = ~alone.kept
        for place, (low, high) in {0: (-3.3, 10), 1: (0, 0.1)}.items():
            values = alone.values[used[:, place], place].astype(float)
            assert ((values >= low) & (values <= high)).all()
        assert np.isfinite(alone.values[used]).all()
        a, b, c, _ = alone.values[used[:, 2]].T
        np.testing.assert_array_equal(c, np.float32(1.5) * a - b)
        assert (alone.kept[:, 0] == alone.kept[:, 1]).all()
        assert (alone.kept[:, 0] == alone.kept[:, 2]).all()
        change = np.abs(alone.values[used[:, 3], 3].astype(float) - alone.previous[used[:, 3], 3])
        assert (change[~np.isnan(change)] <= max_change * (1 + 1e-5) + 1e-5).all()


@given(ACTIONS, ROWS, ROWS)
def test_correcting_twice_changes_nothing(
    section: dict[str, Any], first: list[tuple[float, float, float]], second: list[tuple[float, float, float]]
) -> None:
    alone = Alone({**section, "outputs": {"d": {"max_change": 3.0}}})
    alone.call(first)
    alone.call(second)
    values, kept, flags = bits(alone.values), bits(alone.kept), bits(alone.tally.flags)
    alone.answers.correct(0, 3_600_000_000)
    assert (bits(alone.values), bits(alone.kept), bits(alone.tally.flags)) == (values, kept, flags)
