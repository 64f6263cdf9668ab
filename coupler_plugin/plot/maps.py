# SPDX-License-Identifier: Apache-2.0
"""Maps in the Equal Earth projection: cells of a grid as areas, other cells as points, and the line of the coasts.

Coasts are Natural Earth's where cartopy has them on this machine, else the edge between cells and no cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from coupler_plugin.plot.results import Values
from coupler_plugin.plot.series import readable
from coupler_plugin.plot.style import AMOUNT, DIFFERENCE

SEA, OTHER_LAND, COAST, FRAME = "#f2f6f9", "#d9e2e8", "#39424a", "#9aa5ab"
#: places of a grid for each cell, above which cells are points and no grid
_SPARSE: Final = 64


@dataclass(frozen=True)
class Grid:
    """A grid of latitudes by longitudes, by the edges of its rows and columns [degrees]."""

    lat: Values
    lon: Values

    @property
    def is_round(self) -> bool:
        """Whether the last column is the neighbour of the first."""
        return bool(np.isclose(self.lon[-1] - self.lon[0], 360.0))

    def place(self, lon: Values, lat: Values) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return row and column of each centre."""
        rows = np.clip(np.searchsorted(self.lat, lat) - 1, 0, self.lat.size - 2)
        columns = np.searchsorted(self.lon, self.lon[0] + (lon - self.lon[0]) % 360.0) - 1
        return rows, np.clip(columns, 0, self.lon.size - 2)


def draw_map(
    axes: Axes, lon: Values, lat: Values, values: Values, title: str, units: str, *, is_difference: bool = False,
    limits: tuple[float, float] | None = None, colours: Colormap | None = None, extend: str | None = None,
    land: tuple[Values, Values] | None = None,
) -> None:  # fmt: skip
    """Draw a map of values on cells.

    Parameters
    ----------
    axes : Axes
    lon, lat, values : arrays, shape (cells,)
        Centres [degrees], and what is shown there; NaN is left open.
    title, units : str
    is_difference : bool
        Whether nothing is in the middle of the colours; so it is for values of both signs too.
    limits : tuple of float, optional
        Ends of the colours; default: the 1st and 99th percentile.
    colours, extend : optional
        Of the bar, as matplotlib has them.
    land : tuple of arrays, optional
        Longitudes and latitudes of all land, where the cells are a part of it.
    """
    axes.set_aspect("equal")
    axes.axis("off")
    grid = find_grid(*(land or (lon, lat)))
    is_whole = np.ptp(lat) > 60 or np.ptp(lon) > 120
    if is_whole:
        axes.add_collection(PolyCollection([_outline()], facecolor=SEA, edgecolor=FRAME, linewidth=0.8, zorder=0))
    is_signed = is_difference or _has_both_signs(values)
    low, high = limits or _limits(values, is_signed)
    look: dict[str, Any] = {
        "array": values, "cmap": colours or (DIFFERENCE if is_signed else AMOUNT), "norm": Normalize(low, high),
        "zorder": 2,
    }  # fmt: skip
    if grid is None:
        x, y = equal_earth(lon, lat)
        look["c"] = look.pop("array")
        shown: Any = axes.scatter(x, y, s=28, edgecolor="white", linewidth=0.4, **look)
    else:
        if land is not None:
            axes.add_collection(PolyCollection(_polygons(grid, *land)[0], facecolor=OTHER_LAND, zorder=1))
        polygons, cells = _polygons(grid, lon, lat)
        look["array"] = values[cells]
        shown = axes.add_collection(PolyCollection(polygons, edgecolor="face", linewidth=0.4, **look))
    coasts = _natural_earth() or ([] if grid is None else _edges_of_land(grid, *(land or (lon, lat))))
    axes.add_collection(LineCollection(coasts, color=COAST, linewidth=0.6, zorder=3))
    axes.autoscale_view()
    if not is_whole:
        _frame(axes, lon, lat)
    axes.margins(0.01)
    axes.set_title(title)
    beyond = extend or _beyond(values, low, high)
    bar = axes.figure.colorbar(
        shown, ax=axes, orientation="horizontal", extend=beyond, shrink=0.62, aspect=34, pad=0.03,
        ticks=MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]),
    )  # fmt: skip
    bar.set_label(readable(units))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)


def equal_earth(lon: Values, lat: Values) -> tuple[Values, Values]:
    """Return the coordinates of the Equal Earth projection (Savric et al. 2018, doi 10.1080/13658816.2018.1504949).

    Parameters
    ----------
    lon, lat : arrays
        [degrees]; longitudes from -180 to 180.
    """
    a1, a2, a3, a4 = 1.340264, -0.081106, 0.000893, 0.003796
    theta = np.arcsin(np.sqrt(3.0) / 2.0 * np.sin(np.radians(lat)))
    slope = 9 * a4 * theta**8 + 7 * a3 * theta**6 + 3 * a2 * theta**2 + a1
    x = 2.0 * np.sqrt(3.0) * np.radians(_wrapped(lon)) * np.cos(theta) / (3.0 * slope)
    y = theta * (a4 * theta**8 + a3 * theta**6 + a2 * theta**2 + a1)
    return x, y


def find_grid(lon: Values, lat: Values) -> Grid | None:
    """Return the grid on which cells lie, or None where they are scattered."""
    rows, columns = np.unique(np.round(lat, 4)), np.unique(np.round(_wrapped(lon), 4))
    if min(rows.size, columns.size) < 2 or rows.size * columns.size > _SPARSE * lon.size:
        return None
    # A row or column without a cell lacks: the narrowest step is that of the grid.
    step = float(np.min(np.diff(columns)))
    first = columns[0] - step / 2
    if np.isclose(360.0 / step, round(360.0 / step), atol=1e-3):
        n = round(360.0 / step) if columns[-1] - columns[0] > 180 else round((columns[-1] - columns[0]) / step) + 1
    else:
        n = round((columns[-1] - columns[0]) / step) + 1
    return Grid(_edges(rows), first + step * np.arange(n + 1))


def _wrapped(lon: Values) -> Values:
    """Return longitudes from -180 to 180; an edge at 180 stays there."""
    return np.asarray(np.where(np.abs(lon) <= 180.0, lon, (lon + 180.0) % 360.0 - 180.0))


def _edges(centres: Values) -> Values:
    middle = (centres[1:] + centres[:-1]) / 2
    wide = float(np.median(np.diff(centres)))
    gaps = np.flatnonzero(np.diff(centres) > 1.5 * wide)  # rows between which others have no cell
    below, above = centres[gaps] + wide / 2, centres[gaps + 1] - wide / 2
    edges = np.concatenate([[centres[0] - wide / 2], np.delete(middle, gaps), below, above, [centres[-1] + wide / 2]])
    edges = np.clip(np.sort(edges), -90.0, 90.0)
    # The rows of a Gaussian grid reach the poles, though half a step beyond the last centre does not.
    edges[[0, -1]] = [edge if 90.0 - abs(edge) > wide / 2 else np.copysign(90.0, edge) for edge in edges[[0, -1]]]
    return np.asarray(edges)


def _polygons(grid: Grid, lon: Values, lat: Values) -> tuple[list[Values], NDArray[np.intp]]:
    """Return the corners of cells on the map and the cell of each; one on the date line is cut at the map's rim."""
    polygons, cells = [], []
    for cell, (row, column) in enumerate(zip(*grid.place(_wrapped(lon), lat), strict=True)):
        west, east = grid.lon[column], grid.lon[column + 1]
        parts = [(west, east)]
        if west < -180.0:
            parts = [(-180.0, east), (west + 360.0, 180.0)]
        elif east > 180.0:
            parts = [(west, 180.0), (-180.0, east - 360.0)]
        for left, right in parts:
            along = np.linspace(left, right, 3)
            x = np.concatenate([along, along[::-1]])
            y = np.repeat([grid.lat[row], grid.lat[row + 1]], 3)
            polygons.append(np.stack(equal_earth(x, y), axis=1))
            cells.append(cell)
    return polygons, np.array(cells, np.intp)


def _edges_of_land(grid: Grid, lon: Values, lat: Values) -> list[Values]:
    """Return the edges between cells and places without one."""
    rows, columns = grid.place(_wrapped(lon), lat)
    n_rows, n_columns = grid.lat.size - 1, grid.lon.size - 1
    land = np.zeros((n_rows + 2, n_columns + 2), bool)  # a frame of no land
    land[rows + 1, columns + 1] = True
    if grid.is_round:
        land[:, 0], land[:, -1] = land[:, -2].copy(), land[:, 1].copy()
    for edge, inner in ((0, 1), (-1, -2)):  # at a pole, land ends in no coast
        if np.isclose(abs(grid.lat[edge]), 90.0):
            land[edge] = land[inner]
    lines = []
    for row, column in zip(*np.nonzero(land[1:-1, 1:] != land[1:-1, :-1]), strict=True):
        lines.append((np.full(2, grid.lon[column]), grid.lat[row : row + 2]))
    for row, column in zip(*np.nonzero(land[1:, 1:-1] != land[:-1, 1:-1]), strict=True):
        lines.append((grid.lon[column : column + 2], np.full(2, grid.lat[row])))
    inside = [(np.clip(x, -180.0, 180.0), y) for x, y in lines if -180.0 <= x.mean() <= 180.0]
    return [np.stack(equal_earth(x, y), axis=1) for x, y in inside]


def _natural_earth() -> list[Values]:
    """Return Natural Earth's coasts on the map, where cartopy is installed and has them; it fetches none."""
    try:
        import cartopy
        from cartopy.io import shapereader
    except ImportError:
        return []
    name = Path("shapefiles") / "natural_earth" / "physical" / "ne_110m_coastline.shp"
    folders = [Path(str(cartopy.config[key])) for key in ("data_dir", "pre_existing_data_dir") if cartopy.config[key]]
    found = next((folder / name for folder in folders if (folder / name).exists()), None)
    if found is None:
        return []
    lines = [np.asarray(line.coords) for line in shapereader.Reader(str(found)).geometries()]
    return [np.stack(equal_earth(line[:, 0], line[:, 1]), axis=1) for line in lines]


def _outline() -> Values:
    """Return the rim of the map."""
    lat = np.linspace(-90.0, 90.0, 91)
    lon = np.concatenate([np.full(91, 180.0), np.full(91, -180.0)])
    return np.stack(equal_earth(lon, np.concatenate([lat, lat[::-1]])), axis=1)


def _frame(axes: Axes, lon: Values, lat: Values) -> None:
    """Show the surroundings of a region."""
    x, y = equal_earth(lon, lat)
    margin = 0.08 * max(float(np.ptp(x)), float(np.ptp(y)), 0.02)
    axes.set_xlim(x.min() - margin, x.max() + margin)
    axes.set_ylim(y.min() - margin, y.max() + margin)


def _has_both_signs(values: Values) -> bool:
    """Return whether values lie on both sides of nothing, and not only in their farthest ends."""
    known = values[np.isfinite(values)]
    low, high = (float(np.percentile(known, share)) for share in (2, 98)) if known.size else (0.0, 0.0)
    return low < 0 < high and min(-low, high) > 0.1 * max(-low, high)


def _limits(values: Values, is_difference: bool) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    if is_difference:
        largest = float(np.percentile(np.abs(known), 99)) or 1.0
        return -largest, largest
    low, high = (float(np.percentile(known, share)) for share in (1, 99))
    return (min(low, 0.0) if low < 0.25 * high else low), high if high > low else low + 1.0


def _beyond(values: Values, low: float, high: float) -> str:
    """Return at which ends of the colours values lie beyond."""
    known = values[np.isfinite(values)]
    below, above = bool((known < low).any()), bool((known > high).any())
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")
