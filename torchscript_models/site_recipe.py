# SPDX-License-Identifier: Apache-2.0
"""What the recipes over sites have in common: members fitted to different sites, and leave-sites-out scores.

Two rules hold for all: the sites that stop the training of a member early are not in its training set, and a site is
only ever scored by networks that saw neither it nor a neighbour of it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from torchscript_models import metrics, processes
from torchscript_models.fitting import Settings, fit_member
from torchscript_models.recipe import EMULATOR, Recipe
from torchscript_models.splits import check_disjoint, folds
from torchscript_models.watch import Watch


class SiteRecipe(Recipe):
    """How an emulator of observations at sites is made and judged.

    Parameters
    ----------
    data : Path
        Folder of the observations.

    Attributes
    ----------
    places : DataFrame
        All sites with observations to train on: lat, lon, igbp.
    """

    views: ClassVar[tuple[str, ...]] = ("held_out_sites",)  #: the sets of observations that are scored

    places: pd.DataFrame

    @abstractmethod
    def new_network(self, sites: Sequence[str], members: int) -> nn.Module:
        """Return an untrained network with `members`, its scaling set from the inputs at `sites`."""

    @abstractmethod
    def batches(
        self, network: nn.Module, sites: Sequence[str], rng: np.random.Generator
    ) -> Callable[[], Iterable[Any]]:
        """Return a function that gives the batches of an epoch over `sites`."""

    @abstractmethod
    def held_out(self, network: nn.Module, sites: Sequence[str], rng: np.random.Generator) -> Any:
        """Return one batch of all that is known of `sites`, for early stopping."""

    @abstractmethod
    def loss(self, network: nn.Module, member: nn.Module, batch: Any) -> Tensor:
        """Return the loss of one member of `network`."""

    @abstractmethod
    def observed(self, view: str, sites: Sequence[str]) -> pd.DataFrame:
        """Return the observations of a view: columns site and targets."""

    @abstractmethod
    def predict(self, network: nn.Module, view: str, sites: Sequence[str]) -> np.ndarray:
        """Return the network's answers to the rows of `observed`, shape (rows, targets)."""

    @abstractmethod
    def baselines(
        self, network: nn.Module, view: str, train: Sequence[str], sites: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Return what simpler methods, fitted to `train`, say on the rows of `observed`."""

    # ---- training --------------------------------------------------------------------------------------------

    def train(self, settings: Settings, watch: Watch) -> nn.Module:
        """Return a network trained on all sites."""
        return self.fit(list(self.places.index), settings, watch)

    def fit(self, sites: Sequence[str], settings: Settings, watch: Watch, name: str = "all") -> nn.Module:
        """Train a network on `sites`; each member holds another fold of them out for early stopping."""
        torch.manual_seed(settings.seed)
        network = self.new_network(sites, settings.members).to(processes.device())
        for index, member in enumerate(network.members):
            for stage, stage_settings in self.stages(member, settings):
                self.fit_one(network, member, index, sites, stage_settings, watch, f"{name}/member{index}{stage}")
        return network.eval().cpu()

    def stages(self, member: nn.Module, settings: Settings) -> Iterator[tuple[str, Settings]]:
        """Prepare a member for each stage of its training, and give the stage's name and settings."""
        yield "", settings

    def fit_one(
        self,
        network: nn.Module,
        member: nn.Module,
        index: int,
        sites: Sequence[str],
        settings: Settings,
        watch: Watch,
        name: str,
    ) -> None:
        """Train the member of this number, or what stands in its place, in place."""
        fold = folds(self.places.loc[list(sites)], settings.n_folds, settings.seed)
        held_out = [site for site in sites if fold[site] == index % settings.n_folds]
        train = [site for site in sites if site not in held_out]
        check_disjoint(self.places, train, held_out)
        rng = np.random.default_rng([settings.seed, index])
        held_out_batch = self.held_out(network, held_out, rng)
        fit_member(
            member,
            self.batches(network, train, rng),
            lambda member, batch: self.loss(network, member, batch),
            held_out_batch,
            settings,
            watch,
            name=name,
            rng=rng,
        )

    def fit_rival(self, network: nn.Module, sites: Sequence[str], settings: Settings, watch: Watch, name: str) -> None:
        """Train the networks that this one is compared with, where there are any."""

    # ---- judgement -------------------------------------------------------------------------------------------

    def evaluate(self, settings: Settings, watch: Watch) -> dict[str, Any]:
        """Return the scores of a cross-validation over sites."""
        return self.scores(self.cross_validate(settings, watch))

    def cross_validate(self, settings: Settings, watch: Watch) -> dict[str, pd.DataFrame]:
        """Predict every site by a network that was trained without it and its neighbours.

        Returns
        -------
        dict
            For each view a table with columns site, the targets, and `target:method` for the emulator and its
            baselines.
        """
        fold = folds(self.places, settings.n_folds, settings.seed)
        tables: dict[str, list[pd.DataFrame]] = {view: [] for view in self.views}
        for k in range(settings.n_folds):
            held_out = list(fold.index[fold == k])
            train = list(fold.index[fold != k])
            check_disjoint(self.places, train, held_out)
            in_fold = replace(settings, n_folds=settings.n_folds - 1)
            network = self.fit(train, in_fold, watch, f"fold{k}")
            self.fit_rival(network, train, in_fold, watch, f"fold{k}")
            for view in self.views:
                table = self.observed(view, held_out)
                methods = {EMULATOR: self.predict(network, view, held_out)}
                methods |= self.baselines(network, view, train, held_out)
                for method, values in methods.items():
                    table[[f"{target}:{method}" for target in self.targets]] = values
                tables[view].append(table)
        return {view: pd.concat(parts, ignore_index=True) for view, parts in tables.items()}

    def scores(self, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
        """Return the scores of all views and targets, each beside those of its baselines."""
        result: dict[str, Any] = {}
        for view, table in tables.items():
            methods = dict.fromkeys(column.partition(":")[2] for column in table if ":" in column)
            result[view] = {"sites": int(table["site"].nunique()), "samples": len(table)}
            for target in self.targets:
                by_method = {m: metrics.summary(table, target, f"{target}:{m}") for m in methods}
                result[view][target] = by_method.pop(EMULATOR) | {"baselines": by_method}
        return result
