# SPDX-License-Identifier: Apache-2.0
"""What the files of the zoo promise: a manifest with scores beside baselines, and the answers they gave before."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from climates import CLIMATES

from coupler_plugin.emulator.blocks import sample_arguments
from coupler_plugin.emulator.load import EmulatorFile
from torchscript_models.carbon_flux.network import CarbonFlux
from torchscript_models.leaf_area_index.network import LeafAreaIndex

ZOO = Path(__file__).parents[2] / "torchscript_models" / "zoo"
REFERENCE = Path(__file__).parent / "reference"
NAMES = ["carbon_flux", "leaf_area_index"]
NETWORKS = {"carbon_flux": CarbonFlux, "leaf_area_index": LeafAreaIndex}

Get = Callable[[str], EmulatorFile]
Run = Callable[[str, torch.Tensor], torch.Tensor]


@pytest.mark.parametrize("name", NAMES)
def test_file_is_small_and_says_what_it_is(name: str, emulator: Get) -> None:
    assert (ZOO / f"{name}.pt").stat().st_size <= 5 * 2**20
    manifest = emulator(name).manifest
    assert manifest.name == name
    assert manifest.every == "1d"
    assert all("CC-BY-4.0" in part for part in [manifest.attribution])
    assert all(entry.statistics and entry.valid_range for entry in manifest.inputs)
    assert all(entry.valid_range for entry in manifest.outputs)
    assert {"data", "seed", "script", "torch"} <= set(manifest.training)


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_the_last_evaluation(name: str, emulator: Get) -> None:
    written = json.loads((ZOO / f"{name}.json").read_text(encoding="utf-8"))
    manifest = emulator(name).manifest
    assert manifest.scores == written["scores"]
    for key in ("seed", "epochs", "members"):
        assert manifest.training[key] == written["settings"][key]


@pytest.mark.parametrize("name", NAMES)
def test_no_score_without_its_baselines(name: str, emulator: Get) -> None:
    manifest = emulator(name).manifest
    held_out = manifest.scores["held_out_sites"]
    assert held_out["sites"] >= 24
    for output in manifest.outputs:
        own = held_out[output.name]
        assert {"climatology", "gradient_boosted_trees"} <= set(own["baselines"])
        for scores in (own, *own["baselines"].values()):
            assert {"rmse", "r2", "mae", "bias", "site_median"} <= set(scores)


@pytest.mark.parametrize("name", NAMES)
def test_emulator_beats_both_baselines_on_unseen_sites(name: str, emulator: Get) -> None:
    held_out = emulator(name).manifest.scores["held_out_sites"]
    for output in emulator(name).manifest.outputs:
        own = held_out[output.name]
        for baseline in ("climatology", "gradient_boosted_trees"):
            assert own["rmse"] <= own["baselines"][baseline]["rmse"], (output.name, baseline)


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_stored(name: str, run: Run) -> None:
    stored = np.load(REFERENCE / f"{name}.npz")
    assert stored["inputs"].shape[0] == len(CLIMATES)
    answers = run(name, torch.from_numpy(stored["inputs"])).numpy()
    np.testing.assert_allclose(answers, stored["outputs"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_file_computes_what_the_code_says(name: str, run: Run, emulator: Get) -> None:
    manifest = emulator(name).manifest
    weights = torch.jit.load(str(ZOO / f"{name}.pt")).state_dict()
    network = NETWORKS[name](np.ones((2, manifest.n_inputs), np.float32), members=manifest.training["members"])
    network.load_state_dict(weights)
    (inputs,) = sample_arguments(manifest, 256)
    with torch.inference_mode():
        expected = network.eval()(inputs)
    torch.testing.assert_close(run(name, inputs), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_does_not_depend_on_its_neighbours(name: str, run: Run, emulator: Get) -> None:
    (inputs,) = sample_arguments(emulator(name).manifest, 128)
    order = torch.randperm(128, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(run(name, inputs[order]), run(name, inputs)[order], rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_file_names_no_place_of_the_machine_that_made_it(name: str) -> None:
    with zipfile.ZipFile(ZOO / f"{name}.pt") as archive:
        for record in archive.namelist():
            assert not re.search(rb"/(home|root|work|usr|tmp|opt)/", archive.read(record)), record
