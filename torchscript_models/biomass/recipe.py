# SPDX-License-Identifier: Apache-2.0
"""How biomass is trained and judged: on synthetic scenes with sparse labels, against the truth of other scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from torch import Tensor, nn

from coupler_plugin.emulator.manifest import Manifest
from torchscript_models.biomass.network import (
    CLASSES,
    HALO,
    MOST,
    Biomass,
    BiomassUNet,
    EncoderWithHead,
    SwinEncoder,
    masked_rmse,
    read_pretrained,
)
from torchscript_models.biomass.scenes import BANDS, Scene, scene
from torchscript_models.data import DataError
from torchscript_models.export import input_entry, traced, training_facts
from torchscript_models.fitting import Settings
from torchscript_models.scene_recipe import Batch, SceneRecipe, answers
from torchscript_models.watch import Watch

TILE: Final = 224
_DIGITS: Final = 3


class BiomassRecipe(SceneRecipe):
    """Above-ground biomass from six bands, by a U-Net trained from scratch on synthetic scenes."""

    name = "biomass"
    settings = Settings(epochs=8, members=1, learning_rate=3e-3, weight_decay=1e-4, patience=8, n_folds=1)
    targets: ClassVar[tuple[str, ...]] = ("agb",)
    size = 96

    def draw(self, rng: np.random.Generator) -> Scene:
        """Return a scene."""
        return scene(rng, self.size)

    def batch(self, scenes: list[Scene]) -> Batch:
        """Return reflectance and labels of scenes."""
        image = torch.from_numpy(np.stack([one.reflectance for one in scenes]))
        return image, torch.from_numpy(np.stack([one.labels for one in scenes]))[:, None]

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the root mean square error at the labels [100 Mg ha-1]."""
        image, labels = batch
        return masked_rmse(network(image), labels) / 100.0

    def train(self, settings: Settings, watch: Watch) -> nn.Module:
        """Return a network trained on the labels of the training scenes."""
        torch.manual_seed(settings.seed)
        return Biomass(self.fit(BiomassUNet(), settings, watch)).eval()

    def evaluate(self, settings: Settings, watch: Watch) -> dict[str, Any]:
        """Return the scores of the network that `train` gives, over all clear pixels of the test scenes."""
        network = self.train(settings, watch)
        image, sparse = self.batch(self.scenes["train"])
        chosen = (sparse[:, 0] >= 0) & (image > 0).any(dim=1)
        pixels, labels = image.movedim(1, -1)[chosen].numpy(), sparse[:, 0][chosen].numpy()
        trees = HistGradientBoostingRegressor(max_iter=200, learning_rate=0.1, random_state=0).fit(pixels, labels)
        line = LinearRegression().fit(pixels, labels)
        image, _ = self.batch(self.scenes["test"])
        truth = np.stack([one.biomass for one in self.scenes["test"]])
        is_clear = (image > 0).any(dim=1).numpy()
        found = answers(network, image)[:, 0].numpy()[is_clear]
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
        image, _ = self.batch(self.scenes["train"])
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
            training=training_facts(self.name, settings, "synthetic scenes (torchscript_models/biomass/scenes.py)"),
        )


class BiomassSwinRecipe(BiomassRecipe):
    """The same by one convolution on a Swin-B that stays frozen, whose weights a user brings: `swin_b.pt` in the data.

    There are none at hand, so that nothing of it ships.
    """

    name = "biomass_swin"
    is_shipped = False
    needs_data = True
    size = TILE  # the encoder fits its windows to the size of the image
    weights: ClassVar[str] = "swin_b.pt"  #: its tensors have the names of `SwinModel`, behind `prefix`
    prefix: ClassVar[str] = "swin."

    def __init__(self, data: Path) -> None:
        self._weights = data / self.weights
        if not self._weights.is_file():
            raise DataError(f"The folder '{data}' lacks '{self.weights}', the weights of a Swin-B for six bands.")

    def encoder(self) -> SwinEncoder:
        """Return the encoder before it gets its weights."""
        return SwinEncoder()

    def train(self, settings: Settings, watch: Watch) -> nn.Module:
        """Return the frozen encoder with a head trained on the labels of the training scenes."""
        torch.manual_seed(settings.seed)
        encoder = self.encoder()
        read_pretrained(encoder.inner, self._weights, self.prefix)
        network = EncoderWithHead(encoder, encoder.channels, encoder.stride)
        self.fit(network, settings, watch)
        network.encoder = traced(encoder, torch.zeros(1, len(BANDS), self.size, self.size))
        return Biomass(network).eval()


def _scores(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    error = found - truth
    values = {
        "rmse": np.sqrt((error**2).mean()),
        "r2": 1.0 - (error**2).mean() / truth.var(),
        "mae": np.abs(error).mean(),
        "bias": error.mean(),
    }
    return {name: float(np.round(value, _DIGITS)) for name, value in values.items()}
