# SPDX-License-Identifier: Apache-2.0
"""Maps of leaf area: what the model has by itself, what the emulator says on its own grid, and what the model gets."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import netCDF4
import numpy as np

from coupler_plugin.regrid import Grid, gaussian, latlon

REGION = (-84.0, -56.0, -32.0, 14.0)
LIMITS = (0.0, 6.0)


def draw(results: Path, out: Path) -> Path:
    """Draw the maps and return their file."""
    own, values = on_half_degrees(results)
    host = gaussian(48)
    with netCDF4.Dataset(out / "alone.nc") as alone, netCDF4.Dataset(results / "land_model.nc") as coupled:
        land = np.asarray(coupled["id"][:])
        before, after = (np.asarray(model["lai"][:]) for model in (alone, coupled))
    figure, panels = plt.subplots(1, 3, figsize=(11.0, 5.2), layout="constrained")
    panels[0].set_title("the model's own, T31\n(without the emulator)")
    panels[1].set_title("the emulator's answer,\n0.5 degrees")
    panels[2].set_title("what the model gets, T31\n(with the emulator)")
    for axes, grid, cells, shown in (
        (panels[0], host, land, before),
        (panels[1], own, own.ids, values),
        (panels[2], host, land, after),
    ):
        filled = np.full(grid.n, np.nan)
        filled[np.searchsorted(grid.ids, cells)] = shown
        mesh = show(axes, grid, filled)
        show_land(axes, host, land)
    figure.colorbar(mesh, ax=panels, label="leaf area index [m² m⁻²]", shrink=0.7, extend="max")
    path = out / "leaf_area.png"
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path


def on_half_degrees(results: Path) -> tuple[Grid, np.ndarray]:
    """Return the emulator's grid, and its last answers from the restart."""
    grid = latlon(0.5, REGION)
    values = np.full(grid.n, np.nan)
    (path,) = results.glob("coupler.r.*.nc")
    with netCDF4.Dataset(path) as restart:
        values[np.asarray(restart["id_leaf_area_index"][:]) - 1] = restart["leaf_area_index.outputs"][:, 0]
    return grid, values


def show(axes: plt.Axes, grid: Grid, values: np.ndarray) -> matplotlib.collections.QuadMesh:
    """Draw the cells of a grid of rows and columns."""
    assert grid.lon_edges is not None
    assert grid.lat_edges is not None
    shown = values.reshape(grid.shape)
    lon = grid.lon_edges
    if lon[-1] > 180.0:  # bring the Atlantic into the middle of the array
        half = grid.shape[1] // 2
        shown, lon = np.roll(shown, half, axis=1), lon - 180.0
    mesh = axes.pcolormesh(lon, grid.lat_edges, shown, cmap="YlGn", vmin=LIMITS[0], vmax=LIMITS[1], rasterized=True)
    axes.set(xlim=REGION[::2], ylim=REGION[1::2], aspect="equal", xticks=[], yticks=[])
    return mesh


def show_land(axes: plt.Axes, grid: Grid, land: np.ndarray) -> None:
    """Draw the edge of the model's land."""
    assert grid.lon_edges is not None
    assert grid.lat_edges is not None
    is_land = np.isin(grid.ids, land).reshape(grid.shape)
    is_land = np.roll(is_land, grid.shape[1] // 2, axis=1)
    lon = np.repeat(grid.lon_edges - 180.0, 2)[1:-1]
    lat = np.repeat(grid.lat_edges, 2)[1:-1]
    fine = np.repeat(np.repeat(is_land, 2, axis=0), 2, axis=1)
    axes.contour(lon, lat, fine, levels=[0.5], colors="#39424a", linewidths=0.6)
