# SPDX-License-Identifier: Apache-2.0
"""Pictures of two things that should be alike: emulated and observed, or two runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from matplotlib.axes import Axes

from coupler_plugin.plot.maps import draw_map
from coupler_plugin.plot.results import Field, Results
from coupler_plugin.plot.scores import Score, score
from coupler_plugin.plot.series import finish, label_times, readable
from coupler_plugin.plot.style import COLOURS, EMULATED

#: of points, once the colours are used up
_MARKERS: Final = "osD^v"


def draw_scatter(axes: Axes, observed: Field, emulated: Field, title: str = "") -> None:
    """Draw emulated over observed values, all times and sites, with the line on which they are equal."""
    found = score(observed.values, emulated.values)
    both = np.isfinite(observed.values) & np.isfinite(emulated.values)
    x, y = observed.values[both], emulated.values[both]
    low, high = (float(np.percentile(np.concatenate([x, y]), share)) for share in (0.1, 99.9))
    many = x.size > 2000
    if many:
        whole = (low, high, low, high)
        axes.hexbin(x, y, gridsize=60, extent=whole, cmap="Greens", bins="log", mincnt=1, linewidths=0.1)
    else:
        axes.plot(x, y, ".", color=EMULATED, markersize=3, alpha=0.5)
    axes.plot([low, high], [low, high], color="0.4", linewidth=0.8)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    axes.set_xlabel(f"observed [{readable(observed.units)}]")
    axes.set_ylabel(f"emulated [{readable(observed.units)}]")
    axes.set_title(title or emulated.label)
    axes.text(
        0.04, 0.96, f"RMSE {found.rmse:.2f}\nR² {found.r2:.2f}\nbias {found.bias:+.2f}\nn {found.n:,}",
        transform=axes.transAxes, va="top", fontsize=8.5,
    )  # fmt: skip


def draw_taylor(axes: Axes, scores: Mapping[str, Score], title: str) -> None:
    """Draw a Taylor diagram (Taylor 2001, doi 10.1029/2000JD900719): spread, correlation and error in one.

    Parameters
    ----------
    axes : Axes
    scores : mapping of label to Score
    title : str
    """
    known = {label: one for label, one in scores.items() if np.isfinite(one.correlation)}
    reach = max(1.6, 1.15 * max((one.spread for one in known.values()), default=1.0))
    lowest = min([0.0, *(one.correlation for one in known.values())])
    widest = np.pi / 2 if lowest >= 0 else np.pi
    angle = np.linspace(0.0, widest, 181)
    for radius in np.arange(0.5, reach, 0.5):
        colour, width = ("0.45", 1.0) if radius == 1.0 else ("0.88", 0.8)
        axes.plot(radius * np.cos(angle), radius * np.sin(angle), color=colour, linewidth=width, zorder=1)
    axes.plot(reach * np.cos(angle), reach * np.sin(angle), color="0.4", linewidth=0.8)
    for correlation in (0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99):
        along, up = reach * correlation, reach * np.sqrt(1 - correlation**2)
        axes.plot([0, along], [0, up], color="0.9", linewidth=0.7, zorder=0)
        axes.text(1.02 * along, 1.02 * up, f"{correlation:g}", fontsize=8, color="0.35")
    for radius in (0.5, 1.0, 1.5):  # of equal error, around what was observed
        x, y = 1 + radius * np.cos(np.linspace(0, np.pi, 181)), radius * np.sin(np.linspace(0, np.pi, 181))
        inside = (np.hypot(x, y) <= reach) & (x >= reach * np.cos(widest))
        axes.plot(np.where(inside, x, np.nan), y, color="#c9a227", linewidth=0.7, linestyle=":", zorder=0)
    axes.plot([1.0], [0.0], "*", color="0.1", markersize=11, clip_on=False, label="observed")
    for number, (label, one) in enumerate(known.items()):
        along, up = one.spread * one.correlation, one.spread * np.sqrt(max(0.0, 1 - one.correlation**2))
        marker = _MARKERS[number // len(COLOURS) % len(_MARKERS)]
        axes.plot([along], [up], marker, color=COLOURS[number % len(COLOURS)], markersize=7, label=label)
    axes.text(0.72 * reach, 0.78 * reach, "correlation", rotation=-45, fontsize=8.5, color="0.35")
    axes.set_aspect("equal")
    axes.set_xlim(reach * np.cos(widest) * 1.02, reach * 1.02)
    axes.set_ylim(0, reach * 1.06)
    axes.set_xlabel("standard deviation / observed")
    axes.spines["left"].set_visible(widest <= np.pi / 2)
    axes.set_title(title)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8.5)


def draw_difference(axes: Axes, one: Results, other: Results, name: str, units: str | None = None) -> float:
    """Draw a map of how a field differs between two runs, second minus first, and return the largest difference."""
    first, second = one.field(name, units), other.field(name, units)
    difference = second.mean() - first.mean()
    title = f"{first.label}, second minus first run"
    draw_map(axes, one.lon, one.lat, difference, title, first.units, is_difference=True)
    return float(np.abs(difference[np.isfinite(difference)]).max(initial=0.0))


def draw_means(axes: Axes, runs: Mapping[str, Results], name: str, units: str | None = None) -> None:
    """Draw the mean over cells of a field in several runs, which may have other times."""
    for (label, run), colour in zip(runs.items(), COLOURS, strict=False):
        field = run.field(name, units)
        axes.plot(run.years(), run.mean(field.values), color=colour, linewidth=1.1, label=label)
    finish(axes, f"{field.label}, mean over cells", readable(field.units), len(runs))
    times = np.concatenate([run.years() for run in runs.values()])
    label_times(axes, float(times.min()), float(times.max()))
