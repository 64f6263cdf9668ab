# SPDX-License-Identifier: Apache-2.0
"""The command line: `python -m torchscript_models train|evaluate NAME`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from torchscript_models.carbon_flux.recipe import CarbonFluxRecipe
from torchscript_models.data import DataError, find_data
from torchscript_models.export import ZOO, describe_anew, export
from torchscript_models.fitting import Settings
from torchscript_models.leaf_area_index.recipe import LeafAreaIndexRecipe
from torchscript_models.recipe import EMULATOR, Recipe

RECIPES: dict[str, type[Recipe]] = {recipe.name: recipe for recipe in (LeafAreaIndexRecipe, CarbonFluxRecipe)}

_name = click.argument("name", type=click.Choice([*RECIPES, "all"]))
_data = click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of the observations (else $COUPLER_PLUGIN_DATA, else ../shared/data).",
)
_seed = click.option("--seed", type=int, default=1, show_default=True, help="Of all random numbers.")
_epochs = click.option("--epochs", type=click.IntRange(min=1), help="At most so many, instead of the recipe's.")
_zoo = click.option("--zoo", type=click.Path(path_type=Path), default=ZOO, help="Folder of the emulator files.")


@click.group()
def main() -> None:
    """Train the emulators, and score them on sites that they have not seen."""
    torch.set_num_threads(1)


@main.command()
@_name
@_data
@_seed
@_epochs
@_zoo
def train(name: str, data: Path | None, seed: int, epochs: int | None, zoo: Path) -> None:
    """Train NAME on all sites and write zoo/NAME.pt, with the scores of zoo/NAME.json when they are of this recipe."""
    if name == "all":
        return _one_by_one()
    recipe, settings = _chosen(name, data, seed, epochs)
    with _progress(f"{name}: training", settings.members * settings.epochs) as advance:
        network = recipe.fit(list(recipe.places.index), settings, advance)
    scores = _read_scores(zoo / f"{name}.json", settings)
    zoo.mkdir(parents=True, exist_ok=True)
    path = zoo / f"{name}.pt"
    export(network, recipe.manifest(settings, scores), path)
    click.echo(f"{path} ({path.stat().st_size / 1024:.0f} KiB)")
    if not scores:
        click.echo(f"It carries no scores yet: python -m torchscript_models evaluate {name}")
    return None


@main.command()
@_name
@_data
@_seed
@_epochs
@_zoo
def evaluate(name: str, data: Path | None, seed: int, epochs: int | None, zoo: Path) -> None:
    """Score the recipe of NAME on sites left out of its training; write zoo/NAME.json, and the scores into NAME.pt."""
    if name == "all":
        return _one_by_one()
    recipe, settings = _chosen(name, data, seed, epochs)
    total = settings.n_folds * settings.members * settings.epochs
    with _progress(f"{name}: {settings.n_folds} folds of sites", total) as advance:
        scores = recipe.scores(recipe.cross_validate(settings, advance))
    zoo.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"settings": asdict(settings), "scores": scores}, indent=1)
    (zoo / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    path = zoo / f"{name}.pt"
    if path.is_file():
        describe_anew(path, settings, scores)
    _print_scores(recipe, scores)
    return None


def _one_by_one() -> None:
    """Run this command for each emulator in a process of its own.

    TorchScript numbers the classes that a process has compiled: only so are the files those of single commands.
    """
    command, *options = sys.argv[1:]
    options.remove("all")
    for name in RECIPES:
        done = subprocess.run([sys.executable, "-m", "torchscript_models", command, name, *options])
        if done.returncode:
            sys.exit(done.returncode)


def _chosen(name: str, data: Path | None, seed: int, epochs: int | None) -> tuple[Recipe, Settings]:
    try:
        recipe = RECIPES[name](find_data(data))
    except DataError as error:
        raise click.ClickException(str(error)) from error
    return recipe, replace(recipe.settings, seed=seed, epochs=epochs or recipe.settings.epochs)


@contextmanager
def _progress(what: str, total: int) -> Iterator[Any]:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def _read_scores(path: Path, settings: Settings) -> dict[str, Any]:
    """Return the scores in `path` if they are those of a recipe with these settings."""
    if not path.is_file():
        return {}
    written = json.loads(path.read_text(encoding="utf-8"))
    return dict(written["scores"]) if written["settings"] == asdict(settings) else {}


def _print_scores(recipe: Recipe, scores: dict[str, Any]) -> None:
    columns = ("rmse", "r2", "mae", "bias")
    table = Table("observations", "target", "method", *columns, "site median rmse", "site median r2")
    for view, by_target in scores.items():
        for target in recipe.targets:
            own = by_target[target]
            for method, values in {EMULATOR: own, **own["baselines"]}.items():
                medians = (values["site_median"][key] for key in ("rmse", "r2"))
                table.add_row(view, target, method, *(f"{v:.2f}" for v in (*(values[c] for c in columns), *medians)))
    Console().print(table)


if __name__ == "__main__":
    main()
