# SPDX-License-Identifier: Apache-2.0
"""How biomass_plots is trained and judged: whole regions are held out, since neighbouring plots are alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from coupler_plugin.emulator.manifest import Manifest
from torchscript_models import baselines, data, metrics
from torchscript_models.biomass_plots.network import CARBON, LARGEST, BiomassPlots, features
from torchscript_models.biomass_plots.samples import NORMALS, far_from, read_plots, regions
from torchscript_models.export import input_entry, training_facts
from torchscript_models.fitting import Settings
from torchscript_models.recipe import EMULATOR
from torchscript_models.site_recipe import SiteRecipe
from torchscript_models.splits import NEIGHBOURS_KM

BATCH: Final = 128
HELD_OUT: Final = "held_out_regions"
BINS: Final = {"0-100": (0.0, 100.0), "100-200": (100.0, 200.0), "200-300": (200.0, 300.0)}  #: t ha-1

#: features of plots (n, 9), biomass (n, 1), weights (n, 1)
Batch = tuple[Tensor, Tensor, Tensor]


class BiomassPlotsRecipe(SiteRecipe):
    """Above-ground biomass of a forest from climate normals, elevation and position; its sites are regions."""

    name = "biomass_plots"
    settings = Settings(epochs=15, members=7, learning_rate=3e-3, weight_decay=0.05, patience=15, n_folds=8)
    targets = ("agb",)
    views = (HELD_OUT,)

    def __init__(self, folder: Path) -> None:
        self._plots = read_plots(folder)
        self.places = regions(self._plots)

    def _in(self, sites: Sequence[str]) -> pd.DataFrame:
        return self._plots[self._plots["region"].isin(list(sites))]

    def training_plots(self, sites: Sequence[str]) -> pd.DataFrame:
        """Return the plots in the regions `sites` that are not near a plot of another region."""
        others = self._plots[~self._plots["region"].isin(list(sites))]
        return far_from(self._in(sites), others, NEIGHBOURS_KM)

    # ---- training --------------------------------------------------------------------------------------------

    def new_network(self, sites: Sequence[str], members: int) -> nn.Module:
        """Return an untrained network, scaled by the plots of `sites`."""
        return BiomassPlots(_features(self.training_plots(sites)).numpy(), members)

    def batches(
        self, network: nn.Module, sites: Sequence[str], rng: np.random.Generator
    ) -> Callable[[], Iterable[Batch]]:
        """Return a function that deals out the plots of `sites`."""
        batch = _batch(self.training_plots(sites))

        def epoch() -> Iterable[Batch]:
            order = rng.permutation(len(batch[0]))
            for rows in np.array_split(order, max(len(order) // BATCH, 1)):
                yield batch[0][rows], batch[1][rows], batch[2][rows]

        return epoch

    def held_out(self, network: nn.Module, sites: Sequence[str], rng: np.random.Generator) -> Batch:
        """Return all plots of `sites`."""
        return _batch(self._in(sites))

    def loss(self, network: nn.Module, member: nn.Module, batch: Batch) -> Tensor:
        """Return the weighted squared error, in units of 100 t ha-1."""
        x, observed, weights = batch
        return (((member(network.scaling(x)) - observed) / 100.0) ** 2 * weights).sum() / weights.sum()

    # ---- judgement -------------------------------------------------------------------------------------------

    def observed(self, view: str, sites: Sequence[str]) -> pd.DataFrame:
        """Return the plots, with their region as site."""
        return self._in(sites)[["agb", "region", "continent"]].rename(columns={"region": "site"}).reset_index(drop=True)

    def predict(self, network: nn.Module, view: str, sites: Sequence[str]) -> np.ndarray:
        """Return the emulator's answers."""
        with torch.inference_mode():
            return network(*_arguments(self._in(sites)))[:, :1].numpy()

    def baselines(
        self, network: nn.Module, view: str, train: Sequence[str], sites: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Return the mean of the continent's other regions, and gradient-boosted trees on the same features."""
        known, asked = self.training_plots(train), self._in(sites)
        return {
            "regional_mean": baselines.climatology(known, asked, ["agb"], ["continent"]),
            "gradient_boosted_trees": baselines.boosted_trees(
                _features(known).numpy(), known[["agb"]], _features(asked).numpy(), samples_per_leaf=40
            ),
        }

    def scores(self, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
        """Return the scores, with the root mean square error in bins of the observed biomass."""
        scores = super().scores(tables)
        table, own = tables[HELD_OUT], scores[HELD_OUT]["agb"]
        for method, values in {EMULATOR: own, **own["baselines"]}.items():
            for name, (low, high) in BINS.items():
                in_bin = table[(table["agb"] >= low) & (table["agb"] < high)]
                values[f"rmse_{name}"] = round(metrics.score(in_bin["agb"], in_bin[f"agb:{method}"])["rmse"], 1)
        return scores

    # ---- manifest --------------------------------------------------------------------------------------------

    def manifest(self, settings: Settings, scores: dict[str, Any]) -> Manifest:
        """Return the manifest of a network trained on all regions."""
        plots = self._plots
        place = [("latitude", "degrees_north", (-90.0, 90.0)), ("longitude", "degrees_east", (-360.0, 360.0))]
        return Manifest(
            name=self.name,
            version="0.1.0",
            description=(
                "Above-ground biomass of a forest, and the carbon in it, from monthly normals of temperature, "
                "elevation and position. For the beginning of a run: it knows no age, no cut and no fire."
            ),
            source="own network; the column form of biomass models on satellite data (AGBD, arXiv 2406.04928)",
            license="Apache-2.0",
            attribution=f"Trained on {data.BIOMASS_CITATION}; {data.NORMALS_CITATION}; {data.ELEVATION_CITATION}.",
            every="1d",
            inputs=[
                input_entry(name, units, valid, plots[key].to_numpy())
                for (name, units, valid), key in zip(place, ("lat", "lon"), strict=True)
            ],
            static=[
                {"name": "tas_normals", "units": "degC", "size": len(NORMALS), "valid_range": (-70.0, 50.0)},
                {"name": "orog", "units": "m", "valid_range": (-500.0, 9000.0)},
            ],
            outputs=[
                {"name": "agb", "units": "t ha-1", "valid_range": (0.0, LARGEST)},
                {"name": "cWood", "units": "kg m-2", "valid_range": (0.0, 0.1 * CARBON * LARGEST)},
            ],
            scores=scores,
            training=training_facts(
                self.name,
                settings,
                "biomass_plots.csv.gz, cru_tas_normals_0p5.nc, elevation_0p25.nc",
                sites=len(self.places),
            ),
        )


def _arguments(plots: pd.DataFrame) -> tuple[Tensor, Tensor]:
    place = plots[["lat", "lon"]].to_numpy(np.float32)
    return torch.tensor(place), torch.tensor(plots[[*NORMALS, "elevation"]].to_numpy(np.float32))


def _features(plots: pd.DataFrame) -> Tensor:
    return features(*_arguments(plots))


def _batch(plots: pd.DataFrame) -> Batch:
    """Return features, biomass and weights, which fall with the square root of the number of plots in a region."""
    counts = plots["region"].value_counts()
    weights = np.sqrt(counts.mean() / counts).loc[plots["region"]].to_numpy(np.float32)
    observed = plots["agb"].to_numpy(np.float32)
    return _features(plots), torch.tensor(observed)[:, None], torch.tensor(weights)[:, None]
