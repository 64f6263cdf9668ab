# SPDX-License-Identifier: Apache-2.0
"""The command line: `python -m torchscript_models train|evaluate NAME`, alone or under `torchrun`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from torchscript_models import processes
from torchscript_models.data import DataError, find_data
from torchscript_models.export import ZOO, describe_anew, export, write_card
from torchscript_models.fitting import Settings
from torchscript_models.footprint import measured
from torchscript_models.metrics import mean
from torchscript_models.recipe import EMULATOR, Recipe
from torchscript_models.watch import Checkpoints, Watch, tracked

#: where each emulator's recipe is; in the order in which `all` makes them
RECIPES = {
    "leaf_area_index": "torchscript_models.leaf_area_index.recipe:LeafAreaIndexRecipe",
    "carbon_flux": "torchscript_models.carbon_flux.recipe:CarbonFluxRecipe",
    "biomass_plots": "torchscript_models.biomass_plots.recipe:BiomassPlotsRecipe",
    "land_state": "torchscript_models.land_state.recipe:LandStateRecipe",
    "land_state_lstm": "torchscript_models.land_state.recipe:LandStateLstmRecipe",
    "carbon_flux_penalty": "torchscript_models.carbon_flux.recipe:CarbonFluxPenaltyRecipe",
    "biomass": "torchscript_models.biomass.recipe:BiomassRecipe",
    "biomass_swin": "torchscript_models.biomass.recipe:BiomassSwinRecipe",
    "tree_cover": "torchscript_models.segmentation.recipe:TreeCoverRecipe",
    "surface_classes": "torchscript_models.segmentation.recipe:SurfaceClassesRecipe",
    "downscaling": "torchscript_models.downscaling.recipe:DownscalingRecipe",
    "land_cover": "torchscript_models.land_cover.recipe:LandCoverRecipe",
}


def recipe_of(name: str) -> type[Recipe]:
    """Return the recipe of an emulator."""
    module, _, attribute = RECIPES[name].partition(":")
    recipe: type[Recipe] = getattr(import_module(module), attribute)
    return recipe


@dataclass(frozen=True)
class Options:
    """What both commands are told.

    Attributes
    ----------
    data : Path, optional
        Folder of the observations.
    track : str
        Whose files get the curves of the losses.
    runs : Path
        Folder of these files and of the checkpoints.
    resume : bool
        Whether the training goes on from its checkpoints.
    zoo : Path
        Folder of the emulator files.
    country : str, optional
        Where the electricity comes from.
    """

    data: Path | None
    seed: int
    epochs: int | None
    track: Any
    runs: Path
    resume: bool
    zoo: Path
    country: str | None


def _common(command: Any) -> Any:
    path = click.Path(path_type=Path)
    where = "Folder of the observations (else $COUPLER_PLUGIN_DATA, else ../shared/data)."
    carbon = "Where the electricity comes from, three letters (ISO 3166); default: the world's mean."
    for option in (
        click.option("--country", metavar="CODE", help=carbon),
        click.option("--zoo", type=path, default=ZOO, help="Folder of the emulator files."),
        click.option("--resume", is_flag=True, help="Go on from the checkpoints of a training that was stopped."),
        click.option("--runs", type=path, default=Path("runs"), show_default=True, help="For curves and checkpoints."),
        click.option("--track", type=click.Choice(["tensorboard", "mlflow"]), default="tensorboard", show_default=True),
        click.option("--epochs", type=click.IntRange(min=1), help="At most so many, instead of the recipe's."),
        click.option("--seed", type=int, default=1, show_default=True, help="Of all random numbers."),
        click.option("--data", type=path, help=where),
        click.argument("name", type=click.Choice([*RECIPES, "all"])),
    ):
        command = option(command)
    return command


@click.group()
def main() -> None:
    """Train the emulators, and score them on what they have not seen.

    `torchrun --nproc-per-node 2 -m torchscript_models train NAME` shares a training between processes.
    """
    torch.set_num_threads(1)


@main.command()
@_common
def train(name: str, **options: Any) -> None:
    """Train NAME on all there is and write zoo/NAME.pt, with the scores of zoo/NAME.json if they are of this recipe."""
    if name == "all":
        return _one_by_one()
    chosen = Options(**options)
    recipe, settings = _chosen(name, chosen)
    with processes.processes():
        _begin(f"train_{name}", [settings.seed], chosen)
        with measured(chosen.country) as footprint, _watch(f"train_{name}", recipe, settings, chosen) as watch:
            network = recipe.train(settings, watch)
        if processes.rank():
            return None
    manifest = recipe.manifest(settings, _read_scores(chosen.zoo / f"{name}.json", settings))
    if not chosen.resume:  # what was used before the stop is not known
        manifest = manifest.model_copy(update={"training": manifest.training | {"footprint": footprint}})
    chosen.zoo.mkdir(parents=True, exist_ok=True)
    path = chosen.zoo / f"{name}.pt"
    export(network, manifest, path)
    write_card(manifest, path)
    click.echo(f"{path} ({path.stat().st_size / 1024:.0f} KiB); {footprint['co2_eq_g']:g} g CO2-equivalent")
    if not manifest.scores:
        click.echo(f"It carries no scores yet: python -m torchscript_models evaluate {name}")
    return None


@main.command()
@_common
@click.option("--seeds", type=click.IntRange(min=1), help="Runs to average, from --seed on, instead of the recipe's.")
def evaluate(name: str, seeds: int | None, **options: Any) -> None:
    """Score the recipe of NAME on what its training leaves out; write zoo/NAME.json, and the scores into NAME.pt.

    With --resume, runs that were finished before a stop are not made again.
    """
    if name == "all":
        return _one_by_one()
    chosen = Options(**options)
    recipe, settings = _chosen(name, chosen)
    seeds = seeds or recipe.seeds
    with processes.processes():
        _begin(f"evaluate_{name}", range(settings.seed, settings.seed + seeds), chosen)
        runs = [_run_of(name, recipe, replace(settings, seed=settings.seed + i), chosen) for i in range(seeds)]
        scores = mean(runs)
        if processes.rank():
            return None
    facts: dict[str, Any] = {"settings": asdict(settings), "seeds": seeds, "scores": scores}
    if seeds > 1:
        facts["by_seed"] = {str(settings.seed + i): run for i, run in enumerate(runs)}
    _write_json(chosen.zoo / f"{name}.json", facts)
    path = chosen.zoo / f"{name}.pt"
    if path.is_file():
        describe_anew(path, settings, scores)
    _print_scores(scores)
    return None


def _begin(run: str, seeds: Iterable[int], options: Options) -> None:
    """Without --resume, remove what earlier commands left of these runs: a later --resume would take it for theirs."""
    if not options.resume and processes.rank() == 0:
        for seed in seeds:
            shutil.rmtree(options.runs / f"{run}_seed{seed}", ignore_errors=True)


def _run_of(name: str, recipe: Recipe, settings: Settings, options: Options) -> dict[str, Any]:
    """Return the scores of one run: those that an earlier command has left in the folder of runs, or new ones."""
    path = options.runs / f"evaluate_{name}_seed{settings.seed}" / "scores.json"
    if options.resume and (kept := _read_scores(path, settings)):
        return kept
    with _watch(f"evaluate_{name}", recipe, settings, options) as watch:
        scores = recipe.evaluate(settings, watch)
    if processes.rank() == 0:
        _write_json(path, {"settings": asdict(settings), "scores": scores})
    return scores


def _write_json(path: Path, facts: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _one_by_one() -> None:
    """Run this command for each emulator in a process of its own.

    TorchScript numbers the classes that a process has compiled: only so are the files those of single commands.
    """
    command, *options = sys.argv[1:]
    options.remove("all")
    for name in filter(lambda name: recipe_of(name).is_shipped, RECIPES):
        done = subprocess.run([sys.executable, "-m", "torchscript_models", command, name, *options])
        if done.returncode:
            sys.exit(done.returncode)


def _chosen(name: str, options: Options) -> tuple[Recipe, Settings]:
    try:
        chosen = recipe_of(name)
        recipe = chosen(find_data(options.data) if chosen.needs_data else Path())
    except DataError as error:
        raise click.ClickException(str(error)) from error
    return recipe, replace(recipe.settings, seed=options.seed, epochs=options.epochs or recipe.settings.epochs)


@contextmanager
def _watch(run: str, recipe: Recipe, settings: Settings, options: Options) -> Iterator[Watch]:
    """Show progress, draw curves and keep checkpoints; in several processes the first one does."""
    checkpoints = Checkpoints(options.runs / f"{run}_seed{settings.seed}" / "checkpoints", options.resume)
    if processes.rank():
        yield Watch(checkpoints=checkpoints)
        return
    is_training = run.startswith("train")
    total = recipe.epochs_to_train(settings) if is_training else recipe.epochs_to_evaluate(settings)
    columns = (TextColumn(run.replace("_", " ", 1)), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"))
    with (
        tracked(options.track, f"{run}_seed{settings.seed}", asdict(settings), options.runs) as log,
        Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as progress,
    ):
        task = progress.add_task(run, total=total)
        yield Watch(lambda: progress.advance(task), log, checkpoints)


def _read_scores(path: Path, settings: Settings) -> dict[str, Any]:
    """Return the scores in `path` if they are those of a recipe with these settings."""
    if not path.is_file():
        return {}
    written = json.loads(path.read_text(encoding="utf-8"))
    return dict(written["scores"]) if written["settings"] == asdict(settings) else {}


def _print_scores(scores: dict[str, Any]) -> None:
    for view, by_target in scores.items():
        for target, own in by_target.items():
            if not isinstance(own, dict):
                continue
            metrics = [key for key, value in own.items() if isinstance(value, float)]
            table = Table("method", *metrics, title=f"{view}: {target}")
            for method, values in {EMULATOR: own, **own["baselines"]}.items():
                table.add_row(method, *(f"{values[metric]:.3g}" for metric in metrics))
            Console().print(table)


if __name__ == "__main__":
    main()
