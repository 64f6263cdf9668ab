# SPDX-License-Identifier: Apache-2.0
"""What the recipes over synthetic scenes have in common: scenes of each side of a split, training, plain scores.

No satellite or aerial images are at hand. Every scene is drawn by a seed of its own, so that none is on two sides.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn

from torchscript_models.fitting import Settings, fit_member
from torchscript_models.recipe import Recipe
from torchscript_models.watch import Watch

BATCH: Final = 8

Batch = tuple[Tensor, Tensor]  #: images (n, bands, rows, columns) and labels


class SceneRecipe(Recipe):
    """An emulator of images, made and judged on synthetic scenes.

    Attributes
    ----------
    size : int
        Pixels of a scene along each axis.
    counts : dict
        Number of scenes on each side of the split.
    first_seed : int
        The scenes are drawn by seeds that follow from it, whatever the seed of the training.
    """

    needs_data = False
    size: ClassVar[int]
    counts: ClassVar[dict[str, int]] = {"train": 160, "validation": 16, "test": 32}
    first_seed: ClassVar[int] = 0

    def __init__(self, data: Path | None = None) -> None:
        """Take no observations: there are none of this kind."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Any:
        """Return a scene."""

    @abstractmethod
    def batch(self, scenes: list[Any]) -> Batch:
        """Return images and labels of scenes."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of a network on a batch."""

    @cached_property
    def scenes(self) -> dict[str, list[Any]]:
        """The scenes of each side."""
        seeds = iter(np.random.SeedSequence(self.first_seed).spawn(sum(self.counts.values())))
        return {
            side: [self.draw(np.random.default_rng(next(seeds))) for _ in range(n)] for side, n in self.counts.items()
        }

    def fit(self, network: nn.Module, settings: Settings, watch: Watch, name: str = "member") -> nn.Module:
        """Train a network on the training scenes, stopped by the validation scenes."""
        rng = np.random.default_rng(settings.seed)
        scenes = self.scenes["train"]

        def batches() -> Iterator[Batch]:
            for chosen in np.array_split(rng.permutation(len(scenes)), len(scenes) // BATCH):
                yield self.batch([scenes[i] for i in chosen])

        held_out = self.batch(self.scenes["validation"])
        fit_member(network, batches, self.loss, held_out, settings, watch, name=name, rng=rng)
        return network.cpu().eval()


def answers(network: nn.Module, images: Tensor) -> Tensor:
    """Return what a network answers to images, a few at a time."""
    with torch.inference_mode():
        return torch.cat([network(part) for part in images.split(BATCH)])
