# SPDX-License-Identifier: Apache-2.0
"""How land_cover is trained and judged: on blocks of New Guinea, by maps of 2001 and 2015."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from torch import nn

from coupler_plugin.emulator.manifest import Manifest, Statistics
from torchscript_models.cubes import check_apart
from torchscript_models.fitting import Settings, fit_member
from torchscript_models.land_cover import judgement, training
from torchscript_models.land_cover.classes import CELL, CLASSES, N_CLASSES, N_LAND, PIXEL
from torchscript_models.land_cover.maps import CITATION, FILES, Maps, prepare, read_cube
from torchscript_models.land_cover.network import HALO, STATE_HALO, LandCover
from torchscript_models.land_cover.samples import Bools, seen_in_training, split
from torchscript_models.recipe import Recipe
from torchscript_models.watch import Watch

TILE: Final = 512  #: pixels of a tile along each axis, its halo included


class LandCoverRecipe(Recipe):
    """Fine land cover, year by year, from coarse class fractions, landforms and the map of the year before.

    The network of the zoo is trained on the training blocks alone: the scores are its own.
    """

    name = "land_cover"
    settings = Settings(epochs=4, members=1, learning_rate=2e-3, weight_decay=0.05, patience=4, n_folds=1)
    targets: ClassVar[tuple[str, ...]] = ("land_cover",)

    def __init__(self, data: Path) -> None:
        self._cube = read_cube(data)

    @cached_property
    def maps(self) -> Maps:
        """The maps, with what is assumed of the years between them."""
        return prepare(self._cube)

    @cached_property
    def sides(self) -> dict[str, Bools]:
        """The pixels of each side of the split."""
        sides = split(self.maps)
        check_apart(seen_in_training(self.maps, sides), ~sides["train"], HALO)
        return sides

    def train(self, settings: Settings, watch: Watch) -> nn.Module:
        """Return a network trained on the training blocks, stopped by the validation blocks."""
        torch.manual_seed(settings.seed)
        network = LandCover()
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster on CPUs
        weights = training.class_weights(self.maps, self.sides)
        rng = np.random.default_rng(settings.seed)
        lessons = training.Lessons(self.maps, self.sides, settings.epochs, rng)

        def advance() -> None:  # after a stop it is called for the epochs before: the lessons go on where they were
            lessons.advance()
            watch.advance()

        fit_member(
            network.transition,
            lessons,
            lambda transition, sample: training.loss_of(sample, transition, weights),
            training.validation_samples(self.maps, self.sides),
            settings,
            replace(watch, advance=advance),
            rng=rng,
        )
        return network.cpu().to(memory_format=torch.contiguous_format).eval()

    def evaluate(self, settings: Settings, watch: Watch) -> dict[str, Any]:
        """Return the scores on the test blocks of the network that `train` gives."""
        return judgement.scores(self.train(settings, watch), self.maps, self.sides)

    def manifest(self, settings: Settings, scores: dict[str, Any]) -> Manifest:
        """Return the manifest of the network that `train` gives."""
        land = {"units": "1", "valid_range": (0.0, 1.0)}
        order = ", ".join(list(CLASSES.values())[1:])
        fractions = self.maps.coarse[:, :, self.maps.coarse.sum(axis=(0, 1)) > 0]
        statistics = {key: float(f"{getattr(fractions, key)():.6g}") for key in ("mean", "std", "min", "max")}
        return Manifest(
            name=self.name,
            version="0.2.0",
            kind="tile",
            tile={"size": (TILE, TILE), "halo": STATE_HALO},
            description=(
                "Land cover at 300 m, moved on by a year: a U-Net allocates the class fractions of a coarse scenario, "
                "from the map of the year before and landforms."
            ),
            source="own network; task and protocol after AI4Land (arXiv 2606.11793)",
            license="Apache-2.0",
            attribution=f"Trained on {CITATION}.",
            every="1yr",
            window={"length": 2},
            inputs=[
                {
                    "name": "fracLut",
                    "size": N_LAND,
                    "aggregate": "last",
                    "statistics": Statistics(**statistics),
                    "description": f"fractions of the land under {order}; only their proportions count",
                    **land,
                }
            ],
            static=[
                {
                    "name": "land_cover_map",
                    "units": "1",
                    "valid_range": (0.0, 255.0),
                    "description": "the map that a run starts from, by codes: "
                    + ", ".join(f"{code} {name}" for code, name in CLASSES.items()),
                },
                {
                    "name": "landform",
                    "units": "1",
                    "valid_range": (0.0, 255.0),
                    "description": "class of landform, 1 to 17; anything else: unknown",
                },
            ],
            state=[
                {"name": "origin", "size": N_CLASSES},
                {"name": "origin_fraction", "size": N_LAND},
                {"name": "has_turned", "size": 1},
                {"name": "calls", "size": 1},
            ],
            outputs=[
                {
                    "name": "landCoverFrac",
                    "size": N_CLASSES,
                    "description": f"the class map as one channel of 0 and 1 for each of sea, {order}",
                    **land,
                },
                {
                    "name": "landCoverProbability",
                    "size": N_CLASSES,
                    "description": "the probabilities of the same classes",
                    **land,
                },
            ],
            budgets=[
                {"terms": {name: 1.0}, "equals": 1.0, "description": "the classes fill the cell"}
                for name in ("landCoverFrac", "landCoverProbability")
            ],
            scores=scores,
            training={
                "data": ", ".join(FILES),
                "pixel_m": PIXEL,
                "coarse_cell_m": PIXEL * CELL,
                "seed": settings.seed,
                "epochs": settings.epochs,
                "members": settings.members,
                "script": f"python -m torchscript_models train {self.name}",
                "torch": torch.__version__.partition("+")[0],
            },
        )

    def epochs_to_evaluate(self, settings: Settings) -> int:
        """Return how many epochs `evaluate` takes at most: those of one training."""
        return self.epochs_to_train(settings)
