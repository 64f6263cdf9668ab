# SPDX-License-Identifier: Apache-2.0
"""`coupler-plugin inspect FILE`: what an emulator file says about itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from coupler_plugin.emulator import compiled
from coupler_plugin.emulator.file import Found
from coupler_plugin.emulator.load import FORMATS, describe
from coupler_plugin.emulator.manifest import Budget, Input, Output, Variable


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def inspect(files: tuple[Path, ...], as_json: bool) -> None:
    """Print the manifest inside emulator FILES."""
    console = Console()
    for path in files:
        emulator = describe(path)
        if as_json:
            click.echo(emulator.manifest.model_dump_json(indent=1, exclude_none=True))
        else:
            _print(console, emulator)


def _print(console: Console, emulator: Found) -> None:
    manifest = emulator.manifest
    window = f", sees the last {manifest.window.length} steps" if manifest.window else ""
    console.print(f"[bold]{manifest.name}[/] {manifest.version}: {manifest.description}", highlight=False)
    facts = {
        "file": f"{emulator.path} ({emulator.path.stat().st_size / 1024:.0f} KiB)",
        "sha256": emulator.sha256,
        "time step": f"{manifest.every}{window}",
        "state": ", ".join(f"{entry.name} ({entry.size})" for entry in manifest.state),
        "budgets": "; ".join(_budget(budget) for budget in manifest.budgets),
        "source": manifest.source,
        "license": manifest.license,
        "attribution": manifest.attribution,
        "training": "; ".join(f"{key}: {value}" for key, value in manifest.training.items()),
        "compiled": _compiled(emulator),
    }
    for name, text in facts.items():
        if text:
            console.print(f"  {name:<12} {text}", highlight=False, markup=False, soft_wrap=True)
    for title, entries in (("inputs", manifest.inputs), ("static", manifest.static), ("outputs", manifest.outputs)):
        if entries:
            console.print(_variables(title, entries))
    for title, scores in manifest.scores.items():
        if isinstance(scores, dict) and scores:
            console.print(_scores(title.replace("_", " "), scores))


def _compiled(emulator: Found) -> str:
    """Return how a compiled package was made; empty for a file of another format."""
    if FORMATS.get(emulator.path.suffix) is not compiled.FORMAT:
        return ""
    making = compiled.making_of(emulator)
    differences = ", ".join(f"{one.name} {one.largest:.2g} ({one.relative:.2g})" for one in making.differences)
    blocks = f"for blocks of {making.block}" if making.sums is None else "in layers"
    machine = f"{making.machine}, torch {making.torch}"
    return (
        f"from {making.original} (sha256 {making.original_sha256}) {blocks}, {making.dtype}, "
        f"on {making.device}, {machine}; largest differences (and in standard deviations): {differences}"
    )


def _budget(budget: Budget) -> str:
    """Return a budget as it would be written by hand."""
    terms = " ".join(f"{factor:+g} {name}" for name, factor in budget.terms.items())
    if budget.equals is not None:
        return f"{terms} = {budget.equals:g}"
    limit = budget.at_most if isinstance(budget.at_most, dict) else {"": float(budget.at_most or 0.0)}
    rate = ", over a time step," if budget.per_step else ""
    return f"{terms}{rate} <= " + " ".join(f"{factor:+g} {name}".strip() for name, factor in limit.items())


def _variables(title: str, entries: Sequence[Variable]) -> Table:
    columns = ("name", "units", "how", "valid range", "in training (min, mean, max)")
    table = Table(*columns, title=title, title_justify="left")
    for entry in entries:
        how = str(entry.aggregate) if isinstance(entry, Input) else ""
        if isinstance(entry, Output) and entry.closure:
            how = " ".join(f"{factor:+g} {term}" for term, factor in entry.closure.items())
        statistics = entry.statistics if isinstance(entry, Input) else None
        table.add_row(
            entry.name + (f" ({entry.size})" if entry.size > 1 else ""),
            entry.units,
            how,
            "{:g} to {:g}".format(*entry.valid_range) if entry.valid_range else "",
            f"{statistics.min:.4g}, {statistics.mean:.4g}, {statistics.max:.4g}" if statistics else "",
        )
    return table


def _scores(title: str, scores: dict[str, Any]) -> Table:
    """Return a table of the scores of each output with its baselines below it."""
    about = ", ".join(f"{count} {what}" for what, count in scores.items() if not isinstance(count, dict))
    outputs = {output: entry for output, entry in scores.items() if isinstance(entry, dict)}
    metrics = sorted({metric for entry in outputs.values() for metric in _numbers(entry)})
    title = f"scores: {title} ({about})" if about else f"scores: {title}"
    table = Table("output", "model", *metrics, title=title, title_justify="left")
    for output, entry in outputs.items():
        models = {"this emulator": entry, **entry.get("baselines", {})}
        for model, values in models.items():
            numbers = _numbers(values)
            cells = [f"{numbers[metric]:.3g}" if metric in numbers else "" for metric in metrics]
            table.add_row(output if model == "this emulator" else "", model.replace("_", " "), *cells)
    return table


def _numbers(entry: Any) -> dict[str, float]:
    return {k: v for k, v in entry.items() if isinstance(v, int | float)} if isinstance(entry, dict) else {}
