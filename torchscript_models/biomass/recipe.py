# SPDX-License-Identifier: Apache-2.0
"""How biomass is trained and judged: on synthetic scenes with sparse labels, against the truth of other scenes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from torch import Tensor, nn

from coupler_plugin.emulator.manifest import Manifest
from torchscript_models.biomass.network import CLASSES, HALO, MOST, Biomass, BiomassUNet, masked_rmse
from torchscript_models.biomass.scenes import BANDS, Scene, scene
from torchscript_models.export import input_entry
from torchscript_models.fitting import Settings, fit_member
from torchscript_models.recipe import Recipe
from torchscript_models.watch import Watch

SIZE: Final = 96  #: pixels of a scene along each axis
TILE: Final = 224
SCENES: Final = {"train": 160, "validation": 16, "test": 32}
BATCH: Final = 8
_DIGITS: Final = 3

Batch = tuple[Tensor, Tensor]  #: reflectance and labels


class BiomassRecipe(Recipe):
    """Above-ground biomass from six bands, by a U-Net trained from scratch on synthetic scenes."""

    name = "biomass"
    settings = Settings(epochs=8, members=1, learning_rate=3e-3, weight_decay=1e-4, patience=8, n_folds=1)
    targets: ClassVar[tuple[str, ...]] = ("agb",)

    def __init__(self, data: Path) -> None:
        """Take no observations: there are none of this kind."""

    @cached_property
    def scenes(self) -> dict[str, list[Scene]]:
        """The scenes of each side, drawn by seeds of their own: none is on two sides."""
        seeds = iter(np.random.SeedSequence(0).spawn(sum(SCENES.values())))
        return {side: [scene(np.random.default_rng(next(seeds)), SIZE) for _ in range(n)] for side, n in SCENES.items()}

    def train(self, settings: Settings, watch: Watch) -> nn.Module:
        """Return a network trained on the labels of the training scenes."""
        torch.manual_seed(settings.seed)
        network = BiomassUNet()
        rng = np.random.default_rng(settings.seed)
        scenes = self.scenes["train"]

        def batches() -> Iterator[Batch]:
            for chosen in np.array_split(rng.permutation(len(scenes)), len(scenes) // BATCH):
                yield _tensors([scenes[i] for i in chosen])

        held_out = _tensors(self.scenes["validation"])
        fit_member(network, batches, label_loss, held_out, settings, watch, rng=rng)
        return Biomass(network.cpu()).eval()

    def evaluate(self, settings: Settings, watch: Watch) -> dict[str, Any]:
        """Return the scores of the network that `train` gives, over all clear pixels of the test scenes."""
        network = self.train(settings, watch)
        pixels, labels = _labelled(self.scenes["train"])
        trees = HistGradientBoostingRegressor(max_iter=200, learning_rate=0.1, random_state=0).fit(pixels, labels)
        line = LinearRegression().fit(pixels, labels)
        image, _ = _tensors(self.scenes["test"])
        truth = np.stack([one.biomass for one in self.scenes["test"]])
        is_clear = (image > 0).any(dim=1).numpy()
        with torch.inference_mode():
            found = network(image)[:, 0].numpy()[is_clear]
        flat = image.movedim(1, -1).numpy()[is_clear]
        methods = {
            "mean_of_labels": np.full(len(flat), labels.mean()),
            "linear_regression_of_pixels": line.predict(flat),
            "gradient_boosted_trees_of_pixels": trees.predict(flat),
        }
        baselines = {name: _scores(values, truth[is_clear]) for name, values in methods.items()}
        own = _scores(found, truth[is_clear]) | {"baselines": baselines}
        return {"synthetic_test_scenes": {"scenes": len(truth), "pixels": int(is_clear.sum()), "agb": own}}

    def manifest(self, settings: Settings, scores: dict[str, Any]) -> Manifest:
        """Return the manifest of the network that `train` gives."""
        image, _ = _tensors(self.scenes["train"])
        share = {"units": "1", "valid_range": (0.0, 1.0)}
        return Manifest(
            name=self.name,
            version="0.1.0",
            kind="tile",
            tile={"size": (TILE, TILE), "halo": HALO},
            description=(
                "Above-ground biomass from six bands of reflectance. Trained on SYNTHETIC scenes: it shows how such an "
                "emulator is coupled, and knows nothing of real forests."
            ),
            source="own network; task after arXiv 2406.19888 and arXiv 2406.04928",
            license="Apache-2.0",
            attribution="Trained on synthetic scenes.",
            every="1yr",
            inputs=[
                input_entry(
                    f"reflectance_{band}",
                    "1e-4",
                    (0.0, 20000.0),
                    image[:, channel].numpy(),
                    "last",
                    "0 in all bands where there is no data",
                )
                for channel, band in enumerate(BANDS)
            ],
            outputs=[
                {"name": "agb", "units": "Mg ha-1", "valid_range": (0.0, MOST)},
                {
                    "name": "agb_class_frac",
                    "size": 3,
                    "description": f"shares of the area below {CLASSES[0]:g}, below {CLASSES[1]:g} and above [Mg ha-1]",
                    **share,
                },
            ],
            budgets=[{"terms": {"agb_class_frac": 1.0}, "equals": 1.0, "description": "the classes fill the cell"}],
            scores=scores,
            training={
                "data": "synthetic scenes (torchscript_models/biomass/scenes.py)",
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


def label_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Return the root mean square error at the labels [100 Mg ha-1]."""
    image, labels = batch
    return masked_rmse(network(image), labels) / 100.0


def _tensors(scenes: list[Scene]) -> Batch:
    image = torch.from_numpy(np.stack([one.reflectance for one in scenes]))
    return image, torch.from_numpy(np.stack([one.labels for one in scenes]))[:, None]


def _labelled(scenes: list[Scene]) -> tuple[np.ndarray, np.ndarray]:
    """Return the reflectances (n, 6) and labels (n,) of all clear labelled pixels."""
    image, labels = _tensors(scenes)
    chosen = (labels[:, 0] >= 0) & (image > 0).any(dim=1)
    return image.movedim(1, -1)[chosen].numpy(), labels[:, 0][chosen].numpy()


def _scores(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    error = found - truth
    values = {
        "rmse": np.sqrt((error**2).mean()),
        "r2": 1.0 - (error**2).mean() / truth.var(),
        "mae": np.abs(error).mean(),
        "bias": error.mean(),
    }
    return {name: float(np.round(value, _DIGITS)) for name, value in values.items()}
