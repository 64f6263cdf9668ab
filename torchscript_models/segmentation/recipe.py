# SPDX-License-Identifier: Apache-2.0
"""How tree_cover and surface_classes are trained and judged: on synthetic photographs, against their true outlines."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from coupler_plugin.emulator.manifest import Manifest
from torchscript_models.export import input_entry, training_facts
from torchscript_models.fitting import Settings
from torchscript_models.scene_recipe import Batch, SceneRecipe, answers
from torchscript_models.segmentation.judgement import colour_baselines, judge
from torchscript_models.segmentation.network import Cover, residual_unet
from torchscript_models.segmentation.scenes import LAND, SURFACES, TREES, WOODLAND, Look, Photograph, photograph
from torchscript_models.watch import Watch

BANDS: Final = ("red", "green", "blue")
VIEW: Final = "synthetic_test_scenes"


class SegmentationRecipe(SceneRecipe):
    """The classes of the pixels of a photograph, by a U-Net with a residual encoder trained from scratch."""

    settings = Settings(epochs=12, members=1, learning_rate=3e-3, weight_decay=1e-4, patience=12, n_folds=1)
    size = 128
    classes: ClassVar[tuple[str, ...]]
    look: ClassVar[Look]

    def draw(self, rng: np.random.Generator) -> Photograph:
        """Return a photograph."""
        return photograph(rng, self.size, self.look)

    def numbers(self, one: Photograph) -> np.ndarray:
        """Return the numbers of the classes of a photograph's pixels, uint8, shape (rows, columns)."""
        return one.surface

    def batch(self, scenes: list[Photograph]) -> Batch:
        """Return counts and numbers of the classes."""
        image = torch.from_numpy(np.stack([one.rgb for one in scenes]))
        return image, torch.from_numpy(np.stack([self.numbers(one) for one in scenes]).astype(np.int64))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the cross entropy."""
        image, numbers = batch
        return cross_entropy(network(image), numbers)

    def train(self, settings: Settings, watch: Watch) -> nn.Module:
        """Return a U-Net trained on the training scenes."""
        torch.manual_seed(settings.seed)
        logits = self.fit(residual_unet(len(self.classes)), settings, watch, "unet")
        return Cover(logits, len(self.classes), is_tree=len(self.classes) == 2).eval()

    def evaluate(self, settings: Settings, watch: Watch) -> dict[str, Any]:
        """Return the scores of the network that `train` gives, on the test scenes."""
        image, truth = self.batch(self.scenes["test"])
        trained_on, known = (part.numpy() for part in self.batch(self.scenes["train"]))
        network = self.train(settings, watch)
        found = {"unet": answers(network.logits, image).argmax(dim=1).numpy()}
        found |= colour_baselines(trained_on, known.astype(np.uint8), image.numpy())
        tables = {name: judge(truth.numpy(), numbers, self.classes) for name, numbers in found.items()}
        own = tables.pop("unet") | {"baselines": tables}
        return {VIEW: {"scenes": len(truth), "pixels": truth.numel(), self.targets[0]: own}}

    def described(
        self, settings: Settings, scores: dict[str, Any], outputs: list[dict[str, Any]], **own: Any
    ) -> Manifest:
        """Return a manifest of what both emulators share, and what is the `own` of one."""
        image, _ = self.batch(self.scenes["train"])
        return Manifest(
            name=self.name,
            version="0.1.0",
            kind="tile",
            license="Apache-2.0",
            attribution="Trained on synthetic scenes.",
            every="1yr",
            inputs=[
                input_entry(
                    f"image_{band}",
                    "1",
                    (0.0, 255.0),
                    image[:, channel].numpy(),
                    "last",
                    "counts; 0 in all bands where there is no data",
                )
                for channel, band in enumerate(BANDS)
            ],
            outputs=outputs,
            scores=scores,
            training=training_facts(
                self.name, settings, "synthetic scenes (torchscript_models/segmentation/scenes.py)"
            ),
            **own,
        )


class TreeCoverRecipe(SegmentationRecipe):
    """Where trees stand."""

    name = "tree_cover"
    targets: ClassVar[tuple[str, ...]] = ("treeFrac",)
    classes = ("background", "tree")
    look = TREES
    first_seed = 1

    def numbers(self, one: Photograph) -> np.ndarray:
        """Return 1 where there are trees, 0 elsewhere."""
        return (one.surface == WOODLAND).astype(np.uint8)

    def manifest(self, settings: Settings, scores: dict[str, Any]) -> Manifest:
        """Return the manifest of the network that `train` gives."""
        output = {"name": "treeFrac", "units": "%", "valid_range": (0.0, 100.0), "description": "area under trees"}
        return self.described(
            settings,
            scores,
            [output],
            tile={"size": (1024, 1024), "halo": 128},
            description=(
                "Area under trees from photographs of 0.1 m. Trained on SYNTHETIC scenes: it shows how such an "
                "emulator is coupled, and knows nothing of real trees."
            ),
            source="own network; task and tiles after OAM-TCD (arXiv 2407.11743)",
        )


class SurfaceClassesRecipe(SegmentationRecipe):
    """What covers the ground: buildings, woodland, water, roads, or none of them.

    A class counts with its frequency to the power of -1/2: roads and buildings cover little.
    """

    name = "surface_classes"
    settings = replace(SegmentationRecipe.settings, epochs=40, patience=40)
    targets: ClassVar[tuple[str, ...]] = ("surfaceFrac",)
    classes = SURFACES
    look = LAND
    first_seed = 2

    @cached_property
    def weights(self) -> Tensor:
        """The weights of the classes in the loss, of mean 1 over all training pixels, shape (classes,)."""
        _, numbers = self.batch(self.scenes["train"])
        share = torch.bincount(numbers.reshape(-1), minlength=len(self.classes)) / numbers.numel()
        weights = share.clamp(min=1e-3) ** -0.5
        return weights / (share * weights).sum()

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the weighted cross entropy."""
        image, numbers = batch
        return cross_entropy(network(image), numbers, self.weights.to(image.device))

    def manifest(self, settings: Settings, scores: dict[str, Any]) -> Manifest:
        """Return the manifest of the network that `train` gives."""
        output = {
            "name": "surfaceFrac",
            "units": "1",
            "size": len(SURFACES),
            "valid_range": (0.0, 1.0),
            "description": f"shares of the area: {', '.join(SURFACES)}",
        }
        return self.described(
            settings,
            scores,
            [output],
            tile={"size": (512, 512), "halo": 64},
            description=(
                "What covers the ground, from photographs of 0.25 m. Trained on SYNTHETIC scenes: it shows how such an "
                "emulator is coupled, and knows nothing of real landscapes."
            ),
            source="own network; task and tiles after LandCover.ai (arXiv 2005.02264)",
            budgets=[{"terms": {"surfaceFrac": 1.0}, "equals": 1.0, "description": "the classes fill the cell"}],
        )
