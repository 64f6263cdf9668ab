# SPDX-License-Identifier: Apache-2.0
"""Maps of annual means on the cells of the Gaussian grid, in the Equal Earth projection."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from results import Result, Values

N_LON, N_LAT = 96, 48
G_PER_KG = 1000.0
SECONDS_PER_YEAR = 360 * 86400

SEA, ICE, COAST, FRAME = "#f2f6f9", "#d9e2e8", "#39424a", "#9aa5ab"


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
    """Draw the mean over the period of a field."""
    chosen = MAPS[name]
    axes.set_aspect("equal")
    axes.axis("off")
    axes.add_collection(PolyCollection([_outline()], facecolor=SEA, edgecolor=FRAME, linewidth=0.8, zorder=0))
    axes.add_collection(PolyCollection(_cells(result.land_lon, result.land_lat), facecolor=ICE, zorder=1))
    cells = PolyCollection(
        _cells(result.lon, result.lat),
        array=result.annual_mean(name) * chosen.factor,
        cmap=chosen.colours,
        norm=Normalize(*chosen.limits),
        edgecolor="face",
        linewidth=0.4,
        zorder=2,
    )
    axes.add_collection(cells)
    axes.add_collection(LineCollection(_coast(result.land_lon, result.land_lat), color=COAST, linewidth=0.6, zorder=3))
    axes.autoscale_view()
    axes.margins(0.01)
    axes.set_title(chosen.title)
    bar = axes.figure.colorbar(
        cells, ax=axes, orientation="horizontal", extend=chosen.extend, shrink=0.62, aspect=34, pad=0.03
    )
    bar.set_label(chosen.units)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)


def equal_earth(lon: Values, lat: Values) -> tuple[Values, Values]:
    """Return the coordinates of the Equal Earth projection (Savric et al. 2018, doi 10.1080/13658816.2018.1504949).

    Parameters
    ----------
    lon, lat : arrays
        [degrees]
    """
    a1, a2, a3, a4 = 1.340264, -0.081106, 0.000893, 0.003796
    theta = np.arcsin(np.sqrt(3.0) / 2.0 * np.sin(np.radians(lat)))
    slope = 9 * a4 * theta**8 + 7 * a3 * theta**6 + 3 * a2 * theta**2 + a1
    x = 2.0 * np.sqrt(3.0) * np.radians(lon) * np.cos(theta) / (3.0 * slope)
    y = theta * (a4 * theta**8 + a3 * theta**6 + a2 * theta**2 + a1)
    return x, y


def _latitude_edges() -> Values:
    """Return the edges of the rows from north to south: rows have the area of their quadrature weights."""
    weights = np.polynomial.legendre.leggauss(N_LAT)[1]
    sines = np.concatenate([[1.0], 1.0 - np.cumsum(weights)])
    return np.degrees(np.arcsin(np.clip(sines, -1.0, 1.0)))


def _rows_and_columns(lon: Values, lat: Values) -> tuple[Values, Values]:
    """Return row (from the north) and column (from 180 degrees west) of each cell."""
    edges = _latitude_edges()
    rows = np.searchsorted(-edges, -lat) - 1
    columns = np.round(((lon + 180.0) % 360.0) / (360.0 / N_LON)).astype(int) % N_LON
    return rows, columns


def _cells(lon: Values, lat: Values) -> list[Values]:
    """Return the corners of the cells on the map; a cell on the date line is cut at the rim of the map."""
    edges, width = _latitude_edges(), 360.0 / N_LON
    polygons = []
    for row, column in zip(*_rows_and_columns(lon, lat), strict=True):
        west, east = -180.0 + (column - 0.5) * width, -180.0 + (column + 0.5) * width
        parts = [(west, east)] if column else [(-180.0, east), (180.0 - width / 2, 180.0)]
        for left, right in parts:
            along = np.linspace(left, right, 3)
            x = np.concatenate([along, along[::-1]])
            y = np.concatenate([np.full(3, edges[row]), np.full(3, edges[row + 1])])
            polygons.append(np.stack(equal_earth(x, y), axis=1))
    return polygons


def _coast(lon: Values, lat: Values) -> list[Values]:
    """Return the edges between land and sea."""
    edges, width = _latitude_edges(), 360.0 / N_LON
    land = np.zeros((N_LAT + 2, N_LON), dtype=bool)  # a row of sea beyond each pole
    rows, columns = _rows_and_columns(lon, lat)
    land[rows + 1, columns] = True
    land[-1] = land[-2]
    lines = []
    for row in range(N_LAT):
        for column in range(N_LON):
            here = land[row + 1, column]
            if here != land[row + 1, column - 1]:
                x = -180.0 + (column - 0.5) * width
                lines.append((np.full(2, x), edges[row : row + 2]))
            if here != land[row + 2, column]:
                x = -180.0 + (column - 0.5) * width
                lines.append((np.array([max(x, -180.0), x + width]), np.full(2, edges[row + 1])))
    projected = []
    for x, y in lines:
        if x.min() >= -180.0:
            projected.append(np.stack(equal_earth(x, y), axis=1))
    return projected


def _outline() -> Values:
    """Return the rim of the map."""
    lat = np.linspace(-90.0, 90.0, 91)
    lon = np.concatenate([np.full(91, 180.0), np.full(91, -180.0)])
    return np.stack(equal_earth(lon, np.concatenate([lat, lat[::-1]])), axis=1)
