# SPDX-License-Identifier: Apache-2.0
"""How the grid emulators of the zoo do beside their baselines, and that they behave as what they stand for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from small_tiles import TILES
from torch import nn
from zoo import GRIDS

from coupler_plugin.emulator.load import EmulatorFile

SEGMENTATION = [name for name in GRIDS if name in ("surface_classes", "tree_cover")]

Get = Callable[[str], EmulatorFile]
Run = Callable[..., torch.Tensor]


def test_land_cover_beats_persistence_and_finds_change(emulator: Get) -> None:
    """In one step and in free runs; and the chances tell the fractions of coarse cells, which no map of before does."""
    scores = emulator("land_cover").manifest.scores
    for view in ("1_step", "5_free_steps", "14_free_steps"):
        own = scores[view]["land_cover"]
        persistence, majority = (own["baselines"][name] for name in ("persistence", "coarse_majority"))
        assert own["figure_of_merit"] > 0.2 > persistence["figure_of_merit"] == 0.0, view
        for baseline in (persistence, majority):
            assert own["accuracy"] > baseline["accuracy"], view
            assert own["mean_iou"] > baseline["mean_iou"], view
            assert own["brier"] < 0.9 * baseline["brier"], view
            assert own["cell_rmse"] < 0.9 * baseline["cell_rmse"], view
        assert scores[view]["changed_pixels"] > 20_000
    drift = scores["1_step"]["land_cover"]["accuracy"] - scores["14_free_steps"]["land_cover"]["accuracy"]
    assert abs(drift) < 0.001
    for view in ("1_step_interpolated", "1_step_prior_masked"):
        own = scores[view]["land_cover"]
        assert own["accuracy"] > own["baselines"]["coarse_majority"]["accuracy"]


def test_downscaling_beats_interpolation_and_lapse_rates_where_it_has_not_been(emulator: Get) -> None:
    scores = emulator("downscaling").manifest.scores
    for view in ("held_out_regions", "later_hours"):
        own = scores[view]["tas"]
        baselines = own["baselines"]
        simple, kept = {"nearest", "bilinear", "bicubic", "lapse_rate"}, {"bilinear_mean_kept", "lapse_rate_mean_kept"}
        assert set(baselines) == simple | kept | {"local_lapse_rate_mean_kept"}
        assert {"convnet", "densenet", "unet", "convnext"} <= set(own["other_networks"])
        for name in simple:
            assert own["rmse"] < 0.85 * baselines[name]["rmse"], (view, name)
        for name in kept:
            assert own["rmse"] < 0.95 * baselines[name]["rmse"], (view, name)
        assert abs(own["bias"]) < 0.005, "means are kept"
    drawn = scores["later_hours"]["tas"]["other_networks"]["resnet_mc_dropout"]
    assert 0.0 < drawn["crps"] < drawn["mae"]
    assert drawn["spread_over_error"] > 0.0
    assert scores["later_hours"]["tas"]["other_networks"]["resnet_adversarial"]["detail"] > 0.0


def test_downscaling_keeps_the_mean_over_land(run: Run) -> None:
    coarse, static = TILES["downscaling"]()
    land = torch.pixel_shuffle(static, 4)[:, 1:2]
    share = nn.functional.avg_pool2d(land, 4)
    means = nn.functional.avg_pool2d(land * run("downscaling", coarse, static), 4) / share
    assert (share > 0).any()
    torch.testing.assert_close(means[share > 0], coarse[share > 0], rtol=0, atol=2e-5)


def test_downscaling_is_colder_on_mountains(run: Run) -> None:
    coarse, static = TILES["downscaling"]()
    fine = run("downscaling", coarse, static)
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


@pytest.mark.parametrize("name", SEGMENTATION)
def test_segmentation_says_that_its_scenes_are_made_up_and_beats_colours(name: str, emulator: Get) -> None:
    manifest = emulator(name).manifest
    assert "SYNTHETIC" in manifest.description
    own = manifest.scores["synthetic_test_scenes"][manifest.outputs[0].name]
    assert len(own["baselines"]) == 3
    for method, values in own["baselines"].items():
        assert own["accuracy"] > values["accuracy"] + 0.1, method
        assert own["mean_iou"] > values["mean_iou"] + 0.05, method
        assert own["share_error"] < 0.5 * values["share_error"], method


@pytest.mark.parametrize("name", SEGMENTATION)
def test_segmentation_tells_a_photograph_and_where_there_is_none(name: str, run: Run) -> None:
    (image,) = TILES[name]()
    (cover,) = run(name, image)
    assert (cover[0, :, 30:33] == (0.0 if name == "tree_cover" else 1.0)).all(), "no data is background"
    if name == "surface_classes":
        assert torch.equal(cover.sum(dim=0), torch.ones_like(cover[0]))
    else:
        assert set(cover.unique().tolist()) <= {0.0, 100.0}
