# SPDX-License-Identifier: Apache-2.0
"""No leakage: a site, or a neighbour of it, is never on both sides of a split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas", reason="training needs the libraries of the extra 'train'")
pytest.importorskip("sklearn", reason="training needs the libraries of the extra 'train'")

from torchscript_models.biomass_plots.recipe import BiomassPlotsRecipe  # noqa: E402
from torchscript_models.biomass_plots.samples import far_from  # noqa: E402
from torchscript_models.carbon_flux.recipe import CarbonFluxRecipe  # noqa: E402
from torchscript_models.leaf_area_index.recipe import LeafAreaIndexRecipe  # noqa: E402
from torchscript_models.site_recipe import SiteRecipe  # noqa: E402
from torchscript_models.splits import NEIGHBOURS_KM, check_disjoint, folds, neighbourhoods  # noqa: E402
from torchscript_models.watch import Watch  # noqa: E402

RECIPES = [CarbonFluxRecipe, LeafAreaIndexRecipe, BiomassPlotsRecipe]


def world(n: int = 60) -> Any:
    """Return made-up sites: `n` far from each other, and a close neighbour of every third."""
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(-60, 75, n), np.linspace(-170, 170, n)
    table = pd.DataFrame({"lat": lat, "lon": lon, "igbp": rng.choice(["GRA", "ENF", "CRO"], n)})
    near = table[::3].assign(lat=lambda t: t["lat"] + 0.1)
    both = pd.concat([table, near], ignore_index=True)
    return both.set_index(pd.Index([f"XX-{i:03d}" for i in range(len(both))], name="site"))


def distance_km(places: Any, left: Sequence[str], right: Sequence[str]) -> float:
    """Return the smallest distance between two sets of sites, by the spherical law of cosines."""
    a, b = (np.deg2rad(places.loc[list(sites), ["lat", "lon"]].to_numpy()) for sites in (left, right))
    cosine = np.sin(a[:, None, 0]) * np.sin(b[:, 0])
    cosine += np.cos(a[:, None, 0]) * np.cos(b[:, 0]) * np.cos(a[:, None, 1] - b[:, 1])
    return float(6371.0 * np.arccos(np.clip(cosine, -1, 1)).min())


def test_neighbours_share_a_label_and_strangers_do_not() -> None:
    labels = neighbourhoods(world())
    assert labels.iloc[60] == labels.iloc[0]
    assert labels.nunique() == 60


def test_a_chain_of_neighbours_is_one_neighbourhood() -> None:
    places = pd.DataFrame({"lat": [0.0, 0.4, 0.8, 1.2], "lon": 0.0, "igbp": "GRA"}, index=list("abcd"))
    assert neighbourhoods(places).nunique() == 1


def test_folds_keep_neighbours_together_and_use_every_site_once() -> None:
    places = world()
    fold = folds(places, 6, seed=1)
    assert fold.notna().all()
    assert set(fold) == set(range(6))
    for k in range(6):
        assert distance_km(places, fold.index[fold == k], fold.index[fold != k]) >= NEIGHBOURS_KM


def test_folds_spread_each_class() -> None:
    places = world()
    counts = pd.crosstab(places["igbp"], folds(places, 6, seed=1))
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 4
    assert (counts.to_numpy() > 0).all()


@pytest.mark.parametrize("held_out", [["XX-001", "XX-000"], ["XX-060"]], ids=["same site", "neighbour"])
def test_a_site_on_both_sides_is_an_error(held_out: list[str]) -> None:
    places = world()
    train = ["XX-000", "XX-005", "XX-007"]
    with pytest.raises(ValueError, match=r"both sides of a split: XX-000"):
        check_disjoint(places, train, held_out)
    check_disjoint(places, train, ["XX-001", "XX-002"])


@pytest.mark.parametrize("recipe_type", RECIPES)
def test_no_model_is_scored_where_it_was_trained(
    recipe_type: type[SiteRecipe], observations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Record on which sites each network of a cross-validation is trained, stopped early and asked."""
    recipe = recipe_type(observations)
    trained: list[str] = []
    asked: list[str] = []

    def fit(self: SiteRecipe, sites: Sequence[str], *_: Any) -> None:
        trained[:] = sites

    def predict(self: SiteRecipe, network: None, view: str, sites: Sequence[str]) -> Any:
        assert distance_km(recipe.places, trained, sites) >= NEIGHBOURS_KM
        asked.extend(sites)
        return np.zeros((len(self.observed(view, sites)), len(self.targets)))

    def baselines(
        self: SiteRecipe, network: None, view: str, train: Sequence[str], sites: Sequence[str]
    ) -> dict[str, Any]:
        assert list(train) == trained
        return {}

    def fit_rival(self: SiteRecipe, network: None, sites: Sequence[str], *_: Any) -> None:
        assert list(sites) == trained

    for method in (fit, predict, baselines, fit_rival):
        monkeypatch.setattr(recipe_type, method.__name__, method)
    tables = recipe.cross_validate(recipe.settings, Watch())
    assert sorted(asked) == sorted([*recipe.places.index] * len(recipe.views))
    assert set().union(*(table["site"] for table in tables.values())) == set(recipe.places.index)


@pytest.mark.parametrize("recipe_type", RECIPES)
def test_early_stopping_is_judged_by_other_sites(
    recipe_type: type[SiteRecipe], observations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_type(observations)
    held_out: list[str] = []
    pairs: list[tuple[list[str], list[str]]] = []

    def hold_out(self: SiteRecipe, network: Any, sites: Sequence[str], rng: Any) -> None:
        held_out[:] = sites

    def batches(self: SiteRecipe, network: Any, sites: Sequence[str], rng: Any) -> None:
        pairs.append((list(sites), list(held_out)))

    monkeypatch.setattr(recipe_type, "held_out", hold_out)
    monkeypatch.setattr(recipe_type, "batches", batches)
    monkeypatch.setattr("torchscript_models.site_recipe.fit_member", lambda *_, **__: [])
    recipe.fit(list(recipe.places.index), recipe.settings, Watch())
    stages = 2 if recipe_type is CarbonFluxRecipe else 1
    assert len(pairs) == stages * recipe.settings.members
    for train, stop in pairs:
        assert distance_km(recipe.places, train, stop) >= NEIGHBOURS_KM
        assert len(train) + len(stop) == len(recipe.places)


def test_plots_near_a_held_out_region_are_not_trained_on(observations: Path) -> None:
    recipe = BiomassPlotsRecipe(observations)
    regions = list(recipe.places.index)
    train, held_out = regions[::2], regions[1::2]
    trained = recipe.training_plots(train)
    others = recipe.training_plots(regions)
    others = others[others["region"].isin(held_out)]
    assert 0 < len(trained) < (recipe.training_plots(regions)["region"].isin(train)).sum()
    assert len(far_from(trained, others, NEIGHBOURS_KM)) == len(trained)
