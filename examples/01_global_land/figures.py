# SPDX-License-Identifier: Apache-2.0
"""Maps, time series, and one picture of both."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import time_series
from maps import MAPS, draw_map
from results import Result

from coupler_plugin import plot


def draw(result: Result, folder: Path) -> None:
    """Write all figures as PNG to `folder`."""
    with plt.rc_context(plot.STYLE):
        for name in MAPS:
            figure, axes = plt.subplots(figsize=(8.0, 4.6))
            draw_map(axes, result, name)
            plot.save(figure, folder / f"map_{name}.png")
        for name, panel in (("global", time_series.draw_global), ("bands", time_series.draw_bands)):
            figure = panel(result)
            plot.save(figure, folder / f"time_series_{name}.png")
        plot.save(_overview(result), folder / "overview.png")


def _overview(result: Result) -> plt.Figure:
    """Return four maps above two time series."""
    figure = plt.figure(figsize=(12.0, 9.9), constrained_layout=True)
    grid = figure.add_gridspec(3, 2, height_ratios=(1.0, 1.0, 0.75))
    figure.get_layout_engine().set(h_pad=0.08, w_pad=0.12, hspace=0.0, wspace=0.0)
    for place, name in enumerate(MAPS):
        draw_map(figure.add_subplot(grid[place // 2, place % 2]), result, name)
    time_series.draw_carbon(figure.add_subplot(grid[2, 0]), result)
    time_series.draw_lai_by_band(figure.add_subplot(grid[2, 1]), result)
    return figure
