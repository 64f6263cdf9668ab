# SPDX-License-Identifier: Apache-2.0
"""What the files of the grid emulators promise: scores beside baselines, stored answers, the network of the code."""

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

from coupler_plugin.emulator.load import EmulatorFile
from torchscript_models.biomass.network import Biomass, BiomassUNet
from torchscript_models.downscaling.architecture import Architecture
from torchscript_models.downscaling.network import Downscaling, Scales
from torchscript_models.land_cover.network import LandCover

ZOO = Path(__file__).parents[2] / "torchscript_models" / "zoo"
REFERENCE = Path(__file__).parent / "reference"
NAMES = list(TILES)

Get = Callable[[str], EmulatorFile]


def answer(file: EmulatorFile, arguments: list[torch.Tensor]) -> torch.Tensor:
    """Return the outputs, without the state."""
    with torch.inference_mode():
        found = file.forward(*arguments)
    return found[0] if isinstance(found, tuple) else found


def untrained(name: str) -> nn.Module:
    """Return the network of the code, before it gets the weights of the file."""
    if name == "land_cover":
        return LandCover()
    if name == "biomass":
        return Biomass(BiomassUNet())
    scales = Scales(np.ones((2, 1), np.float32), np.ones((2, 3), np.float32), 1.0)
    return Downscaling(Architecture("resnet", "spc", 4, n_static=3, width=8, n_blocks=3), scales)


@pytest.mark.parametrize("name", NAMES)
def test_file_is_small_and_says_what_it_is(name: str, emulator: Get) -> None:
    assert (ZOO / f"{name}.pt").stat().st_size <= 5 * 2**20
    manifest = emulator(name).manifest
    assert manifest.name == name
    assert manifest.kind == "tile"
    assert manifest.attribution
    assert all(entry.statistics and entry.valid_range for entry in manifest.inputs)
    assert all(entry.valid_range for entry in (*manifest.outputs, *manifest.static))
    assert {"data", "seed", "script", "torch"} <= set(manifest.training)


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_the_last_evaluation(name: str, emulator: Get) -> None:
    written = json.loads((ZOO / f"{name}.json").read_text(encoding="utf-8"))
    manifest = emulator(name).manifest
    assert manifest.scores == written["scores"]
    for key in ("seed", "epochs", "members"):
        assert manifest.training[key] == written["settings"][key]


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_stored(name: str, emulator: Get) -> None:
    stored = np.load(REFERENCE / f"{name}.npz")["outputs"]
    np.testing.assert_allclose(answer(emulator(name), TILES[name]()).numpy(), stored, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_file_computes_what_the_code_says(name: str, emulator: Get) -> None:
    network = untrained(name)
    network.load_state_dict(torch.jit.load(str(ZOO / f"{name}.pt")).state_dict())
    arguments = TILES[name]()
    with torch.inference_mode():
        expected = network.eval()(*arguments)
    expected = expected[0] if isinstance(expected, tuple) else expected
    torch.testing.assert_close(answer(emulator(name), arguments), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_file_names_no_place_of_the_machine_that_made_it(name: str) -> None:
    with zipfile.ZipFile(ZOO / f"{name}.pt") as archive:
        for record in archive.namelist():
            assert not re.search(rb"/(home|root|work|usr|tmp|opt)/", archive.read(record)), record


def test_land_cover_is_told_with_its_drift_beside_its_baselines(emulator: Get) -> None:
    """Persistence has the higher accuracy, and no change; the emulator's worth is change in the right places."""
    scores = emulator("land_cover").manifest.scores
    for view in ("1_step", "5_free_steps", "14_free_steps"):
        own = scores[view]["land_cover"]
        persistence, majority = (own["baselines"][name] for name in ("persistence", "coarse_majority"))
        assert own["figure_of_merit"] > 0.08 > persistence["figure_of_merit"] == 0.0, view
        assert own["accuracy"] > majority["accuracy"], view
        assert own["mean_iou"] > majority["mean_iou"], view
        assert persistence["accuracy"] - own["accuracy"] < 0.003, view
        assert scores[view]["changed_pixels"] > 20_000
    drift = scores["1_step"]["land_cover"]["accuracy"] - scores["14_free_steps"]["land_cover"]["accuracy"]
    assert abs(drift) < 0.005
    masked = scores["1_step_prior_masked"]["land_cover"]
    assert masked["accuracy"] > masked["baselines"]["coarse_majority"]["accuracy"]


def test_downscaling_beats_interpolation_where_it_has_not_been(emulator: Get) -> None:
    """A lapse rate that is fitted to normals is the better method for them, by far not for hours: both are told."""
    scores = emulator("downscaling").manifest.scores
    for view in ("held_out_regions", "later_hours"):
        own = scores[view]["tas"]
        assert set(own["baselines"]) == {"nearest", "bilinear", "bicubic", "lapse_rate"}
        assert {"convnet", "densenet", "unet", "convnext"} <= set(own["other_networks"])
        for name in ("nearest", "bilinear", "bicubic"):
            assert own["rmse"] < 0.8 * own["baselines"][name]["rmse"], (view, name)
    later = scores["later_hours"]["tas"]
    assert later["rmse"] < 0.8 * later["baselines"]["lapse_rate"]["rmse"]


def test_downscaling_is_colder_on_mountains(emulator: Get) -> None:
    coarse, static = TILES["downscaling"]()
    fine = answer(emulator("downscaling"), [coarse, static])
    orog = torch.pixel_shuffle(static, 4)[:, :1]
    relief = orog - nn.functional.interpolate(nn.functional.avg_pool2d(orog, 4), scale_factor=4.0, mode="bilinear")
    departure = fine - nn.functional.interpolate(coarse, scale_factor=4.0, mode="bilinear")
    inner = slice(8, -8)
    x, y = relief[0, 0, inner, inner].reshape(-1), departure[0, 0, inner, inner].reshape(-1)
    slope = float((x * y).sum() / (x * x).sum())
    assert -9.8e-3 < slope < -2e-3


def test_biomass_says_that_its_scenes_are_made_up_and_beats_single_pixels(emulator: Get) -> None:
    manifest = emulator("biomass").manifest
    assert "SYNTHETIC" in manifest.description
    own = manifest.scores["synthetic_test_scenes"]["agb"]
    assert {"mean_of_labels", "gradient_boosted_trees_of_pixels"} <= set(own["baselines"])
    for baseline in own["baselines"].values():
        assert own["rmse"] < baseline["rmse"]


PAGES = Path(__file__).parents[2] / "docs" / "emulators"


@pytest.mark.parametrize("name", NAMES)
def test_page_shows_the_scores_of_the_zoo(name: str) -> None:
    scores = json.loads((ZOO / f"{name}.json").read_text(encoding="utf-8"))["scores"]
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    for view, outputs in scores.items():
        (own,) = (entry for entry in outputs.values() if isinstance(entry, dict))
        for method, values in {"**this emulator**": own, **own["baselines"], **own.get("other_networks", {})}.items():
            numbers = [f"{value:.3f}" for value in values.values() if isinstance(value, float)]
            row = " | ".join([view.replace("_", " "), method.replace("_", " "), *numbers])
            assert row in page, f"docs/emulators/{name}.md lacks: {row}"
