# SPDX-License-Identifier: Apache-2.0
"""Pictures of the towers: mean years, all days against observations, and a Taylor diagram."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from scores import FIELDS, baseline

from coupler_plugin import plot
from coupler_plugin.plot.style import BASELINE, EMULATED, OBSERVED

UNITS = "g m-2 d-1"


def draw_simulated(history: Path, weather: Path, path: Path) -> None:
    """Draw the fluxes of a year in simulated weather at each tower."""
    results = plot.read(history)
    with xr.open_dataset(weather, decode_times=False) as file:
        sites = file.site.values
    with plt.rc_context(plot.STYLE):
        figure, panels = plt.subplots(3, 1, figsize=(8.0, 7.2), constrained_layout=True)
        for axes, name in zip(panels, FIELDS, strict=True):
            field = results.field(name, UNITS)
            lines = {str(site): field.values[:, cell] for cell, site in enumerate(sites)}
            plot.draw_series(axes, results.years(), lines, field, f"{field.label}, simulated weather")
        plot.save(figure, path)


def draw_observed(history: Path, towers: Path, folder: Path) -> None:
    """Draw observed and emulated fluxes: `seasons.png`, `scatter.png`, `taylor.png`."""
    results = plot.read(history)
    months = np.array([date.month for date in results.dates])
    pairs = {name: plot.pair(results, name, towers, within=1e3, units=UNITS) for name in FIELDS}
    sites = pairs["gpp"].names
    with plt.rc_context(plot.STYLE):
        figure, panels = plt.subplots(3, len(sites), figsize=(3.1 * len(sites), 7.4), constrained_layout=True)
        for row, (name, pair) in zip(panels, pairs.items(), strict=True):
            cycle = baseline(towers, name, months, pair.lat)
            for place, axes in enumerate(row):
                known = np.isfinite(pair.observed.values[:, place])
                lines = {
                    "mean cycle of the training towers": (cycle[:, place], BASELINE),
                    "observed": (pair.observed.values[:, place], OBSERVED),
                    "emulated": (np.where(known, pair.emulated.values[:, place], np.nan), EMULATED),
                }
                title = f"{sites[place]}: {name.upper()}"
                plot.draw_seasons(axes, months, lines, UNITS if place == 0 else "", title)
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
        plot.save(figure, folder / "seasons.png")

        figure, panels = plt.subplots(1, 3, figsize=(12.6, 4.3), constrained_layout=True)
        for axes, (name, pair) in zip(panels, pairs.items(), strict=True):
            plot.draw_scatter(axes, pair.observed, pair.emulated, f"{name.upper()}, all days")
        plot.save(figure, folder / "scatter.png")

        figure, axes = plt.subplots(figsize=(6.4, 4.4), constrained_layout=True)
        points = {
            f"{site} {name.upper()}": plot.score(pair.observed.values[:, place], pair.emulated.values[:, place])
            for name, pair in pairs.items()
            for place, site in enumerate(sites)
        }
        plot.draw_taylor(axes, points, "Daily fluxes at unseen towers")
        plot.save(figure, folder / "taylor.png")
