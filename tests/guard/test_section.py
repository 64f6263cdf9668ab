# SPDX-License-Identifier: Apache-2.0
"""The section `guard:`: what it accepts, what it refuses, and what comes before what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from refusal import refused
from rig import echo
from small_emulators import field, write_echo

from coupler_plugin import Status
from coupler_plugin.config import parse_config
from coupler_plugin.emulator.load import load
from coupler_plugin.emulator.manifest import Manifest
from coupler_plugin.guard.plan import DEFAULTS, Plan, resolve
from coupler_plugin.guard.section import GuardSection


def parse(guard: str) -> GuardSection:
    return parse_config(f"emulators:\n  - model: a.pt\n    guard: {guard}\n", Path("c.yml")).emulators[0].guard


def plan(section: dict[str, Any], output: dict[str, Any] | None = None, **manifest: Any) -> Plan:
    about = {"name": "m", "version": "1", "description": "d", "every": "1h", "inputs": [field("x", "1")]}
    outputs = [field("y", "1", valid_range=(0, 1), **(output or {})), field("z", "1")]
    return resolve(
        GuardSection.model_validate(section), Manifest.model_validate({**about, "outputs": outputs, **manifest})
    )


def test_all_is_optional() -> None:
    assert parse("{}") == GuardSection.model_validate({})
    assert plan({}).input == DEFAULTS["input"] == "stop"


def test_off_is_a_word_here_and_no_truth_value() -> None:
    section = parse("{range: off, unseen: off, outputs: {lai: {rate: off}}}")
    assert (section.range, section.unseen, section.outputs["lai"].rate) == ("off", "off", "off")


@pytest.mark.parametrize(
    ("guard", "words"),
    [
        ("{rnge: clip}", ("c.yml:3", "'rnge' is not a key", "Did you mean 'range'?", "distance")),
        ("{outputs: {lai: {rang: clip}}}", ("c.yml:3", "'rang'", "Did you mean 'range'?", "max_change")),
        ("{range: nothing}", ("c.yml:3", "emulators.0.guard.range", "'clip'", "'fallback'", "nothing")),
        ("{finite: off}", ("guard.finite", "'stop', 'hold' or 'fallback'")),
        ("{outputs: {lai: {valid_range: [2, 1]}}}", ("valid_range", "lowest and its highest")),
        ("{outputs: {lai: {max_change: 0}}}", ("max_change", "greater than 0")),
    ],
)
def test_mistakes_are_pointed_at(guard: str, words: tuple[str, ...]) -> None:
    with refused(Status.CONFIG, *words):
        parse(guard)


@pytest.mark.parametrize(
    ("yaml", "manifest", "action"),
    [
        ({}, {}, "clip"),
        ({}, {"range": "hold"}, "hold"),
        ({}, {"range": "hold", "outputs": {"y": {"range": "stop"}}}, "stop"),
        ({"range": "fallback"}, {"outputs": {"y": {"range": "stop"}}}, "fallback"),
        ({"range": "fallback", "outputs": {"y": {"range": "off"}}}, {"range": "stop"}, "off"),
        ({"outputs": {"z": {"range": "off"}}}, {"range": "stop"}, "stop"),
    ],
)
def test_what_is_said_of_one_output_and_in_the_coupling_file_comes_first(
    yaml: dict[str, Any], manifest: dict[str, Any], action: str
) -> None:
    assert plan(yaml, guard=manifest).outputs[0].range == action


def test_ranges_and_changes_of_the_coupling_file_replace_those_of_the_manifest() -> None:
    given = {"outputs": {"y": {"max_change": 3.0}}}
    assert plan({}, guard=given).outputs[0].max_change == 3.0
    first = plan({"outputs": {"y": {"max_change": 2.0, "valid_range": [0.25, 0.5]}}}, guard=given).outputs[0]
    assert (first.max_change, first.low, first.high) == (2.0, 0.25, 0.5)


def test_outputs_that_a_closure_or_a_sum_binds_belong_together() -> None:
    closed = plan(
        {}, {}, outputs=[field("a", "1"), field("b", "1"), field("c", "1", closure={"a": 1}), field("d", "1")]
    )
    assert [output.group for output in closed.outputs] == [(0, 2), (1,), (0, 2), (3,)]
    budget = {"terms": {"y": 1, "z": 1}, "equals": 1}
    assert [output.group for output in plan({}, budgets=[budget]).outputs] == [(0, 1), (0, 1)]
    limit = {"terms": {"y": 1, "z": 1}, "at_most": 1.0}
    assert [output.group for output in plan({}, budgets=[limit]).outputs] == [(0,), (1,)]


@pytest.mark.parametrize(
    ("guard", "words"),
    [
        ({"outputs": {"w": {}}}, ("names 'w'", "Its outputs are y, z")),
        ({"unseen": "blend"}, ("'guard: unseen: blend'", "no statistics")),
        ({"distance": True}, ("distance: true", "no correlation")),
        ({"outputs": {"y": {"rate": "hold"}}}, ("rate: hold", "no max_change for 'y'")),
    ],
)
def test_what_the_manifest_cannot_give_is_refused(guard: dict[str, Any], words: tuple[str, ...]) -> None:
    with refused(Status.CONFIG, *words):
        plan(guard)


def test_change_of_a_sum_cannot_be_limited() -> None:
    with refused(Status.CONFIG, "'max_change' of 'c'", "limit the change"):
        plan(
            {"outputs": {"c": {"max_change": 1.0}}},
            outputs=[field("a", "1"), field("c", "1", closure={"a": 1})],
        )


def test_manifest_that_guards_what_it_does_not_give_is_refused() -> None:
    with refused(Status.MODEL, "names 'w'"):
        plan({}, guard={"outputs": {"w": {"range": "stop"}}})


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"distribution": {"correlation": [[1.0, 0.0], [0.0, 1.0]]}}, "no matrix of the 1 input channels"),
        ({"distribution": {"correlation": [[1.0, 0.0], [0.0]]}}, "no matrix"),
        ({"distribution": {"correlation": [[2.0]]}}, "not symmetric with ones"),
        ({"budgets": [{"terms": {"y": 1}}]}, "either 'equals' or 'at_most'"),
        ({"budgets": [{"terms": {"y": -1}, "equals": 1}]}, "positive"),
        ({"budgets": [{"terms": {"w": 1}, "equals": 1}]}, "no output"),
        ({"budgets": [{"terms": {"y": 1}, "equals": 1, "per_step": True}]}, "per_step"),
    ],
)
def test_manifest_that_cannot_be_is_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plan({}, **more)


def test_manifest_without_guards_is_read_as_before(tmp_path: Path) -> None:
    manifest = load(write_echo(tmp_path / "echo.pt", field("x", "1"), field("y", "1"))).manifest
    assert (manifest.distribution, manifest.budgets, manifest.guard.input) == (None, [], None)


@pytest.mark.parametrize(
    ("guard", "emulator"),
    [
        ({"finite": "fallback"}, {}),
        ({"input": "fallback"}, {}),
        ({"range": "fallback"}, {}),
        ({}, {"from": "2001-02-01"}),
        ({}, {"where": "x < 1"}),
    ],
)
def test_fallback_to_an_array_that_is_not_bound_is_refused_at_start(
    tmp_path: Path, guard: dict[str, Any], emulator: dict[str, Any]
) -> None:
    history = {"file": "h.nc", "fields": ["y"]}
    rig = echo(tmp_path, guard, emulator=emulator, unbound=("y",), history=history)
    with refused(Status.FIELD, "may have to leave 'y' to the host", "bind one"):
        rig.step(x=0.5)
