# SPDX-License-Identifier: Apache-2.0
"""`coupler-plugin plot KIND`: pictures of a history: maps, series, comparisons with observations or another run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coupler_plugin.errors import CouplerError, Status

if TYPE_CHECKING:
    from types import ModuleType

    from matplotlib.figure import Figure

_file = click.argument("file", type=click.Path(path_type=Path))
_out = click.option("-o", "--out", type=click.Path(path_type=Path), help="Picture to write (PNG, PDF, SVG).")
_units = click.option("--units", help="Units to show, such as 'g m-2 d-1'.")
_fields = click.argument("fields", nargs=-1, required=True)
_observations = click.option(
    "--observations", required=True, type=click.Path(path_type=Path), help="CF file of observations at sites."
)
_variable = click.option("--variable", help="Its variable; default: FIELD_observed or FIELD.")
_within = click.option("--within", default=100.0, show_default=True, help="Farthest cell of a site [km].")


@click.group()
def plot() -> None:
    """Draw what is in the history FILE of a run."""


@plot.command("map")
@_file
@_fields
@_units
@_out
def draw_maps(file: Path, fields: tuple[str, ...], units: str | None, out: Path | None) -> None:
    """Draw maps of the mean over all times."""
    plots, plt = _plots()
    results = plots.read(file)
    columns = min(2, len(fields))
    figure, panels = _panels(plt, -(-len(fields) // columns), columns, 6.2, 3.9)
    for axes in panels.flat[len(fields) :]:
        axes.axis("off")
    for axes, name in zip(panels.flat, fields, strict=False):
        field = results.field(name, units)
        plots.draw_map(axes, results.lon, results.lat, field.mean(), field.label, field.units)
    _save(plots, figure, file, "map", fields, out)


@plot.command("series")
@_file
@_fields
@_units
@click.option("--cell", type=int, multiple=True, help="Id of a cell; default: the mean over all cells.")
@_out
def draw_series(
    file: Path, fields: tuple[str, ...], units: str | None, cell: tuple[int, ...], out: Path | None
) -> None:
    """Draw lines over time, of the mean over all cells or of single ones."""
    plots, plt = _plots()
    results = plots.read(file)
    missing = [one for one in cell if one not in results.ids]
    if missing:
        raise CouplerError(Status.CELLS, f"'{file}' has no cell {missing[0]}.")
    figure, panels = _panels(plt, len(fields), 1, 9.0, 2.6)
    for axes, name in zip(panels[:, 0], fields, strict=True):
        field = results.field(name, units)
        places = {f"cell {one}": int((results.ids == one).nonzero()[0][0]) for one in cell}
        lines = {label: field.values[:, place] for label, place in places.items()}
        plots.draw_series(axes, results.years(), lines or {"mean": results.mean(field.values)}, field)
    _save(plots, figure, file, "series", fields, out)


@plot.command("scatter")
@_file
@_fields
@_observations
@_variable
@_within
@_units
@_out
def draw_scatter(
    file: Path, fields: tuple[str, ...], observations: Path, variable: str | None, within: float, units: str | None,
    out: Path | None,
) -> None:  # fmt: skip
    """Draw emulated over observed values."""
    plots, plt = _plots()
    results = plots.read(file)
    figure, panels = _panels(plt, 1, len(fields), 4.2, 4.2)
    for axes, name in zip(panels[0], fields, strict=True):
        pairs = _pair(plots, results, name, observations, variable, within, units)
        plots.draw_scatter(axes, pairs.observed, pairs.emulated)
    _save(plots, figure, file, "scatter", fields, out)


@plot.command("taylor")
@_file
@_fields
@_observations
@_variable
@_within
@_units
@_out
def draw_taylor(
    file: Path, fields: tuple[str, ...], observations: Path, variable: str | None, within: float, units: str | None,
    out: Path | None,
) -> None:  # fmt: skip
    """Draw Taylor diagrams with a point for each site, and print the scores."""
    plots, plt = _plots()
    results = plots.read(file)
    figure, panels = _panels(plt, 1, len(fields), 5.6, 4.0)
    for axes, name in zip(panels[0], fields, strict=True):
        pairs = _pair(plots, results, name, observations, variable, within, units)
        scores = {
            site: plots.score(pairs.observed.values[:, place], pairs.emulated.values[:, place])
            for place, site in enumerate(pairs.names)
        }
        plots.draw_taylor(axes, scores, pairs.emulated.label)
        for site, one in scores.items():
            numbers = f"n {one.n}  RMSE {one.rmse:.3g}  R2 {one.r2:.2f}  bias {one.bias:+.3g} {pairs.observed.units}"
            click.echo(f"{name}  {site}  {numbers}")
    _save(plots, figure, file, "taylor", fields, out)


@plot.command("compare")
@_file
@click.argument("other", type=click.Path(path_type=Path))
@click.argument("fields", nargs=-1, required=True)
@_units
@_out
def compare(file: Path, other: Path, fields: tuple[str, ...], units: str | None, out: Path | None) -> None:
    """Compare the histories of two runs: a map of the difference, and both means over time."""
    plots, plt = _plots()
    one, two = plots.read(file), plots.read(other)
    if one.ids.tolist() != two.ids.tolist():
        raise CouplerError(Status.CELLS, f"'{file}' and '{other}' have different cells; only like can be compared.")
    figure, panels = _panels(plt, len(fields), 2, 6.0, 3.9)
    for (left, right), name in zip(panels, fields, strict=True):
        largest = plots.draw_difference(left, one, two, name, units)
        plots.draw_means(right, {"first": one, "second": two}, name, units)
        click.echo(f"{name}: largest difference of the means {largest:.4g} {one.field(name, units).units}")
    _save(plots, figure, file, "compare", fields, out)


def _plots() -> tuple[ModuleType, Any]:
    """Return the package of pictures and pyplot, ready to draw without a screen."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise CouplerError(Status.CONFIG, "pictures need matplotlib: pip install 'coupler_plugin[plot]'.") from error
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from coupler_plugin import plot as plots

    plt.rcParams.update(plots.STYLE)
    return plots, plt


def _panels(plt: Any, rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    size = (width * columns, height * rows)
    panels: tuple[Any, Any] = plt.subplots(rows, columns, figsize=size, squeeze=False, constrained_layout=True)
    return panels


def _pair(
    plots: ModuleType, results: Any, name: str, path: Path, variable: str | None, within: float, units: str | None
) -> Any:
    pairs = plots.pair(results, name, path, variable, within * 1000.0, units)
    if pairs.left_out:
        listed = ", ".join(pairs.left_out)
        click.echo(f"{len(pairs.left_out)} sites are farther than {within:g} km from a cell: {listed}", err=True)
    return pairs


def _save(plots: ModuleType, figure: Figure, file: Path, kind: str, fields: tuple[str, ...], out: Path | None) -> None:
    path = out or file.with_name(f"{file.stem}_{kind}_{'_'.join(fields)}.png")
    save: Callable[[Figure, Path], None] = plots.save
    save(figure, path)
    click.echo(path)
