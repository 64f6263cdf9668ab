# SPDX-License-Identifier: Apache-2.0
"""Pictures of an ensemble: where its members agree, where they do not, and how that goes over time."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from coupler_plugin.errors import CouplerError, Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from coupler_plugin.plot import Results


def check_drawable() -> None:
    """Check before the run that figures can be drawn after it.

    Raises
    ------
    CouplerError
        CONFIG, when matplotlib is missing.
    """
    if find_spec("matplotlib") is None:
        raise CouplerError(
            Status.CONFIG, "figures need matplotlib: pip install 'coupler_plugin[plot]', or leave them out."
        )


def draw(path: Path, folder: Path, units: Mapping[str, str]) -> list[Path]:
    """Draw a picture of each field of a file of statistics and return where they are.

    Parameters
    ----------
    path : Path
    folder : Path
    units : mapping of field to units
        Default: the file's.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from coupler_plugin import plot

    results = plot.read(path)
    written = []
    names = [
        name.removesuffix("_mean") for name in results.names if f"{name.removesuffix('_mean')}_std" in results.file
    ]
    with mpl.rc_context(plot.STYLE):
        for name in names:
            has_ranks = f"{name}_rank_histogram" in results.file
            figure = plt.figure(figsize=(11.0, 6.4), layout="constrained")
            grid = figure.add_gridspec(2, 12, height_ratios=(1.5, 1.0))
            shown = units.get(name)
            _draw_maps(figure.add_subplot(grid[0, :6]), figure.add_subplot(grid[0, 6:]), results, name, shown)
            _draw_band(figure.add_subplot(grid[1, : 8 if has_ranks else 12]), results, name, shown)
            if has_ranks:
                _draw_ranks(figure.add_subplot(grid[1, 8:]), results, name)
            written.append(folder / f"ensemble_{name}.png")
            plot.save(figure, written[-1])
    results.file.close()
    return written


def _draw_maps(mean: Axes, spread: Axes, results: Results, name: str, units: str | None) -> None:
    from coupler_plugin import plot

    field = results.field(f"{name}_mean", units)
    scale = _scale(results, name, units)
    label = field.label.removeprefix("mean over members of ")
    values = field.values.mean(axis=0)
    has_signs = bool(np.nanmin(values) < 0.0 < np.nanmax(values)) and "degC" not in field.units
    title = f"Mean: {label}"
    plot.draw_map(mean, results.lon, results.lat, values, title, field.units, is_difference=has_signs)
    values = results.field(f"{name}_std").values.mean(axis=0) * scale
    most = float(np.nanpercentile(values, 99)) or 1.0
    title = "Standard deviation of the members"
    plot.draw_map(spread, results.lon, results.lat, values, title, field.units, limits=(0.0, most), extend="max")


def _draw_band(axes: Axes, results: Results, name: str, units: str | None) -> None:
    """Draw mean and outer quantiles over time, each a mean over cells."""
    from coupler_plugin import plot

    field = results.field(f"{name}_mean", units)
    shares = results.file["quantile"].values if "quantile" in results.file else np.empty(0)
    if shares.size > 1:
        cubes = results.file[f"{name}_quantile"].transpose("time", "quantile", "cell").values
        first = results.field(f"{name}_mean")
        low, high = (
            results.mean(type(first)(name, "", first.units, np.asarray(cubes[:, place], np.float64)).to(units).values)
            for place in (0, -1)
        )
        axes.fill_between(results.years(), low, high, color="#a8d08d", alpha=0.6, linewidth=0)
    band = f", and their quantiles {shares[0]:g} to {shares[-1]:g}" if shares.size > 1 else ""
    title = f"Mean of the members{band}; mean over the cells"
    plot.draw_series(axes, results.years(), {"mean": results.mean(field.values)}, field, title)


def _draw_ranks(axes: Axes, results: Results, name: str) -> None:
    """Draw how often the observation had each place among the members; flat where they are equally likely."""
    counts = results.file[f"{name}_rank_histogram"].values.sum(axis=0)
    axes.bar(np.arange(counts.size), counts / max(1, counts.sum()), color="#5aa469", width=0.9)
    axes.axhline(1.0 / counts.size, color="0.3", linewidth=1.0, linestyle="--")
    axes.set_title("Place of the observation")
    axes.set_xlabel("members below it")
    axes.set_ylabel("share")


def _scale(results: Results, name: str, units: str | None) -> float:
    """Return the factor of differences to other units."""
    field = results.field(f"{name}_mean")
    ends = type(field)(name, "", field.units, np.array([[0.0, 1.0]])).to(units).values[0]
    return float(ends[1] - ends[0])
