# SPDX-License-Identifier: Apache-2.0
"""How downscaling is trained and judged: temperature to a grid four times as fine, with elevation.

The network of the zoo learns monthly normals over land, where regions are held out. The scores also tell how all five
backbones do on these, and on hours around the British Isles, where later hours are held out.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn

from coupler_plugin.emulator.manifest import Manifest
from torchscript_models.downscaling.adversary import Discriminator, fit_against
from torchscript_models.downscaling.architecture import BACKBONES, Architecture
from torchscript_models.downscaling.fields import (
    CRU,
    CRU_CITATION,
    ELEVATION,
    ELEVATION_CITATION,
    SCALE,
    STATIC,
    Pairs,
    read_hours,
    read_normals,
)
from torchscript_models.downscaling.judgement import (
    Method,
    interpolation,
    judge,
    lapse_rate,
    local_lapse_rate,
    mean_kept,
)
from torchscript_models.downscaling.losses import LossName, loss_function
from torchscript_models.downscaling.network import Downscaling
from torchscript_models.downscaling.samples import Batch, Side, by_region, by_time, scales_of
from torchscript_models.export import input_entry
from torchscript_models.fitting import Settings, fit_member
from torchscript_models.recipe import Recipe
from torchscript_models.watch import Watch

SHIPPED: Final = Architecture("resnet", "spc", SCALE, n_static=len(STATIC), land_mean=True, width=8, n_blocks=3)
LOSS: Final[LossName] = "mae"
BATCHES: Final = 40  #: in an epoch
RECURRENT_WINDOW: Final = 3
TILE, HALO = 24, 4  #: coarse cells of a host's tiles, and of their margin, which is as far as a fit looks
DROPOUT, DRAWS = 0.1, 10  #: rate, and answers whose mean is scored, of Monte Carlo dropout
REGIONS, LATER = "held_out_regions", "later_hours"
ADVERSARIAL: Final = "resnet_adversarial"  #: the shipped architecture, trained on against a discriminator


def candidates(hourly: bool) -> dict[str, Architecture]:
    """Return the networks whose scores are told: every backbone, and for hours a recurrent one and one that draws."""
    shipped = replace(SHIPPED, land_mean=not hourly)
    found = {
        backbone: replace(shipped, backbone=backbone, upsampling="pin" if backbone == "unet" else "spc")
        for backbone in BACKBONES
    }
    if hourly:
        found["resnet_recurrent"] = replace(shipped, window=RECURRENT_WINDOW, n_blocks=1)
        found["resnet_mc_dropout"] = replace(shipped, dropout="mcdrop", dropout_rate=DROPOUT)
    return found


class DownscalingRecipe(Recipe):
    """Temperature on a grid four times as fine.

    The network of the zoo is trained on the training regions alone: its scores on the others are its own.
    """

    name = "downscaling"
    settings = Settings(epochs=8, members=1, learning_rate=2e-3, weight_decay=1e-4, patience=4, n_folds=1)
    targets: ClassVar[tuple[str, ...]] = ("tas",)

    def __init__(self, data: Path) -> None:
        self._data = data

    @cached_property
    def normals(self) -> Pairs:
        """Monthly normals over land."""
        return read_normals(self._data)

    def train(self, settings: Settings, watch: Watch) -> nn.Module:
        """Return a network trained on the training regions, stopped by the validation regions."""
        return fitted(SHIPPED, by_region(self.normals), settings, watch, f"{REGIONS}_{SHIPPED.backbone}")

    def evaluate(self, settings: Settings, watch: Watch) -> dict[str, Any]:
        """Return the scores of all candidates on what they have not seen; the shipped backbone is the emulator."""
        scores: dict[str, Any] = {}
        for view, sides in ((REGIONS, by_region(self.normals)), (LATER, by_time(read_hours(self._data)))):
            configs = candidates(hourly=view == LATER)
            simple = simple_methods(sides["train"], configs[SHIPPED.backbone])
            baselines = judge(sides["test"], simple)
            found = {}
            for name, config in configs.items():
                network = fitted(config, sides, settings, watch, f"{view}_{name}")
                found[name] = judge(sides["test"], {name: answers(network, config)}, config.window)[name]
                if view == LATER and name == SHIPPED.backbone:
                    against = fitted_against(network, config, sides["train"], settings, watch)
            if view == LATER:
                found[ADVERSARIAL] = judge(sides["test"], {"": answers(against, configs[SHIPPED.backbone])})[""]
            own = found.pop(SHIPPED.backbone)
            scores[view] = {
                "windows": len(sides["test"].windows),
                "times": len(sides["test"].times),
                "tas": own | {"baselines": {name: baselines[name] for name in simple}, "other_networks": found},
            }
        return scores

    def manifest(self, settings: Settings, scores: dict[str, Any]) -> Manifest:
        """Return the manifest of the network that `train` gives."""
        pairs = self.normals
        relief = {"size": SCALE**2}
        return Manifest(
            name=self.name,
            version="0.1.0",
            kind="tile",
            tile={"size": (TILE, TILE), "halo": HALO, "scale": SCALE},
            grid={"latlon": 2.0},
            description=(
                "Near-surface temperature over land on a grid four times as fine, from its coarse field, elevation and "
                "land fraction: local lapse rates that the coarse field tells, and a residual network with sub-pixel "
                "convolution that answers the departure from them. The mean over the land of a coarse cell is kept."
            ),
            source="own networks after DL4DS (arXiv 2205.08967)",
            license="Apache-2.0",
            attribution=f"Trained on {CRU_CITATION} and {ELEVATION_CITATION}.",
            every="1mon",
            inputs=[
                input_entry(
                    "tas", "degC", (-90.0, 60.0), pairs.coarse[:, 0], description="mean over the land of a cell"
                )
            ],
            static=[
                {
                    "name": "orog",
                    "units": "m",
                    "valid_range": (-500.0, 9000.0),
                    "description": "elevation of the fine cells in each coarse one, row by row; 0 over sea",
                    **relief,
                },
                {
                    "name": "sftlf",
                    "units": "%",
                    "valid_range": (0.0, 100.0),
                    "description": "land fraction of the same fine cells",
                    **relief,
                },
            ],
            outputs=[
                {
                    "name": "tas_fine",
                    "units": "degC",
                    "valid_range": (-90.0, 60.0),
                    "description": "the same temperature on the fine grid",
                }
            ],
            scores=scores,
            training={
                "data": f"{CRU}, {ELEVATION}",
                "loss": LOSS,
                "seed": settings.seed,
                "epochs": settings.epochs,
                "members": settings.members,
                "script": f"python -m torchscript_models train {self.name}",
                "torch": torch.__version__.partition("+")[0],
            },
        )

    def epochs_to_evaluate(self, settings: Settings) -> int:
        """Return how many epochs `evaluate` takes at most: one training for each candidate."""
        return settings.epochs * (1 + sum(len(candidates(hourly)) for hourly in (False, True)))


def simple_methods(train: Side, config: Architecture) -> dict[str, Method]:
    """Return the baselines: interpolations, and lapse rates, with and without the means of coarse cells kept."""
    methods: dict[str, Method] = {how: interpolation(how, SCALE) for how in ("nearest", "bilinear", "bicubic")}
    methods["lapse_rate"] = lapse_rate(train)
    methods |= {f"{name}_mean_kept": mean_kept(methods[name], SCALE) for name in ("bilinear", "lapse_rate")}
    return methods | {"local_lapse_rate_mean_kept": local_lapse_rate(train, config)}


def answers(network: nn.Module, config: Architecture) -> Method:
    """Return what a network answers a batch with; one that draws, `DRAWS` times."""
    draws = DRAWS if (config.dropout or "").startswith("mc") else 1
    return lambda batch: torch.cat([network(batch.coarse, batch.static) for _ in range(draws)], dim=1)


def fitted(config: Architecture, sides: dict[str, Side], settings: Settings, watch: Watch, name: str) -> Downscaling:
    """Return a network trained on one side of a split and stopped by another."""
    torch.manual_seed(settings.seed)
    network = Downscaling(config, scales_of(sides["train"], config))
    rng = np.random.default_rng(settings.seed)
    held_out = list(sides["validation"].all(config.window))
    fit_member(
        network,
        lambda: sides["train"].epoch(BATCHES, rng, config.window),
        batch_loss,
        held_out,
        settings,
        watch,
        name=name,
        rng=rng,
    )
    return network.cpu().eval()


def fitted_against(
    network: Downscaling, config: Architecture, train: Side, settings: Settings, watch: Watch
) -> Downscaling:
    """Return a copy of a trained network that was trained on, against a discriminator."""
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    generator = copy.deepcopy(network)

    def batches() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        return ((batch.coarse, batch.static, batch.fine) for batch in train.epoch(BATCHES, rng))

    pixel_loss = loss_function(LOSS)
    fit_against(generator, Discriminator(config), batches, pixel_loss, settings.epochs, watch.advance)
    return generator


def batch_loss(network: nn.Module, batch: Batch | list[Batch]) -> Tensor:
    """Return the loss over the known cells of a batch, in units of the field, or the mean over several batches."""
    if isinstance(batch, list):
        return torch.stack([batch_loss(network, one) for one in batch]).mean()
    found = network(batch.coarse, batch.static)
    share = batch.known.mean().clamp(min=1e-3)
    return loss_function(LOSS)(torch.where(batch.known > 0, found, batch.fine), batch.fine) / share
