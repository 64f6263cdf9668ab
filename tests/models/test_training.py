# SPDX-License-Identifier: Apache-2.0
"""Training: seconds of it lower the loss, the same seed gives the same file, missing data are named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

pd = pytest.importorskip("pandas", reason="training needs the libraries of the extra 'train'")
pytest.importorskip("sklearn", reason="training needs the libraries of the extra 'train'")
testing = pytest.importorskip("click.testing", reason="training needs the libraries of the extra 'train'")

from coupler_plugin.emulator.load import load  # noqa: E402
from coupler_plugin.emulator.manifest import Manifest  # noqa: E402
from torchscript_models import __main__ as cli  # noqa: E402
from torchscript_models.__main__ import RECIPES, main, recipe_of  # noqa: E402
from torchscript_models.biomass_plots.samples import NORMALS, SUSPECT, read_plots  # noqa: E402
from torchscript_models.data import ENVIRONMENT, DataError, read_monthly_sites, read_towers  # noqa: E402
from torchscript_models.export import describe_anew, export  # noqa: E402
from torchscript_models.fitting import Settings, fit_member  # noqa: E402
from torchscript_models.recipe import Recipe  # noqa: E402
from torchscript_models.site_recipe import SiteRecipe  # noqa: E402
from torchscript_models.splits import folds  # noqa: E402
from torchscript_models.watch import Watch  # noqa: E402

NAMES = [name for name in RECIPES if issubclass(recipe_of(name), SiteRecipe) and recipe_of(name).is_shipped]
#: what a few epochs must lower the loss to
LOWERED = {"leaf_area_index": 0.9, "carbon_flux": 0.9, "biomass_plots": 0.85}


@pytest.fixture(scope="module", params=NAMES)
def recipe(request: pytest.FixtureRequest, observations: Path) -> SiteRecipe:
    return recipe_of(request.param)(observations)


def some_sites(recipe: SiteRecipe) -> list[str]:
    """Return a quarter of the sites."""
    fold = folds(recipe.places, 4, seed=0)
    return list(fold.index[fold == 0])


def test_a_few_epochs_lower_the_loss_on_other_sites(recipe: SiteRecipe) -> None:
    torch.manual_seed(0)
    settings, sites = replace(recipe.settings, epochs=2), some_sites(recipe)
    if recipe.name == "biomass_plots":  # a quarter of its regions says little of the others, and all are read at once
        settings, sites = recipe.settings, list(recipe.places.index)
    fold = folds(recipe.places.loc[sites], 2, seed=0)
    train, held_out = list(fold.index[fold == 0]), list(fold.index[fold == 1])
    network = recipe.new_network(sites, members=1)
    member = network.members[0]
    rng = np.random.default_rng(0)
    batch = recipe.held_out(network, held_out, rng)
    history = fit_member(
        member,
        recipe.batches(network, train, rng),
        lambda member, b: recipe.loss(network, member, b),
        batch,
        settings,
        Watch(),
    )
    assert min(history[1:]) < LOWERED[recipe.name] * history[0]
    with torch.no_grad():
        assert float(recipe.loss(network, member, batch)) == min(history), "the best epoch is the one that is kept"


def test_same_seed_gives_the_same_file(recipe: SiteRecipe, tmp_path: Path) -> None:
    settings = replace(recipe.settings, epochs=1, members=1, n_folds=2, seed=3)
    files, sites = [], some_sites(recipe)
    for attempt in ("first", "again"):
        network = recipe.fit(sites, settings, Watch())
        path = tmp_path / attempt / f"{recipe.name}.pt"
        path.parent.mkdir()
        export(network, recipe.manifest(settings, scores={}), path)
        files.append(path.read_bytes())
        assert load(path).manifest.name == recipe.name
    assert files[0] == files[1]
    weights = network.state_dict()
    other = recipe.fit(sites, replace(settings, seed=4), Watch()).state_dict()
    assert any(not torch.equal(weights[key], other[key]) for key in weights if key.startswith("members."))


def test_new_scores_change_the_manifest_and_nothing_else(recipe: SiteRecipe, tmp_path: Path) -> None:
    settings = replace(recipe.settings, members=1)
    sites = some_sites(recipe)
    scores = {"held_out_sites": {"sites": 3}}
    for folder, written in (("before", {}), ("with", scores)):
        (tmp_path / folder).mkdir()
        torch.manual_seed(0)
        network = recipe.new_network(sites, members=1)
        export(network, recipe.manifest(settings, written), tmp_path / folder / "x.pt")
    describe_anew(tmp_path / "before" / "x.pt", replace(settings, seed=99), {"other": {}})
    assert load(tmp_path / "before" / "x.pt").manifest.scores == {}, "scores of another training are not its own"
    describe_anew(tmp_path / "before" / "x.pt", settings, scores)
    assert (tmp_path / "before" / "x.pt").read_bytes() == (tmp_path / "with" / "x.pt").read_bytes()


class Dice(Recipe):
    """Scores that are the seed; made as often as `thrown` says."""

    name, targets, settings, seeds = "biomass_plots", ("agb",), Settings(1, 1, 0.1, 0.0, 1), 3
    thrown: ClassVar[list[int]] = []

    def __init__(self, data: Path) -> None: ...

    def train(self, settings: Settings, watch: Watch) -> torch.nn.Module:
        raise AssertionError("nothing is trained here")

    def evaluate(self, settings: Settings, watch: Watch) -> dict[str, Any]:
        self.thrown.append(settings.seed)
        return {"held_out": {"sites": 2, "agb": {"rmse": float(settings.seed), "baselines": {}}}}

    def manifest(self, settings: Settings, scores: dict[str, Any]) -> Manifest:
        raise AssertionError("nothing is trained here")


def test_scores_are_the_mean_over_the_seeds_and_finished_runs_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "recipe_of", lambda name: Dice)
    monkeypatch.setattr(Dice, "thrown", [])
    options = ["--data", str(tmp_path), "--zoo", str(tmp_path / "zoo"), "--runs", str(tmp_path / "runs")]
    for more in (["--seeds", "2"], ["--resume"]):
        result = testing.CliRunner().invoke(main, ["evaluate", "biomass_plots", *options, *more])
        assert result.exit_code == 0, result.output
    assert Dice.thrown == [1, 2, 3], "the second command makes the run that is missing"
    written = json.loads((tmp_path / "zoo" / "biomass_plots.json").read_text(encoding="utf-8"))
    assert written["seeds"] == 3
    assert written["scores"]["held_out"]["agb"]["rmse"] == 2.0
    assert [run["held_out"]["agb"]["rmse"] for run in written["by_seed"].values()] == [1.0, 2.0, 3.0]
    testing.CliRunner().invoke(main, ["evaluate", "biomass_plots", *options, "--seeds", "1"])
    assert Dice.thrown == [1, 2, 3, 1], "without --resume everything is made anew"


def test_a_later_resume_takes_nothing_from_before_a_new_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command without --resume was stopped before its second run: an older second run is not its own."""
    monkeypatch.setattr(cli, "recipe_of", lambda name: Dice)
    monkeypatch.setattr(Dice, "thrown", [])
    options = ["--data", str(tmp_path), "--zoo", str(tmp_path / "zoo"), "--runs", str(tmp_path / "runs")]
    command = ["evaluate", "biomass_plots", *options, "--seeds", "2"]
    checkpoint = tmp_path / "runs" / "evaluate_biomass_plots_seed2" / "checkpoints" / "fold0.pt"
    testing.CliRunner().invoke(main, command)
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    roll = Dice.evaluate

    def stopped(self: Dice, settings: Settings, watch: Watch) -> dict[str, Any]:
        if settings.seed == 2:
            raise KeyboardInterrupt
        return roll(self, settings, watch)

    with monkeypatch.context() as stop:
        stop.setattr(Dice, "evaluate", stopped)
        testing.CliRunner().invoke(main, command)
    assert not checkpoint.exists()
    testing.CliRunner().invoke(main, [*command, "--resume"])
    assert Dice.thrown == [1, 2, 1, 2]


def test_missing_data_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = testing.CliRunner()
    result = runner.invoke(main, ["train", "carbon_flux", "--data", str(tmp_path / "nowhere")])
    assert result.exit_code == 1
    assert "nowhere" in result.output
    assert ENVIRONMENT in result.output
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    result = runner.invoke(main, ["evaluate", "leaf_area_index"])
    assert result.exit_code == 1
    assert "lack 'flux_" in result.output


def test_a_gap_in_the_days_of_a_tower_is_an_error(observations: Path, tmp_path: Path) -> None:
    table = pd.read_csv(observations / "flux_daily.csv.gz")
    table = table[table["site"] == "AU-Fog"]
    (tmp_path / "flux_daily_sites.csv").write_bytes((observations / "flux_daily_sites.csv").read_bytes())
    table.drop(table.index[100]).to_csv(tmp_path / "flux_daily.csv.gz", index=False)
    with pytest.raises(Exception, match="AU-Fog are not consecutive"):
        read_towers(tmp_path)


def test_plots_are_read_as_documented(observations: Path, tmp_path: Path) -> None:
    plots = read_plots(observations)
    assert len(plots) == 6635 - plots.duplicated(["lat", "lon"]).sum()
    assert plots["agb"].between(0.0, SUSPECT).all()
    page = (Path(__file__).parents[2] / "docs" / "emulators" / "biomass_plots.md").read_text(encoding="utf-8")
    where = plots["continent"].value_counts()
    for continent, place in (("AUS", "in Australia"), ("ASI", "in Asia"), ("AFR", "in Africa")):
        assert f"{where[continent]} {place}" in page
    assert np.isfinite(plots[[*NORMALS, "elevation"]].to_numpy()).all()
    table = pd.read_csv(observations / "biomass_plots.csv.gz")
    assert (table["AGB_T_HA"] > SUSPECT).sum() == 22
    table.loc[7, "AGB_T_HA"] = -1.0
    table.to_csv(tmp_path / "biomass_plots.csv.gz", index=False)
    with pytest.raises(DataError, match=f"plot {table['PLOT_ID'][7]} has no biomass, or a negative one"):
        read_plots(tmp_path)


def test_observations_are_read_as_documented(observations: Path) -> None:
    towers = read_towers(observations)
    assert len(towers) == 24
    for tower in towers.values():
        gpp, reco, nee = tower.fluxes[tower.quality > 0.5].T
        assert abs((nee - (reco - gpp)).mean()) < 0.05
        assert np.isfinite(tower.forcing).all()
        assert (tower.quality >= 0).all()
    sites = read_monthly_sites(observations)
    assert len(sites) == 143
    for site in sites.values():
        fluxes = site.fluxes[np.isfinite(site.fluxes).all(axis=1)]
        assert (fluxes[:, :2] >= 0).all()
        np.testing.assert_allclose(fluxes[:, 2], fluxes[:, 1] - fluxes[:, 0], atol=1e-4)
