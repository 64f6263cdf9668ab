# SPDX-License-Identifier: Apache-2.0
"""Daily means over the land and over bands of latitude."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from results import BANDS, KG_PER_PG, SECONDS_PER_YEAR, Result, Values

MONTHS = "JFMAMJJASOND"
PG_PER_YEAR = SECONDS_PER_YEAR / KG_PER_PG
COLOURS = {"gpp": "#2b8a3e", "reco": "#b5651d", "nee": "#343a40", "lai": "#2b8a3e", "evspsbl": "#1c6dab"}
BAND_COLOURS = ("#3b4a8c", "#3f8fb5", "#3aa675", "#c9a227", "#c0562f")
G_PER_DAY = 1000.0 * 86400.0
KG_PER_DAY = 86400.0


def draw_global(result: Result) -> plt.Figure:
    """Return carbon fluxes, leaf area and evapotranspiration of the whole land."""
    figure, panels = plt.subplots(3, 1, figsize=(8.0, 8.4), constrained_layout=True)
    draw_carbon(panels[0], result)
    panels[1].plot(_months(result), result.mean("lai"), color=COLOURS["lai"], linewidth=1.4)
    _finish(panels[1], "Leaf area index of the land", "m² m⁻²")
    panels[2].plot(_months(result), result.mean("evspsbl") * KG_PER_DAY, color=COLOURS["evspsbl"], linewidth=1.4)
    _finish(panels[2], "Evapotranspiration of the land", "kg m⁻² d⁻¹")
    return figure


def draw_bands(result: Result) -> plt.Figure:
    """Return leaf area, gross primary production and net exchange by band of latitude."""
    figure, panels = plt.subplots(3, 1, figsize=(8.0, 8.4), constrained_layout=True)
    draw_lai_by_band(panels[0], result)
    _by_band(panels[1], result, "gpp", G_PER_DAY, "Gross primary production", "gC m⁻² d⁻¹")
    _by_band(panels[2], result, "nee", G_PER_DAY, "Net ecosystem exchange, upward", "gC m⁻² d⁻¹")
    panels[2].axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
    return figure


def draw_carbon(axes: plt.Axes, result: Result) -> None:
    """Draw the carbon fluxes of the whole land."""
    names = {"gpp": "gross primary production", "reco": "respiration", "nee": "net exchange, upward"}
    for name, label in names.items():
        axes.plot(_months(result), result.total(name) * PG_PER_YEAR, color=COLOURS[name], linewidth=1.4, label=label)
    axes.axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
    _finish(axes, "Carbon fluxes of the land", "PgC yr⁻¹")
    _legend(axes, columns=3)


def draw_lai_by_band(axes: plt.Axes, result: Result) -> None:
    """Draw the leaf area by band of latitude."""
    _by_band(axes, result, "lai", 1.0, "Leaf area index by latitude", "m² m⁻²")
    axes.set_ylim(bottom=0.0)


def _by_band(axes: plt.Axes, result: Result, name: str, factor: float, title: str, units: str) -> None:
    for (south, north), colour in zip(BANDS, BAND_COLOURS, strict=True):
        inside = result.band(south, north)
        if inside.any():
            line = result.mean(name, inside) * factor
            axes.plot(_months(result), line, color=colour, linewidth=1.4, label=_band_name(south, north))
    _finish(axes, title, units)
    _legend(axes, columns=len(BANDS))


def _finish(axes: plt.Axes, title: str, units: str) -> None:
    axes.set_title(title)
    axes.set_ylabel(units)
    _month_axis(axes)


def _legend(axes: plt.Axes, columns: int) -> None:
    """Put the legend between title and panel, where no line can be hidden by it."""
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles, labels, loc="lower left", bbox_to_anchor=(-0.01, 0.98), ncols=columns, fontsize=8.5,
        handlelength=1.2, columnspacing=1.1, borderpad=0.2, handletextpad=0.5,
    )  # fmt: skip
    axes.set_title(axes.get_title(loc="left"), pad=22)


def _month_axis(axes: plt.Axes) -> None:
    axes.set_xlim(0.0, 12.0)
    axes.set_xticks(np.arange(12) + 0.5, MONTHS)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)


def _months(result: Result) -> Values:
    days = next(iter(result.fields.values())).shape[0]
    return (np.arange(days) + 0.5) / 30.0


def _band_name(south: int, north: int) -> str:
    if south >= 0:
        return f"{south}-{north}° N"
    return f"{-north}-{-south}° S"
