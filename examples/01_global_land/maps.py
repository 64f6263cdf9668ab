# SPDX-License-Identifier: Apache-2.0
"""Which fields of the example are shown as maps, in which units and colours."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.colors import Colormap, LinearSegmentedColormap
from results import Result

from coupler_plugin import plot

G_PER_KG = 1000.0
SECONDS_PER_YEAR = 360 * 86400


def _colours(*stops: str) -> Colormap:
    return LinearSegmentedColormap.from_list("stops", stops)


LEAVES = _colours("#f6f1dd", "#e3e7ae", "#b5d47c", "#74b552", "#35893f", "#12603a", "#073b2c")
GROWTH = _colours("#f8f3e3", "#eedd9a", "#cfc44b", "#8fae2f", "#4a9139", "#157049", "#0b4a4f", "#122a4a")
EXCHANGE = _colours("#0b4d43", "#2f8577", "#82c0b2", "#d2e8e2", "#f7f7f5", "#f2e1c4", "#dcae6c", "#a96a24", "#5f3608")
WATER = _colours("#f7f2e4", "#dbe6c4", "#9fd0be", "#55aebf", "#2a7fb4", "#2a4f97", "#2a1f5f")


@dataclass(frozen=True)
class Map:
    """How a field is shown: `factor` takes it from its canonical units to `units`."""

    title: str
    units: str
    factor: float
    limits: tuple[float, float]
    colours: Colormap
    extend: str = "max"


MAPS = {
    "lai": Map("Leaf area index", "m² m⁻²", 1.0, (0.0, 6.0), LEAVES),
    "gpp": Map("Gross primary production", "gC m⁻² yr⁻¹", G_PER_KG * SECONDS_PER_YEAR, (0.0, 3000.0), GROWTH),
    "nee": Map(
        "Net ecosystem exchange, upward", "gC m⁻² yr⁻¹", G_PER_KG * SECONDS_PER_YEAR, (-600.0, 600.0), EXCHANGE, "both"
    ),
    "evspsbl": Map("Evapotranspiration", "kg m⁻² yr⁻¹", SECONDS_PER_YEAR, (0.0, 1400.0), WATER),
}


def draw_map(axes: plt.Axes, result: Result, name: str) -> None:
    """Draw the mean over the period of a field; land under ice is shown without a value."""
    chosen = MAPS[name]
    values = result.annual_mean(name) * chosen.factor
    plot.draw_map(
        axes, result.lon, result.lat, values, chosen.title, chosen.units, limits=chosen.limits,
        colours=chosen.colours, extend=chosen.extend, land=(result.land_lon, result.land_lat),
    )  # fmt: skip
