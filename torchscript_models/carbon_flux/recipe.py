# SPDX-License-Identifier: Apache-2.0
"""How carbon_flux is trained and judged.

Two sets of observations train it together: the days of a few towers, and the months of many more sites, whose
climates (tropical, arid, arctic) the daily towers hardly reach. Training has two stages: an LSTM that knows nothing
of its task, then encoder and LSTM together.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from coupler_plugin.emulator.manifest import Manifest
from torchscript_models import baselines, data
from torchscript_models.carbon_flux.class_lstm import ClassLstm
from torchscript_models.carbon_flux.network import CODE, WINDOW, CarbonFlux, Closure
from torchscript_models.carbon_flux.samples import GOOD, LENGTH, SCORED, TowerSequences, windows
from torchscript_models.carbon_flux.sites import N_CLASSES, Sites
from torchscript_models.cold_start import draw_known_months, forget_the_past
from torchscript_models.export import input_entry, training_facts
from torchscript_models.fitting import Settings
from torchscript_models.layers import WaterSupply
from torchscript_models.site_recipe import SiteRecipe
from torchscript_models.watch import Watch
from torchscript_models.weather import DAYS, BorrowedWeather, MonthlySequences, daily_means, is_usable

DAILY, MONTHLY = "held_out_sites", "held_out_sites_monthly"
BATCH: Final = 128
#: standard deviations of gpp, reco, nee over the days of the towers [g m-2 d-1], which put them on one scale
SPREAD: Final = (4.4, 2.7, 2.9)
#: standard deviation of an offset that each training sequence's scaled inputs get: instruments and sites differ
OFFSET: Final = 0.1
#: weight of (nee - (reco - gpp))^2 [(g m-2 d-1)^2] in the loss of the variant that has no exact closure
BALANCE: Final = 0.1
FIRST_STAGE, SECOND_STAGE = "without_task", "with_task"


@dataclass(frozen=True)
class Batch:
    """Sequences of days, observed daily or as the mean over the last month.

    Each is (inputs, months, classes, water supply of the scored days, fluxes, weights) of days or of months.
    """

    daily: tuple[Tensor, ...]
    monthly: tuple[Tensor, ...]


class CarbonFluxRecipe(SiteRecipe):
    """Daily gpp, reco and nee from the weather of the last days and the rain of the last year, at any site."""

    name = "carbon_flux"
    closure: ClassVar[Closure] = "hard"
    settings = Settings(epochs=10, members=3, learning_rate=4e-3, weight_decay=0.01, patience=4)
    targets = ("gpp", "reco", "nee")
    views = (DAILY, MONTHLY)
    seeds = 5

    def __init__(self, folder: Path) -> None:
        self._towers = data.read_towers(folder)
        self._monthly = {
            name: site
            for name, site in data.read_monthly_sites(folder).items()
            if name not in self._towers and is_usable(site).any()
        }
        self._sites = Sites(self._towers, self._monthly)
        #: networks that the last `fit` left by the way: the LSTM before it knew its task, and the one with classes
        self.rivals: dict[str, nn.Module] = {}
        self.places = pd.DataFrame(
            [(s.site, s.lat, s.lon, s.igbp, DAILY) for s in self._towers.values()]
            + [(s.site, s.lat, s.lon, s.igbp, MONTHLY) for s in self._monthly.values()],
            columns=["site", "lat", "lon", "igbp", "stratum"],
        ).set_index("site")

    # ---- training --------------------------------------------------------------------------------------------

    def new_network(self, sites: Sequence[str], members: int) -> nn.Module:
        """Return an untrained network, scaled by the days of the towers among `sites` and borrowed days."""
        return CarbonFlux(self._inputs(sites), members, self.closure)

    def stages(self, member: nn.Module, settings: Settings) -> Iterator[tuple[str, Settings]]:
        """Train the forward LSTM alone, then all parts together and more slowly."""
        task_parts = [member.encoder, member.modulation, member.film]
        for part in task_parts:
            part.requires_grad_(False)
        yield FIRST_STAGE, settings
        self._without_task.append(copy.deepcopy(member))
        member.requires_grad_(True)
        yield SECOND_STAGE, replace(settings, learning_rate=settings.learning_rate / 4)

    def fit(self, sites: Sequence[str], settings: Settings, watch: Watch, name: str = "all") -> nn.Module:
        """Train in two stages; the LSTMs between the stages are kept as a baseline."""
        self._without_task: list[nn.Module] = []
        network = super().fit(sites, settings, watch, name)
        self.rivals = {"lstm": nn.ModuleList(self._without_task)}
        return network

    def fit_rival(self, network: nn.Module, sites: Sequence[str], settings: Settings, watch: Watch, name: str) -> None:
        """Train the LSTM that is told the classes of its site, by the same steps."""
        torch.manual_seed(settings.seed)
        rivals = nn.ModuleList(ClassLstm(5, N_CLASSES, 2 if self.closure == "hard" else 3) for _ in network.members)
        for index, rival in enumerate(rivals):
            self.fit_one(network, rival, index, sites, settings, watch, f"{name}/ct_lstm{index}")
        self.rivals["ct_lstm"] = rivals

    def epochs_to_train(self, settings: Settings) -> int:
        """Return the epochs of both stages."""
        return 2 * settings.members * settings.epochs

    def epochs_to_evaluate(self, settings: Settings) -> int:
        """Return the epochs of both stages, and of the LSTM with classes, in all folds."""
        return 3 * settings.n_folds * settings.members * settings.epochs

    def _inputs(self, sites: Sequence[str]) -> data.Array:
        """Return all days of forcing at `sites`, those of monthly sites drawn once; shape (n, 5)."""
        days = [tower.forcing for tower in self._towers_of(sites)]
        drawn = self._sequences(sites, sites).draw(1, np.random.default_rng(0))
        return np.concatenate([*days, drawn.reshape(-1, 5)])

    def _towers_of(self, sites: Iterable[str]) -> list[data.Tower]:
        return [self._towers[site] for site in sites if site in self._towers]

    def _sequences(self, sites: Iterable[str], lenders: Iterable[str]) -> MonthlySequences:
        """Return the monthly sites among `sites`, with weather borrowed from the towers among `lenders`."""
        chosen = [self._monthly[site] for site in sites if site in self._monthly]
        return MonthlySequences(chosen, BorrowedWeather(self._towers_of(lenders)))

    def batches(
        self, network: nn.Module, sites: Sequence[str], rng: np.random.Generator
    ) -> Callable[[], Iterable[Batch]]:
        """Return a function that gives the batches of an epoch; the days are cut and drawn anew in each."""
        towers = TowerSequences(self._towers_of(sites), network.water_supply)
        monthly = self._sequences(sites, sites)

        def epoch() -> Iterable[Batch]:
            days = towers.draw(int(rng.integers(SCORED)))
            daily = self._with_sites(days, towers.site, rng)
            months = self._with_sites(_months(monthly, network.water_supply, rng), monthly.site, rng)
            n = max(len(days[0]) // BATCH, 1)
            pairs = zip(_dealt(daily, n, rng), _dealt(months, n, rng), strict=True)
            return [Batch(daily, month) for daily, month in pairs]

        return epoch

    def _with_sites(self, values: tuple[data.Array, ...], sites: list[str], rng: np.random.Generator) -> Any:
        """Return (inputs, months, classes, supply, fluxes, weights) of sequences at `sites`."""
        inputs, supply, fluxes, weights = values
        months = forget_the_past(self._sites.years(sites, rng), draw_known_months(len(sites), rng))
        by_class = self._sites.weights(sites).reshape(-1, *[1] * (weights.ndim - 1))
        return inputs, months, self._sites.classes(sites), supply, fluxes, weights * by_class

    def held_out(self, network: nn.Module, sites: Sequence[str], rng: np.random.Generator) -> Batch:
        """Return all sequences of `sites`."""
        towers = TowerSequences(self._towers_of(sites), network.water_supply)
        days = towers.draw(0)
        monthly = self._sequences(sites, self._towers)
        months = _months(monthly, network.water_supply, rng)
        return Batch(
            _tensors(self._with_sites(days, towers.site, rng)), _tensors(self._with_sites(months, monthly.site, rng))
        )

    def loss(self, network: nn.Module, member: nn.Module, batch: Batch) -> Tensor:
        """Return the weighted squared error of days plus that of monthly means, in units of their spread."""
        *arguments, fluxes, weights = batch.daily
        answers = _run(network, member, *arguments)
        total = _mean_square(answers - fluxes, weights)
        *arguments, means, month_weights = batch.monthly
        of_months = _run(network, member, *arguments)
        total = total + _mean_square(of_months.mean(dim=1) - means, month_weights)
        if self.closure == "penalty":
            for fluxes, weight in ((answers, weights), (of_months, month_weights.unsqueeze(1))):
                gap = fluxes[..., 2] - (fluxes[..., 1] - fluxes[..., 0])
                total = total + BALANCE * (gap**2 * weight).sum() / weight.expand_as(gap).sum()
        return total

    # ---- judgement -------------------------------------------------------------------------------------------

    def observed(self, view: str, sites: Sequence[str]) -> pd.DataFrame:
        """Return the good days of towers, or the observed months of monthly sites."""
        if view == DAILY:
            parts = []
            for tower in self._towers_of(sites):
                good = tower.quality > GOOD
                season = baselines.season(tower.days.month.to_numpy()[good], np.array(tower.lat))
                part = pd.DataFrame(tower.fluxes[good], columns=list(self.targets))
                parts.append(part.assign(site=tower.site, season=season))
            return pd.concat(parts, ignore_index=True)
        months = self._sequences(sites, self._towers)
        lat = self.places["lat"].loc[months.site].to_numpy()
        table = pd.DataFrame(months.fluxes, columns=list(self.targets))
        return table.assign(site=months.site, season=baselines.season(months.month, lat))

    def predict(self, network: nn.Module, view: str, sites: Sequence[str]) -> np.ndarray:
        """Return the emulator's answers day by day, or their means over the days of a month."""
        return self._predict(network, network.members, view, sites)

    def _predict(self, network: nn.Module, members: Iterable[nn.Module], view: str, sites: Sequence[str]) -> np.ndarray:
        members = list(members)
        if view == DAILY:
            parts = []
            for tower in self._towers_of(sites):
                good = np.flatnonzero(tower.quality > GOOD)
                seen = windows(tower.forcing)
                classes = self._sites.classes([tower.site])
                parts.append(_answers(network, members, seen[good], seen[code_days(good)], classes))
            return np.concatenate(parts)
        sequences = self._sequences(sites, self._towers)
        inputs = sequences.draw(MonthlySequences.MONTHS, np.random.default_rng(0))[:, -(WINDOW + SCORED - 1) :]
        seen = np.lib.stride_tricks.sliding_window_view(inputs, WINDOW, axis=1).transpose(0, 1, 3, 2)
        classes = self._sites.classes(sequences.site)
        days = [_answers(network, members, seen[:, day], seen[:, 0], classes) for day in range(SCORED)]
        return np.mean(days, axis=0)

    def baselines(
        self, network: nn.Module, view: str, train: Sequence[str], sites: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Return the mean seasonal cycle over training sites, gradient-boosted trees, and LSTMs without an encoder."""
        known, asked = self.observed(view, train), self.observed(view, sites)
        features = self._tower_features if view == DAILY else self._month_features
        return {
            "climatology": baselines.climatology(known, asked, list(self.targets), ["season"]),
            "gradient_boosted_trees": baselines.boosted_trees(
                features(train),
                known[list(self.targets)],
                features(sites),
                samples_per_leaf=200 if view == DAILY else 40,
            ),
        } | {name: self._predict(network, members, view, sites) for name, members in self.rivals.items()}

    def _tower_features(self, sites: Sequence[str]) -> np.ndarray:
        """Return for each good day its forcing, the 30- and 90-day means of the weather, and the season."""
        rows = []
        for tower in self._towers_of(sites):
            weather = pd.DataFrame(tower.forcing[:, :4])
            means = [weather.rolling(days, min_periods=1).mean() for days in (30, 90)]
            season = baselines.season_features(tower.days.month.to_numpy(), np.array(tower.lat))
            rows.append(np.column_stack([tower.forcing, *means, season])[tower.quality > GOOD])
        return np.concatenate(rows)

    def _month_features(self, sites: Sequence[str]) -> np.ndarray:
        """Return for each observed month its weather, the means of three months, and the season."""
        rows = []
        for site in (self._monthly[name] for name in sites if name in self._monthly):
            weather = pd.DataFrame(daily_means(site))
            means = weather.rolling(3, min_periods=1).mean()
            season = baselines.season_features(site.months % 100, np.array(site.lat))
            rows.append(np.column_stack([weather, means, season])[is_usable(site)])
        return np.concatenate(rows)

    # ---- manifest --------------------------------------------------------------------------------------------

    def manifest(self, settings: Settings, scores: dict[str, Any]) -> Manifest:
        """Return the manifest of a network trained on all sites."""
        inputs = self._inputs(list(self.places.index))
        entries = [
            ("tas", "degC", (-90.0, 60.0)),
            ("rsds", "W m-2", (0.0, 600.0)),
            ("vpd", "hPa", (0.0, 150.0)),
            ("pr", "kg m-2 d-1", (0.0, 2000.0)),
            ("rsdt", "W m-2", (0.0, 600.0)),
        ]
        flux = {"units": "g m-2 d-1"}
        closure = {"reco": 1.0, "gpp": -1.0} if self.closure == "hard" else {}
        return Manifest(
            name=self.name,
            version="0.1.0",
            description=(
                "Daily gross primary production, ecosystem respiration and net ecosystem exchange of carbon from "
                "the weather of 45 days, modulated by a code of the year before: an ensemble of TAM-RL. "
                + ("NEE = RECO - GPP by construction." if self.closure == "hard" else "NEE is near RECO - GPP.")
            ),
            source="own implementation of TAM-RL (arXiv 2603.09974)",
            license="Apache-2.0",
            attribution=f"Trained on {data.TOWER_CITATION}, and on {data.MONTHLY_CITATION}.",
            every="1d",
            window={"length": WINDOW},
            state=[{"name": "day", "size": 1}, {"name": "code", "size": CODE * settings.members}],
            inputs=[
                input_entry(name, units, valid, inputs[:, channel])
                for channel, (name, units, valid) in enumerate(entries)
            ],
            outputs=[
                {"name": "gpp", "valid_range": (0.0, 40.0), **flux},
                {"name": "reco", "valid_range": (0.0, 40.0), **flux},
                {"name": "nee", "valid_range": (-40.0, 40.0), "closure": closure, **flux},
            ],
            scores=scores,
            training=training_facts(
                self.name, settings, "flux_daily.csv.gz, flux_lai_monthly.csv.gz", sites=len(self.places)
            ),
        )


def code_days(days: np.ndarray) -> np.ndarray:
    """Return the days, counted from the first, on which the codes were made that are used on `days`."""
    return np.where(days < WINDOW, days // DAYS * DAYS, days // WINDOW * WINDOW)


def _answers(
    network: nn.Module, members: list[nn.Module], seen: np.ndarray, years: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Return the answers of members to windows (n, WINDOW, C), shape (n, 3).

    Parameters
    ----------
    years : array, shape (n, WINDOW, C)
        The windows that the codes are made of.
    classes : array, shape (n, N_CLASSES), or (1, N_CLASSES) for all rows
    """
    parts = []
    with torch.inference_mode():
        for first in range(0, len(seen), 1024):
            rows = slice(first, first + 1024)
            inputs, supply, recent = network.recent_past(torch.tensor(seen[rows]))
            months = network.scaling(network.year(torch.tensor(years[rows])))
            known = torch.tensor(classes if len(classes) == 1 else classes[rows]).expand(len(inputs), -1)
            rates = torch.stack([member(recent, months, known, 1) for member in members]).mean(dim=0)
            parts.append(network.fluxes(rates, inputs, supply.unsqueeze(1))[:, 0])
    return torch.cat(parts).numpy()


def _months(sequences: MonthlySequences, water_supply: WaterSupply, rng: np.random.Generator) -> tuple[data.Array, ...]:
    """Return the inputs, water supply, mean fluxes and weights of all sequences, with newly borrowed weather."""
    months = pd.Series(sequences.site).value_counts()
    weights = np.sqrt(months.mean() / months).loc[sequences.site].to_numpy(np.float32)
    means = torch.tensor(sequences.means)
    supply = water_supply(means, torch.full((len(means),), WINDOW)).numpy()
    inputs = sequences.draw(-(-LENGTH // DAYS), rng)[:, -LENGTH:]
    return inputs, np.repeat(supply[:, None], SCORED, axis=1), sequences.fluxes, weights


def _run(network: nn.Module, member: nn.Module, inputs: Tensor, months: Tensor, classes: Tensor, supply: Tensor) -> Any:
    """Return one member's fluxes on the scored days, shape (N, SCORED, 3)."""
    x, year = network.scaling(inputs), network.scaling(months)
    if member.training:
        offset = OFFSET * torch.randn(x.shape[0], 1, x.shape[2], device=x.device)
        x, year = x + offset, year + offset
    return network.fluxes(member(x, year, classes, SCORED), inputs, supply)


def _dealt(arrays: tuple[np.ndarray, ...], n: int, rng: np.random.Generator) -> list[tuple[Tensor, ...]]:
    """Deal the rows of `arrays`, shuffled, out to `n` batches."""
    return [_tensors([array[rows] for array in arrays]) for rows in np.array_split(rng.permutation(len(arrays[0])), n)]


def _tensors(arrays: Iterable[np.ndarray]) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(array) for array in arrays)


def _mean_square(error: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of squared errors (..., 3) in units of each flux's spread."""
    square = ((error / torch.tensor(SPREAD, device=error.device)) ** 2).mean(dim=-1)
    return (square * weights).sum() / weights.sum()


class CarbonFluxPenaltyRecipe(CarbonFluxRecipe):
    """The variant of the paper: nee has a rate of its own, which the loss holds near reco - gpp."""

    name = "carbon_flux_penalty"
    closure = "penalty"
    is_shipped = False
