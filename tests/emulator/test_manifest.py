# SPDX-License-Identifier: Apache-2.0
"""The manifest inside an emulator file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from refusal import refused
from small_emulators import Affine, field, write

from coupler_plugin import Status
from coupler_plugin.emulator.load import load
from coupler_plugin.emulator.manifest import ENTRY, Manifest, parse, save

LAI = {
    "manifest_version": 1,
    "name": "leaf_area_index",
    "version": "0.1.0",
    "description": "daily leaf area",
    "every": "1d",
    "inputs": [{"name": "tas", "units": "degC"}],
    "outputs": [{"name": "lai", "units": "1"}],
}
names = st.text("abcdefg_", min_size=1, max_size=8)
floats = st.floats(-1e6, 1e6)
statistics = st.fixed_dictionaries({"mean": floats, "std": floats, "min": floats, "max": floats})
aggregates = st.sampled_from(["mean", "sum", "min", "max", "last"])


def variables(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    entry = st.fixed_dictionaries(
        {"name": names, "units": st.sampled_from(["K", "1", "kg m-2 s-1"]), "size": st.integers(1, 4)},
        optional={"valid_range": st.tuples(floats, floats), "description": st.text(max_size=9), **more},
    )
    return st.lists(entry, max_size=4, unique_by=lambda entry: entry["name"])


manifests = st.fixed_dictionaries(
    {
        **{key: st.just(LAI[key]) for key in ("manifest_version", "version", "description")},
        "name": names,
        "every": st.sampled_from(["30min", "6h", "1d", "1mon"]),
        "inputs": variables(aggregate=aggregates, statistics=statistics).filter(bool),
        "static": variables(),
        "outputs": variables().filter(bool),
    },
    optional={
        "window": st.fixed_dictionaries({"length": st.integers(1, 400)}),
        "scores": st.dictionaries(names, st.dictionaries(names, floats, max_size=2), max_size=2),
        "training": st.dictionaries(names, st.text(max_size=9) | st.integers(), max_size=2),
    },
)


def changed(path: str, value: object) -> str:
    """Return the manifest of leaf area as JSON with one value changed."""
    raw = json.loads(json.dumps(LAI))
    *above, last = (int(key) if key.isdigit() else key for key in path.split("."))
    place = raw
    for key in above:
        place = place[key]
    place[last] = value
    return json.dumps(raw)


@given(manifests)
def test_manifest_survives_json(raw: dict[str, Any]) -> None:
    manifest = Manifest.model_validate(raw)
    assert parse(manifest.model_dump_json(exclude_none=True), "x.pt") == manifest


def test_manifest_survives_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "pair.pt",
        Affine([[1.0], [2.0]]),
        [field("tas", "degC", aggregate="min"), field("tas", "degC", aggregate="max", valid_range=[-90, 60])],
        [field("lai", "1")],
        scores={"held_out_sites": {"lai": {"r2": 0.5}}},
        attribution="Ärger & Söhne, 2020",
    )
    manifest = load(path).manifest
    assert [(entry.name, entry.aggregate) for entry in manifest.inputs] == [("tas", "min"), ("tas", "max")]
    assert manifest.inputs[1].valid_range == (-90, 60)
    assert manifest.scores["held_out_sites"]["lai"]["r2"] == 0.5
    assert manifest.attribution == "Ärger & Söhne, 2020"


def test_shortest_manifest_has_the_defaults() -> None:
    manifest = parse(json.dumps(LAI), "x.pt")
    assert (manifest.kind, manifest.window, manifest.static, manifest.state) == ("column", None, [], [])
    assert (manifest.inputs[0].aggregate, manifest.inputs[0].size) == ("mean", 1)


def test_channels_are_counted_by_size() -> None:
    raw = {
        **LAI,
        "inputs": [field("tas", "K"), field("tsl", "K", size=4)],
        "static": [field("orog", "m")],
        "state": [{"name": "h", "size": 8}, {"name": "c", "size": 2}],
        "outputs": [field("lai", "1"), field("tsl", "K", size=4)],
    }
    manifest = Manifest.model_validate(raw)
    assert (manifest.n_inputs, manifest.n_static, manifest.n_state, manifest.n_outputs) == (5, 1, 10, 5)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("every", "weekly", ["'every'", "'weekly'"]),
        ("inputs", [], ["'inputs'", "at least 1"]),
        ("outputs", [], ["'outputs'", "at least 1"]),
        ("inputs.0.aggregate", "median", ["'inputs.0.aggregate'", "'mean'", "'median'"]),
        ("inputs.0.size", 0, ["'inputs.0.size'", "1"]),
        ("inputs.0.unit", "K", ["'inputs.0.unit'"]),
        ("window", {"length": 0}, ["'window.length'"]),
        ("kind", "cube", ["'kind'", "'column'", "'tile'"]),
        ("kind", "tile", ["'tile'", "entry"]),
        ("tile", {"size": [8, 8], "halo": 2}, ["'tile'", "no other"]),
        ("tile", {"size": [8, 4], "halo": 2}, ["'tile'", "8 x 4", "halo of 2"]),
        ("tile", {"size": [8, 8], "halo": 1, "blend": "sharp"}, ["'tile.blend'", "'core'"]),
        ("tile", {"size": [8, 8], "halo": 1, "scale": 0}, ["'tile.scale'"]),
        ("outputs.0.closure", {"gpp": 1}, ["closure of 'lai'", "'gpp'"]),
        ("outputs.0.closure", {"lai": 1}, ["closure of 'lai'", "'lai'"]),
        ("inputs", [{"name": "tas", "units": "K"}] * 2, ["'inputs'", "twice"]),
        ("outputs", [{"name": "lai", "units": "1"}] * 2, ["'outputs'", "twice"]),
        ("static", [{"name": "orog", "units": "m"}] * 2, ["'static'", "twice"]),
        ("colour", "green", ["'colour'"]),
    ],
)
def test_mistake_in_a_manifest_names_file_key_and_value(path: str, value: object, words: list[str]) -> None:
    with refused(Status.MODEL, "zoo/x.pt", *words):
        parse(changed(path, value), "zoo/x.pt")


def test_closure_must_have_the_size_of_its_terms() -> None:
    raw = {**LAI, "outputs": [field("tsl", "K", size=4), field("lai", "1", closure={"tsl": 1})]}
    with refused(Status.MODEL, "closure of 'lai'", "'tsl'", "size"):
        parse(json.dumps(raw), "x.pt")


def test_closure_of_a_closure_is_refused() -> None:
    outputs = [field("a", "1"), field("b", "1", closure={"a": 1}), field("c", "1", closure={"b": 1})]
    with refused(Status.MODEL, "closure of 'c'", "'b'"):
        parse(json.dumps({**LAI, "outputs": outputs}), "x.pt")


TILE = {"kind": "tile", "tile": {"size": [64, 96], "halo": 8}}


def test_tiles_have_the_defaults_and_survive_json() -> None:
    manifest = parse(json.dumps({**LAI, **TILE, "grid": {"latlon": 0.25, "region": [0, 30, 20, 60]}}), "x.pt")
    assert manifest.tile is not None
    assert (manifest.tile.size, manifest.tile.scale, manifest.tile.blend) == ((64, 96), 1, "gaussian")
    assert parse(manifest.model_dump_json(exclude_none=True), "x.pt") == manifest


def test_budget_of_a_finer_grid_is_refused() -> None:
    finer = {**LAI, **TILE, "budgets": [{"terms": {"lai": 1}, "equals": 1}]}
    finer["tile"] = {**TILE["tile"], "scale": 2}
    with refused(Status.MODEL, "budget", "finer"):
        parse(json.dumps(finer), "x.pt")


@pytest.mark.parametrize("version", [2, 0, -1, "1", 1.0, None])
def test_manifest_of_another_version_is_refused(version: object) -> None:
    with refused(Status.MODEL, "x.pt", repr(version), "versions 1 to 1"):
        parse(changed("manifest_version", version), "x.pt")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "\x00"])
def test_text_that_is_no_manifest_is_refused(text: str) -> None:
    with refused(Status.MODEL, "x.pt", "not readable"):
        parse(text, "x.pt")


def test_saved_file_is_an_ordinary_torchscript_file(tmp_path: Path) -> None:
    save(torch.jit.script(Affine([[2.0]])), Manifest.model_validate(LAI), tmp_path / "x.pt")
    extra = {ENTRY: ""}
    module = torch.jit.load(tmp_path / "x.pt", _extra_files=extra)
    assert module(torch.ones(1, 1)).item() == 2.0
    assert json.loads(extra[ENTRY])["name"] == "leaf_area_index"
