# SPDX-License-Identifier: Apache-2.0
"""tree_cover and surface_classes: synthetic photographs as documented, networks that learn, scores of known answers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn", reason="training needs the libraries of the extra 'train'")

from torchscript_models.export import traced
from torchscript_models.scene_recipe import answers
from torchscript_models.segmentation.judgement import CELL, colour_baselines, judge
from torchscript_models.segmentation.network import HALO, Cover, SegFormer, Segmentation, residual_unet
from torchscript_models.segmentation.recipe import SegmentationRecipe, SurfaceClassesRecipe, TreeCoverRecipe
from torchscript_models.segmentation.scenes import (
    BACKGROUND,
    BUILDING,
    LAND,
    ROAD,
    TREES,
    WATER,
    WOODLAND,
    photograph,
)
from torchscript_models.watch import Watch

SIZE = 64
COUNTS = {"train": 24, "validation": 4, "test": 4}


class FewTrees(TreeCoverRecipe):
    """On a few small scenes."""

    size, counts = SIZE, COUNTS


class FewSurfaces(SurfaceClassesRecipe):
    """On a few small scenes."""

    size, counts = SIZE, COUNTS


@pytest.fixture(scope="module", params=[FewTrees, FewSurfaces])
def recipe(request: pytest.FixtureRequest) -> SegmentationRecipe:
    return request.param()


def test_photographs_are_what_they_are_said_to_be() -> None:
    for look in (TREES, LAND):
        scenes = [photograph(np.random.default_rng(seed), 128, look) for seed in range(8)]
        rgb = np.stack([one.rgb for one in scenes], axis=1)
        surface = np.stack([one.surface for one in scenes])
        assert (rgb >= 1).all()
        assert (rgb <= 255).all()
        assert (rgb == np.round(rgb)).all(), "counts"
        assert set(np.unique(surface)) == {BACKGROUND, BUILDING, WOODLAND, WATER, ROAD}
        green = rgb[1]
        roughness = {kind: np.abs(np.diff(green, axis=1))[(surface[:, 1:] == kind)].mean() for kind in range(5)}
        assert roughness[WOODLAND] > 1.5 * roughness[WATER], "crowns are rough, water is smooth"
        again = photograph(np.random.default_rng(0), 128, look)
        np.testing.assert_array_equal(again.rgb, scenes[0].rgb)


def test_no_scene_is_on_two_sides(recipe: SegmentationRecipe) -> None:
    """Each scene is drawn by a seed of its own, so that no pixel of one is in another, nor in its surroundings."""
    scenes = [one.rgb for side in recipe.scenes.values() for one in side]
    assert {name: len(side) for name, side in recipe.scenes.items()} == COUNTS
    assert len({scene.tobytes() for scene in scenes}) == len(scenes)
    for left, right in pairwise(scenes):
        assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 0.9
    other = {one.rgb.tobytes() for kind in (FewTrees, FewSurfaces) for one in kind().scenes["train"]}
    assert len(other) == 2 * COUNTS["train"], "the two emulators share no scene"


def test_a_short_training_lowers_the_loss_and_is_scored(recipe: SegmentationRecipe) -> None:
    losses: list[float] = []
    watch = Watch(log=lambda fit, epoch, values: losses.append(values["held_out_loss"]))
    scores = recipe.evaluate(replace(recipe.settings, epochs=3), watch)
    assert losses[-1] < losses[0]
    own = scores["synthetic_test_scenes"][recipe.targets[0]]
    methods = [own, *own["baselines"].values()]
    assert len(methods) == 4
    for values in methods:
        assert 0.0 <= values["mean_iou"] <= values["accuracy"] <= 1.0
    manifest = recipe.manifest(recipe.settings, scores)
    assert manifest.tile.halo >= HALO, "a tile sees all that an answer depends on"
    assert manifest.training["data"].startswith("synthetic")


def test_segformer_learns_and_becomes_torchscript() -> None:
    pytest.importorskip("transformers", reason="SegFormer needs the libraries of the extra 'train'")
    torch.manual_seed(0)
    recipe = FewSurfaces()
    batch = recipe.batch(recipe.scenes["train"][:8])
    network = Segmentation(SegFormer(5, widths=(16, 32, 64, 128), depths=(1, 1, 1, 1), heads=(1, 2, 4, 8)))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        optimiser.zero_grad()
        loss = recipe.loss(network, batch)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    expected = answers(network.eval(), batch[0])
    assert expected.shape == (8, 5, SIZE, SIZE)
    network.network = traced(network.network, torch.zeros(1, 3, SIZE, SIZE))
    script = torch.jit.script(Cover(network, 5, is_tree=False).eval())
    assert torch.equal(script(batch[0]).argmax(dim=1), expected.argmax(dim=1))


def test_classes_fill_the_area_and_no_data_is_background() -> None:
    torch.manual_seed(0)
    image = 255.0 * torch.rand(2, 3, 50, 70)
    image[:, :, :, 60:] = 0.0
    classes, trees = (
        torch.jit.script(Cover(residual_unet(n, width=4), n, is_tree=is_tree).eval())(image)
        for n, is_tree in ((5, False), (2, True))
    )
    assert torch.equal(classes.sum(dim=1), torch.ones(2, 50, 70))
    assert (classes[:, BACKGROUND, :, 60:] == 1).all()
    assert trees.shape == (2, 1, 50, 70)
    assert set(trees.unique().tolist()) <= {0.0, 100.0}
    assert (trees[..., 60:] == 0).all()


def test_scores_of_known_answers() -> None:
    truth = np.zeros((1, CELL, 2 * CELL), np.uint8)
    truth[..., :CELL] = 1
    found = truth.copy()
    found[:, : CELL // 2] = 0
    scores = judge(truth, found, ("background", "tree"))
    assert scores["accuracy"] == 0.75
    assert scores["iou"] == {"background": pytest.approx(2 / 3, abs=1e-4), "tree": 0.5}
    assert (scores["precision"], scores["recall"]) == (1.0, 0.5)
    assert scores["f1"] == pytest.approx(2 / 3, abs=1e-4)
    assert scores["share_error"] == 0.25, "half of one of two cells, for both classes"
    assert judge(truth, truth, ("background", "tree"))["mean_iou"] == 1.0


def test_colours_tell_what_colours_can() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 2, (2, 16, 16)).astype(np.uint8)
    numbers[0, 0] = 1
    images = np.stack([50.0 + 100.0 * numbers, np.full(numbers.shape, 80.0), np.full(numbers.shape, 60.0)], axis=1)
    found = colour_baselines(images.astype(np.float32), numbers, images.astype(np.float32), n_samples=200)
    assert (found["majority_class"] == 1).all()
    for name in ("logistic_regression_of_colours", "gradient_boosted_trees_of_colours"):
        np.testing.assert_array_equal(found[name], numbers)
