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
from zoo import COLUMNS, ZOO, first_state, machine

from coupler_plugin.emulator.blocks import sample_arguments
from coupler_plugin.emulator.load import EmulatorFile
from torchscript_models.biomass_plots.network import BiomassPlots
from torchscript_models.carbon_flux.network import CarbonFlux
from torchscript_models.leaf_area_index.network import LeafAreaIndex
from torchscript_models.model_card import model_card

REFERENCE = Path(__file__).parent / "reference"
#: the class of each network, and the number of its features
NETWORKS = {"carbon_flux": (CarbonFlux, 5), "leaf_area_index": (LeafAreaIndex, 6), "biomass_plots": (BiomassPlots, 9)}

Get = Callable[[str], EmulatorFile]
Run = Callable[..., torch.Tensor]


@pytest.mark.parametrize("name", COLUMNS)
def test_file_is_small_and_says_what_it_is(name: str, emulator: Get) -> None:
    assert (ZOO / f"{name}.pt").stat().st_size <= 5 * 2**20
    manifest = emulator(name).manifest
    assert manifest.name == name
    assert manifest.license == "Apache-2.0"
    assert manifest.attribution
    assert all(entry.statistics and entry.valid_range for entry in manifest.inputs)
    assert all(entry.valid_range for entry in manifest.outputs)
    assert {"data", "seed", "script", "torch"} <= set(manifest.training)
    assert manifest.training["footprint"]["co2_eq_g"] > 0
    assert manifest.training["footprint"]["seconds"] <= 20 * 60


@pytest.mark.parametrize("name", COLUMNS)
def test_card_says_what_the_file_says(name: str, emulator: Get) -> None:
    assert (ZOO / f"{name}.md").read_text(encoding="utf-8") == model_card(emulator(name).manifest)


@pytest.mark.parametrize("name", COLUMNS)
def test_scores_are_those_of_the_last_evaluation(name: str, emulator: Get) -> None:
    written = json.loads((ZOO / f"{name}.json").read_text(encoding="utf-8"))
    manifest = emulator(name).manifest
    assert manifest.scores == written["scores"]
    for key in ("seed", "epochs", "members"):
        assert manifest.training[key] == written["settings"][key]


@pytest.mark.parametrize("name", COLUMNS)
def test_no_score_without_its_baselines(name: str, emulator: Get) -> None:
    for view in emulator(name).manifest.scores.values():
        scored = {output: own for output, own in view.items() if isinstance(own, dict)}
        assert scored
        for own in scored.values():
            assert len(own["baselines"]) >= 2
            for scores in (own, *own["baselines"].values()):
                assert {"rmse", "r2"} <= set(scores)


@pytest.mark.parametrize("name", ["carbon_flux", "leaf_area_index", "biomass_plots"])
def test_emulator_beats_both_baselines_on_unseen_sites(name: str, emulator: Get) -> None:
    held_out = next(iter(emulator(name).manifest.scores.values()))
    trees = "gradient_boosted_trees" + ("_with_class" if name == "leaf_area_index" else "")
    for output in (output for output, own in held_out.items() if isinstance(own, dict)):
        own = held_out[output]
        mean = "regional_mean" if name == "biomass_plots" else "climatology"
        for baseline in (mean, trees):
            assert own["rmse"] <= own["baselines"][baseline]["rmse"], (output, baseline)


@pytest.mark.parametrize("name", COLUMNS)
def test_answers_are_those_stored(name: str, run: Run) -> None:
    """On the same kind of machine the bits are the same; elsewhere they differ by no more than 1e-5."""
    stored = np.load(REFERENCE / f"{name}.npz")
    arguments = [torch.from_numpy(stored[key]) for key in sorted(stored) if key.startswith("argument")]
    answers = run(name, *arguments).numpy()
    np.testing.assert_allclose(answers, stored["outputs"], rtol=1e-5, atol=1e-5)
    if str(stored["machine"]) == machine():
        np.testing.assert_array_equal(answers.view(np.int32), stored["outputs"].view(np.int32))


@pytest.mark.parametrize("name", NETWORKS)
def test_file_computes_what_the_code_says(name: str, run: Run, emulator: Get) -> None:
    manifest = emulator(name).manifest
    weights = torch.jit.load(str(ZOO / f"{name}.pt")).state_dict()
    network_type, n_features = NETWORKS[name]
    network = network_type(np.ones((2, n_features), np.float32), members=manifest.training["members"])
    network.load_state_dict(weights)
    arguments = sample_arguments(manifest, 256)[: 1 + bool(manifest.static)]
    with torch.inference_mode():
        expected = network.eval()(*arguments, *first_state(manifest, 256))
    expected = expected[0] if manifest.state else expected
    torch.testing.assert_close(run(name, *arguments), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_row_does_not_depend_on_its_neighbours(name: str, run: Run, emulator: Get) -> None:
    manifest = emulator(name).manifest
    arguments = sample_arguments(manifest, 128)[: 1 + bool(manifest.static)]
    order = torch.randperm(128, generator=torch.Generator().manual_seed(1))
    shuffled = run(name, *(argument[order] for argument in arguments))
    torch.testing.assert_close(shuffled, run(name, *arguments)[order], rtol=0, atol=0)


@pytest.mark.parametrize("name", COLUMNS)
def test_file_names_no_place_of_the_machine_that_made_it(name: str) -> None:
    with zipfile.ZipFile(ZOO / f"{name}.pt") as archive:
        for record in archive.namelist():
            assert not re.search(rb"/(home|root|work|usr|tmp|opt)/", archive.read(record)), record
