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
from small_tiles import TILES
from torch import nn
from zoo import COLUMNS, GRIDS, NAMES, ZOO, first_state, machine

from coupler_plugin.emulator.load import EmulatorFile
from coupler_plugin.emulator.manifest import Manifest
from coupler_plugin.emulator.trial import sample_arguments
from torchscript_models.biomass.network import Biomass, BiomassUNet
from torchscript_models.biomass_plots.network import BiomassPlots
from torchscript_models.carbon_flux.network import CarbonFlux
from torchscript_models.downscaling.lapse import N_SEEN
from torchscript_models.downscaling.network import Downscaling, Scales
from torchscript_models.downscaling.recipe import SHIPPED
from torchscript_models.land_cover.network import LandCover
from torchscript_models.leaf_area_index.network import LeafAreaIndex
from torchscript_models.model_card import model_card
from torchscript_models.segmentation.network import Cover, residual_unet
from torchscript_models.segmentation.scenes import SURFACES

REFERENCE = Path(__file__).parent / "reference"
PAGES = Path(__file__).parents[2] / "docs" / "emulators"
GENERATED = ("downscaling",)


def columns(network: type[nn.Module], n_features: int) -> Callable[[Manifest], nn.Module]:
    """Return what makes a network of single columns."""
    return lambda manifest: network(np.ones((2, n_features), np.float32), members=manifest.training["members"])


def downscaling(_: Manifest) -> nn.Module:
    scales = Scales(np.ones((2, N_SEEN), np.float32), np.ones((2, 2), np.float32), 1.0, 0.0)
    return Downscaling(SHIPPED, scales)


#: how the network of the code is made, before it gets the weights of the file
NETWORKS: dict[str, Callable[[Manifest], nn.Module]] = {
    "biomass": lambda _: Biomass(BiomassUNet()),
    "biomass_plots": columns(BiomassPlots, 9),
    "carbon_flux": columns(CarbonFlux, 5),
    "downscaling": downscaling,
    "land_cover": lambda _: LandCover(),
    "leaf_area_index": columns(LeafAreaIndex, 6),
    "surface_classes": lambda _: Cover(residual_unet(len(SURFACES)), len(SURFACES), is_tree=False),
    "tree_cover": lambda _: Cover(residual_unet(2), 2, is_tree=True),
}

Get = Callable[[str], EmulatorFile]
Run = Callable[..., torch.Tensor]


@pytest.mark.parametrize("name", NAMES)
def test_file_is_small_and_says_what_it_is(name: str, emulator: Get) -> None:
    assert (ZOO / f"{name}.pt").stat().st_size <= 5 * 2**20
    manifest = emulator(name).manifest
    assert manifest.name == name
    assert manifest.license == "Apache-2.0"
    assert manifest.attribution
    assert all(entry.statistics and entry.valid_range for entry in manifest.inputs)
    assert all(entry.valid_range for entry in (*manifest.outputs, *manifest.static))
    assert {"data", "seed", "script", "torch"} <= set(manifest.training)
    assert manifest.training["footprint"]["co2_eq_g"] > 0
    if name in COLUMNS:
        assert manifest.training["footprint"]["seconds"] <= 20 * 60


@pytest.mark.parametrize("name", NAMES)
def test_training_data_lie_in_the_physical_range(name: str, emulator: Get) -> None:
    for entry in emulator(name).manifest.inputs:
        assert entry.statistics
        assert entry.valid_range
        low, high = entry.valid_range
        assert low <= entry.statistics.min <= entry.statistics.max <= high, entry.name


@pytest.mark.parametrize("name", ["carbon_flux", "leaf_area_index"])
def test_what_comes_from_the_towers_says_so(name: str, emulator: Get) -> None:
    """CC-BY-4.0 asks for it; the statistics of leaf_area_index are those of days."""
    assert "doi 10.1038/s41597-020-0534-3" in emulator(name).manifest.attribution


@pytest.mark.parametrize("name", NAMES)
def test_card_says_what_the_file_says(name: str, emulator: Get) -> None:
    card = (ZOO / f"{name}.md").read_text(encoding="utf-8")
    assert card == model_card(emulator(name).manifest)
    assert ("type: image-segmentation" in card) == (name in ("land_cover", "surface_classes", "tree_cover"))


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_the_last_evaluation(name: str, emulator: Get) -> None:
    written = json.loads((ZOO / f"{name}.json").read_text(encoding="utf-8"))
    manifest = emulator(name).manifest
    assert manifest.scores == written["scores"]
    for key in ("seed", "epochs", "members"):
        assert manifest.training[key] == written["settings"][key]


@pytest.mark.parametrize("name", NAMES)
def test_no_score_without_its_baselines(name: str, emulator: Get) -> None:
    for view in emulator(name).manifest.scores.values():
        scored = {output: own for output, own in view.items() if isinstance(own, dict)}
        assert scored
        for own in scored.values():
            assert len(own["baselines"]) >= 2
            metrics = {metric for metric, value in own.items() if isinstance(value, float)}
            assert metrics & {"rmse", "accuracy"}
            for scores in own["baselines"].values():
                assert metrics <= set(scores)


@pytest.mark.parametrize("name", ["carbon_flux", "leaf_area_index", "biomass_plots"])
def test_emulator_beats_both_baselines_on_unseen_sites(name: str, emulator: Get) -> None:
    held_out = next(iter(emulator(name).manifest.scores.values()))
    trees = "gradient_boosted_trees" + ("_with_class" if name == "leaf_area_index" else "")
    for output in (output for output, own in held_out.items() if isinstance(own, dict)):
        own = held_out[output]
        mean = "regional_mean" if name == "biomass_plots" else "climatology"
        for baseline in (mean, trees):
            assert own["rmse"] <= own["baselines"][baseline]["rmse"], (output, baseline)


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_stored(name: str, run: Run) -> None:
    """On the same kind of machine the bits are the same; elsewhere they differ by no more than 1e-5."""
    stored = np.load(REFERENCE / f"{name}.npz")
    arguments = [torch.from_numpy(stored[key]) for key in sorted(stored) if key.startswith("argument")]
    answers = run(name, *arguments).numpy()
    np.testing.assert_allclose(answers, stored["outputs"], rtol=1e-5, atol=1e-5)
    if str(stored["machine"]) == machine():
        np.testing.assert_array_equal(answers.view(np.int32), stored["outputs"].view(np.int32))


@pytest.mark.parametrize("name", [name for name in NAMES if name in NETWORKS])
def test_file_computes_what_the_code_says(name: str, run: Run, emulator: Get) -> None:
    manifest = emulator(name).manifest
    network = NETWORKS[name](manifest)
    network.load_state_dict(torch.jit.load(str(ZOO / f"{name}.pt")).state_dict())
    grid = TILES[name]() if name in TILES else None
    arguments = grid or sample_arguments(manifest, 256)[: 1 + bool(manifest.static)]
    field = tuple(arguments[0].shape[-2:]) if grid else ()
    with torch.inference_mode():
        expected = network.eval()(*arguments, *first_state(manifest, len(arguments[0]), field))
    expected = expected[0] if manifest.state else expected
    torch.testing.assert_close(run(name, *arguments), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_row_does_not_depend_on_its_neighbours(name: str, run: Run, emulator: Get) -> None:
    manifest = emulator(name).manifest
    arguments = sample_arguments(manifest, 128)[: 1 + bool(manifest.static)]
    order = torch.randperm(128, generator=torch.Generator().manual_seed(1))
    shuffled = run(name, *(argument[order] for argument in arguments))
    torch.testing.assert_close(shuffled, run(name, *arguments)[order], rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_file_names_no_place_of_the_machine_that_made_it(name: str) -> None:
    with zipfile.ZipFile(ZOO / f"{name}.pt") as archive:
        for record in archive.namelist():
            assert not re.search(rb"/(home|root|work|usr|tmp|opt)/", archive.read(record)), record


def test_page_of_leaf_area_says_by_how_much_it_is_better_than_trees() -> None:
    scores = json.loads((ZOO / "leaf_area_index.json").read_text(encoding="utf-8"))["scores"]
    page = " ".join((PAGES / "leaf_area_index.md").read_text(encoding="utf-8").split())
    known, hidden = (scores[view]["lai"] for view in ("held_out_sites", "held_out_sites_class_not_known"))
    with_class, without = (
        100.0 * (1.0 - own["rmse"] / own["baselines"][trees]["rmse"])
        for own, trees in ((known, "gradient_boosted_trees_with_class"), (hidden, "gradient_boosted_trees"))
    )
    assert f"is {with_class:.1f} % better than trees that know the class" in page
    assert f"without the class {without:.1f} % better than trees without" in page


@pytest.mark.parametrize("name", [name for name in GRIDS if name not in GENERATED])
def test_page_shows_the_scores_of_the_zoo(name: str) -> None:
    """Of the grid emulators all scores; for those with a table that is made from them see tests/docs."""
    scores = json.loads((ZOO / f"{name}.json").read_text(encoding="utf-8"))["scores"]
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    for view, outputs in scores.items():
        (own,) = (entry for entry in outputs.values() if isinstance(entry, dict))
        for method, values in {"**this emulator**": own, **own["baselines"], **own.get("other_networks", {})}.items():
            numbers = [f"{value:.3f}" for value in values.values() if isinstance(value, float)]
            row = " | ".join([view.replace("_", " "), method.replace("_", " "), *numbers])
            assert row in page, f"docs/emulators/{name}.md lacks: {row}"
