# SPDX-License-Identifier: Apache-2.0
"""How leaf_area_index is trained and judged: on satellite leaf area over tower sites, month by month."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from torch import Tensor, nn

from coupler_plugin.emulator.manifest import Manifest
from torchscript_models import baselines, data, metrics
from torchscript_models.cold_start import draw_known_months, forget_the_past
from torchscript_models.export import input_entry, training_facts
from torchscript_models.fitting import Settings
from torchscript_models.leaf_area_index.network import (
    BINS,
    CLASSES,
    DAYS,
    N_INPUTS,
    N_TREES,
    TREE_DEPTH,
    LeafAreaIndex,
    features,
)
from torchscript_models.leaf_area_index.samples import MonthlySamples
from torchscript_models.recipe import EMULATOR
from torchscript_models.site_recipe import SiteRecipe
from torchscript_models.solar import potential_radiation
from torchscript_models.watch import Watch
from torchscript_models.weather import CLEAREST, MID_MONTH, BorrowedWeather, daily_means, saturation

BATCH: Final = 128
#: standard deviation of an offset that each training sample's scaled inputs get: a cell is not its tower
OFFSET: Final = 0.3
#: years of a calendar month at a site from which its anomalies are scored
FEWEST_YEARS: Final = 3
#: share of the training samples whose vegetation class is hidden: hosts may not know it
HIDDEN_CLASS: Final = 0.3
FULL, NO_CLASS, COLD_START = "held_out_sites", "held_out_sites_class_not_known", "held_out_sites_one_known_month"


@dataclass(frozen=True)
class Batch:
    """Months of forcing (n, BINS, 6), how many days are known (n,), classes, leaf area index and weights (n, 1)."""

    months: Tensor
    known_days: Tensor
    vegetation: Tensor
    lai: Tensor
    weights: Tensor


class LeafAreaIndexRecipe(SiteRecipe):
    """Leaf area index from twelve months of weather, the vegetation class and CO2, at any site."""

    name = "leaf_area_index"
    settings = Settings(epochs=20, members=2, learning_rate=3e-3, weight_decay=0.01, patience=6)
    targets = ("lai",)
    views = (FULL, NO_CLASS, COLD_START)

    def __init__(self, folder: Path) -> None:
        self._weather = BorrowedWeather(data.read_towers(folder).values())
        sites = data.read_monthly_sites(folder).values()
        self._sites = {site.site: site for site in sites if np.isfinite(site.lai[BINS - 1 :]).any()}
        self.places = pd.DataFrame(
            [(site.site, site.lat, site.lon, site.igbp) for site in self._sites.values()],
            columns=["site", "lat", "lon", "igbp"],
        ).set_index("site")

    def _samples(self, sites: Iterable[str]) -> MonthlySamples:
        return MonthlySamples(self._sites[site] for site in sites)

    # ---- training --------------------------------------------------------------------------------------------

    def new_network(self, sites: Sequence[str], members: int) -> nn.Module:
        """Return an untrained network, scaled by all months of forcing at `sites`."""
        return LeafAreaIndex(np.concatenate([self._sites[site].inputs() for site in sites]), members)

    def batches(
        self, network: nn.Module, sites: Sequence[str], rng: np.random.Generator
    ) -> Callable[[], Iterable[Batch]]:
        """Return a function that gives the batches of an epoch; what is known of the past is drawn anew in each."""
        samples = self._samples(sites)
        weights = _weights(samples)

        def epoch() -> Iterable[Batch]:
            known = draw_known_months(len(samples.lai), rng)
            months = forget_the_past(samples.months, known)
            vegetation = _hidden(samples.vegetation, rng)
            order = rng.permutation(len(months))
            for rows in np.array_split(order, max(len(months) // BATCH, 1)):
                yield _batch(months[rows], known[rows], vegetation[rows], samples.lai[rows], weights[rows])

        return epoch

    def held_out(self, network: nn.Module, sites: Sequence[str], rng: np.random.Generator) -> Batch:
        """Return all samples of `sites`, with their whole past and their class."""
        samples = self._samples(sites)
        known = np.full(len(samples.lai), BINS)
        return _batch(samples.months, known, samples.vegetation, samples.lai, _weights(samples))

    def loss(self, network: nn.Module, member: nn.Module, batch: Batch) -> Tensor:
        """Return the weighted squared error."""
        x = network.sequence(batch.months, network.vegetation(batch.vegetation))
        if member.training:
            offset = OFFSET * torch.randn(x.shape[0], 1, N_INPUTS, device=x.device)
            x = torch.cat([x[:, :, :N_INPUTS] + offset, x[:, :, N_INPUTS:]], dim=2)
        supply = network.water_supply(batch.months.mean(dim=1), batch.known_days).unsqueeze(1)
        return (((member(x) * supply - batch.lai) ** 2) * batch.weights).sum() / batch.weights.sum()

    def fit(self, sites: Sequence[str], settings: Settings, watch: Watch, name: str = "all") -> nn.Module:
        """Train the LSTMs, then the trees, which need nothing held out."""
        network = super().fit(sites, settings, watch, name)
        samples = self._samples(sites)
        rng = np.random.default_rng(settings.seed)
        known = np.concatenate([np.full(len(samples.lai), BINS), rng.integers(1, BINS, len(samples.lai))])
        months = torch.tensor(forget_the_past(np.tile(samples.months, (2, 1, 1)), known))
        vegetation = network.vegetation(torch.tensor(_hidden(np.tile(samples.vegetation, (2, 1)), rng)))
        supply = network.water_supply(months.mean(dim=1), torch.tensor(DAYS * known)).clamp(min=0.05).numpy()
        trees = HistGradientBoostingRegressor(
            max_iter=N_TREES,
            max_depth=TREE_DEPTH,
            max_leaf_nodes=2**TREE_DEPTH,
            max_features=0.3,
            learning_rate=0.08,
            min_samples_leaf=60,
            l2_regularization=1.0,
            random_state=settings.seed,
        )
        # Squared errors of lai = supply * trees: of trees, weighted by the square of the supply.
        lai, weights = np.tile(samples.lai, 2), np.tile(_weights(samples), 2)
        trees.fit(features(months, vegetation).numpy(), lai / supply, sample_weight=weights * supply**2)
        network.trees.take_over(
            [stage[0].nodes for stage in trees._predictors], float(trees._baseline_prediction.item())
        )
        return network

    # ---- judgement -------------------------------------------------------------------------------------------

    def observed(self, view: str, sites: Sequence[str]) -> pd.DataFrame:
        """Return the observed months."""
        samples = self._samples(sites)
        season = baselines.season(samples.month, self.places["lat"].loc[samples.site].to_numpy())
        igbp = self.places["igbp"].loc[samples.site].to_numpy()
        return pd.DataFrame({"lai": samples.lai, "site": samples.site, "igbp": igbp, "season": season})

    def predict(self, network: nn.Module, view: str, sites: Sequence[str]) -> np.ndarray:
        """Return the emulator's answers: when all is known, without the class, or with only the last month known."""
        samples = self._samples(sites)
        months, vegetation = samples.months, samples.vegetation * (view != NO_CLASS)
        known = np.full(len(months), 1 if view == COLD_START else BINS)
        months = forget_the_past(months, known)
        with torch.inference_mode():
            arguments = (months, DAYS * known, vegetation.astype(np.float32))
            return network.from_months(*map(torch.tensor, arguments)).numpy()

    def baselines(
        self, network: nn.Module, view: str, train: Sequence[str], sites: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Return mean seasonal cycles and gradient-boosted trees, both with and without the vegetation class."""
        known, asked = self.observed(view, train), self.observed(view, sites)
        cycles = {
            "climatology": baselines.climatology(known, asked, ["lai"], ["season"]),
            "climatology_of_class": baselines.climatology(known, asked, ["lai"], ["igbp", "season"]),
        }
        if view == COLD_START:
            return cycles
        features, wanted = self._features(train), self._features(sites)
        lai = known[["lai"]]
        return cycles | {
            "gradient_boosted_trees": baselines.boosted_trees(features[:, 1:], lai, wanted[:, 1:], samples_per_leaf=60),
            "gradient_boosted_trees_with_class": baselines.boosted_trees(
                features, lai, wanted, samples_per_leaf=60, categories=(0,)
            ),
        }

    def _features(self, sites: Sequence[str]) -> np.ndarray:
        """Return the vegetation class, the weather now, 1, 3 and 6 months ago, means and extremes, and the season."""
        samples = self._samples(sites)
        months = samples.months[:, :, :-1]
        igbp = pd.Categorical(self.places["igbp"].loc[samples.site], sorted(self.places["igbp"].unique())).codes
        lags = [months[:, -1 - lag] for lag in (0, 1, 3, 6)]
        means = [months[:, -3:].mean(axis=1), months.mean(axis=1)]
        extremes = [months[:, :, 0].min(axis=1), months[:, :, 1].max(axis=1)]
        season = baselines.season_features(samples.month, self.places["lat"].loc[samples.site].to_numpy())
        return np.column_stack([igbp, *lags, *means, *extremes, season])

    def scores(self, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
        """Return the scores, with the R2 of anomalies: what is left when each site's own mean cycle is taken off."""
        scores = super().scores(tables)
        for view, table in tables.items():
            cycles = table.groupby(["site", "season"])
            own = scores[view]["lai"]
            has_years = cycles["lai"].transform("size") >= FEWEST_YEARS
            observed = (table["lai"] - cycles["lai"].transform("mean"))[has_years]
            for method, values in {EMULATOR: own, **own["baselines"]}.items():
                answers = table[f"lai:{method}"]
                anomalies = (answers - cycles[answers.name].transform("mean"))[has_years]
                values["r2_anomalies"] = round(metrics.score(observed, anomalies)["r2"], 3)
        return scores

    # ---- manifest --------------------------------------------------------------------------------------------

    def _days(self) -> data.Array:
        """Return what a host would have handed over day by day, drawn once; shape (days, 6).

        The training data are means of months. A host's single days reach further, by what days depart from their month
        at towers with similar months.
        """
        rng = np.random.default_rng(0)
        parts = []
        for site in self._sites.values():
            anomalies = self._weather.anomalies(self._weather.similar(daily_means(site)), rng)
            tas, rsds, vpd, pr = np.moveaxis(anomalies, 2, 0)
            tasmin, tasmax, *means = site.forcing.T[:, :, None]
            rsds, vpd, pr = (mean * factor for mean, factor in zip(means, (rsds, vpd, pr), strict=True))
            tasmin, tasmax = tasmin + tas, tasmax + tas
            # a ratio may be borrowed from darker and colder months: no day is clearer than the sky, or drier than dry
            rsdt = 0.0864 * potential_radiation(site.lat, MID_MONTH[site.months % 100 - 1] / 365.25)  # MJ m-2 d-1
            rsds = np.minimum(rsds, CLEAREST * rsdt[:, None])
            vpd = np.minimum(vpd, saturation(tasmax))
            co2 = np.broadcast_to(site.co2[:, None], tas.shape)
            parts.append(np.stack([tasmin, tasmax, rsds, vpd, pr, co2], axis=2).reshape(-1, N_INPUTS))
        return np.concatenate(parts)

    def manifest(self, settings: Settings, scores: dict[str, Any]) -> Manifest:
        """Return the manifest of a network trained on all sites."""
        days = self._days()
        entries = [
            ("tas", "degC", (-90.0, 60.0), "min", "daily minimum"),
            ("tas", "degC", (-90.0, 60.0), "max", "daily maximum"),
            ("rsds", "MJ m-2 d-1", (0.0, 52.0), "mean", ""),
            ("vpd", "hPa", (0.0, 150.0), "max", "daily maximum: the value at the highest temperature of the day"),
            ("pr", "kg m-2 d-1", (0.0, 2000.0), "mean", ""),
            ("co2", "ppm", (150.0, 2000.0), "mean", ""),
        ]
        codes = ", ".join(f"{code} {name}" for code, name in enumerate(CLASSES, start=1))
        return Manifest(
            name=self.name,
            version="0.1.0",
            description=(
                "Leaf area index, mean over the last 30 days, from the class of the vegetation, CO2, and 360 days of "
                "weather that the module itself averages over twelve times 30 days; mean of LSTMs and boosted trees."
            ),
            source="own network; task after the second phase of AI4Land (arXiv 2606.11793)",
            license="Apache-2.0",
            attribution=(
                f"Trained on {data.MONTHLY_CITATION}; the statistics of its inputs borrow the departures of days from "
                f"{data.TOWER_CITATION}."
            ),
            every="1d",
            window={"length": BINS * DAYS},
            inputs=[
                input_entry(name, units, valid, days[:, channel], aggregate, description)
                for channel, (name, units, valid, aggregate, description) in enumerate(entries)
            ],
            static=[
                {
                    "name": "vegetation_class",
                    "units": "1",
                    "valid_range": (0, len(CLASSES)),
                    "description": f"IGBP class ({codes}); 0: not known",
                }
            ],
            outputs=[{"name": "lai", "units": "1", "valid_range": (0.0, 12.0)}],
            scores=scores,
            training=training_facts(self.name, settings, "flux_lai_monthly.csv.gz", sites=len(self.places)),
        )


def _weights(samples: MonthlySamples) -> data.Array:
    """Return weights that fall with the square root of the number of samples of a site."""
    months = pd.Series(samples.site).value_counts()
    return np.sqrt(months.mean() / months).loc[samples.site].to_numpy(np.float32)


def _hidden(vegetation: data.Array, rng: np.random.Generator) -> data.Array:
    """Return the codes of classes, some of them as not known."""
    return np.where(rng.random(vegetation.shape) < HIDDEN_CLASS, 0.0, vegetation).astype(np.float32)


def _batch(
    months: np.ndarray, known: np.ndarray, vegetation: np.ndarray, lai: np.ndarray, weights: np.ndarray
) -> Batch:
    columns = (torch.tensor(values)[:, None] for values in (lai, weights))
    return Batch(torch.tensor(months), torch.tensor(DAYS * known), torch.tensor(vegetation), *columns)
