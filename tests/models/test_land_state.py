# SPDX-License-Identifier: Apache-2.0
"""land_state on a made-up land whose rules are known: training lowers the loss, nothing leaks, a run stays bounded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("pandas", reason="training needs the libraries of the extra 'train'")
xr = pytest.importorskip("xarray")

from torchscript_models.data import DataError  # noqa: E402
from torchscript_models.export import export  # noqa: E402
from torchscript_models.land_state import recipe as recipes  # noqa: E402
from torchscript_models.land_state.network import DIAGNOSTICS, FORCING, STATES  # noqa: E402
from torchscript_models.land_state.samples import POINTS, RECORD, block_fold, read_land  # noqa: E402
from torchscript_models.watch import Watch  # noqa: E402

DAYS, CELLS = 60, 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a record of buckets that fill with rain and leak, in cells all over the world."""
    folder, rng = tmp_path_factory.mktemp("land"), np.random.default_rng(0)
    forcing = {name: rng.uniform(0.5, 1.5, (DAYS, CELLS)) for name in FORCING}
    forcing["pr"] = rng.gamma(0.5, 4.0, (DAYS, CELLS)) / 86400.0
    forcing["tas"] = 283.0 + rng.normal(0.0, 5.0, (DAYS, CELLS))
    states = {name: np.full((DAYS + 1, CELLS), 280.0 if name.startswith("t") else 50.0) for name in STATES}
    flux = {name: np.zeros((DAYS, CELLS)) for name in DIAGNOSTICS}
    for day in range(DAYS):
        flux["evspsbl"][day] = 0.02 * states["mrsos"][day] / 86400.0
        flux["mrro"][day] = 0.05 * states["mrsod"][day] / 86400.0
        flux["hfls"][day] = 2.5e6 * flux["evspsbl"][day]
        flux["hfss"][day] = forcing["tas"][day] - states["tsls"][day]
        rain = 86400.0 * forcing["pr"][day]
        states["mrsos"][day + 1] = 0.88 * states["mrsos"][day] + rain
        states["mrsod"][day + 1] = 0.95 * states["mrsod"][day] + 0.1 * states["mrsos"][day]
        states["snw"][day + 1] = np.maximum(states["snw"][day] + rain * (forcing["tas"][day] < 278.0) - 1.0, 0.0)
        states["tsls"][day + 1] = states["tsls"][day] + 0.3 * (forcing["tas"][day] - states["tsls"][day])
        states["tsld"][day + 1] = states["tsld"][day] + 0.02 * (states["tsls"][day] - states["tsld"][day])
    cells = {
        "id": ("cell", np.arange(1, CELLS + 1)),
        "lat": ("cell", rng.uniform(-60.0, 75.0, CELLS)),
        "lon": ("cell", rng.uniform(0.0, 360.0, CELLS)),
    }
    xr.Dataset({name: (("time", "cell"), x) for name, x in (forcing | flux).items()} | cells).to_netcdf(folder / RECORD)
    xr.Dataset({name: (("time", "cell"), x) for name, x in states.items()} | cells).to_netcdf(folder / POINTS)
    return folder


@pytest.fixture(scope="module", params=[recipes.LandStateRecipe, recipes.LandStateLstmRecipe])
def recipe(request: pytest.FixtureRequest, folder: Path) -> recipes.LandStateRecipe:
    found: recipes.LandStateRecipe = request.param(folder)
    return found


def test_held_out_cells_are_whole_blocks_that_training_does_not_see(
    recipe: recipes.LandStateRecipe, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    land, trained = read_land(folder), []
    monkeypatch.setattr(recipe, "batches", lambda cells, rng: trained.append(cells))
    monkeypatch.setattr(recipes, "fit_member", lambda *_, **__: [])
    recipe.train(recipe.settings, Watch())
    unseen = land.fold == recipes.HELD_OUT
    assert unseen.any()
    assert not any((cells & unseen).any() for cells in trained)
    corner = np.array([13.0, 14.0, 14.9]), np.array([31.0, 44.0, 31.0])
    assert len(set(block_fold(*corner))) == 1


def test_training_lowers_the_loss_and_a_free_run_beats_persistence(folder: Path) -> None:
    """The perceptron, and the LSTM that is scored beside it."""
    losses: dict[str, list[float]] = {}
    watch = Watch(log=lambda fit, epoch, values: losses.setdefault(fit, []).append(values["held_out_loss"]))
    recipe = recipes.LandStateRecipe(folder)
    (scores,) = recipe.evaluate(replace(recipe.settings, epochs=15, learning_rate=1e-2), watch).values()
    assert set(losses) == {"land_state0", "land_state_lstm0"}
    for history in losses.values():
        assert min(history) < 0.7 * history[0]
    for name in ("mrsod", "tsld"):
        persistence = scores[name]["baselines"]["persistence"]
        for scored in (scores[name], scores[name]["baselines"]["lstm"]):
            assert scored["rmse"] < persistence["rmse"]
            assert len(scored["by_month"]["bias"]) == DAYS // 30


def test_the_climatology_is_that_of_a_row_of_cells(folder: Path, tmp_path: Path) -> None:
    """Neighbouring rows of the T31 grid, 3.7 degrees apart, are not one; the lower soil water tells them apart."""
    row = np.where(np.arange(CELLS) % 2, 42.678, 46.389)
    for name in (RECORD, POINTS):
        with xr.open_dataset(folder / name) as cube:
            cube["lat"] = "cell", row
            if name == POINTS:
                cube["mrsod"] = cube["mrsod"].dims, row + 0.01 * (np.arange(DAYS + 1) % 2)[:, None]
            cube.to_netcdf(tmp_path / name)
    recipe = recipes.LandStateRecipe(tmp_path)
    (scores,) = recipe.evaluate(replace(recipe.settings, epochs=1), Watch()).values()
    assert scores["mrsod"]["baselines"]["climatology"]["mae"] < 0.1


def test_file_stays_within_the_land_it_knows_for_ten_years(recipe: recipes.LandStateRecipe, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = recipe.new_network(1)
    export(network.eval(), recipe.manifest(recipe.settings, {}), tmp_path / "land_state.pt")
    module = torch.jit.load(str(tmp_path / "land_state.pt"))
    forcing = torch.rand(8, len(FORCING)) * 300.0
    states, memory = torch.full((8, len(STATES)), 1e6), [torch.zeros(8, recipe.member_type.memory)]
    with torch.inference_mode():
        for _ in range(3600):
            found = module(torch.cat([forcing, states], dim=1), *memory[: recipe.member_type.memory])
            answer, *memory = found if isinstance(found, tuple) else (found,)
            states = answer[:, : len(STATES)]
            assert ((states >= network.lowest) & (states <= network.highest)).all()
    assert torch.isfinite(answer).all()


def test_records_that_are_missing_or_do_not_fit_are_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "EXAMPLE", tmp_path)
    with pytest.raises(DataError, match=r"no 'land_record\.nc'.*run\.py record"):
        recipes.LandStateRecipe(tmp_path)
    (tmp_path / RECORD).write_bytes((folder / RECORD).read_bytes())
    with xr.open_dataset(folder / POINTS) as points:
        points.isel(time=slice(1, None)).to_netcdf(tmp_path / POINTS)
    with pytest.raises(DataError, match="must begin one day before"):
        recipes.LandStateRecipe(tmp_path)
