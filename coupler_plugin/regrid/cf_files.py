# SPDX-License-Identifier: Apache-2.0
"""Reader of CF coordinates: one-dimensional latitudes and longitudes, two-dimensional ones, or a list of cells.

Source: CF conventions 1.11, chapters 4, 5 and 7.1 (cell boundaries).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.regrid._netcdf import degrees, variable
from coupler_plugin.regrid.geometry import Values
from coupler_plugin.regrid.grids import Grid
from coupler_plugin.regrid.makers import curvilinear, rectilinear


def read_cf(path: str, dataset: Any, lon: str | None, lat: str | None, *, infer: bool) -> Grid:
    """Return the grid of CF coordinates.

    Parameters
    ----------
    path : str
    dataset : netCDF4.Dataset
    lon, lat : str or None
        Names of the coordinates; None looks for them.
    infer : bool
        Put missing bounds of one-dimensional coordinates half-way between the centres.
    """
    lon = lon or _find(path, dataset, "longitude", "east", "lon")
    lat = lat or _find(path, dataset, "latitude", "north", "lat")
    centres_lon, centres_lat = degrees(path, dataset, lon), degrees(path, dataset, lat)
    bounds_lon, bounds_lat = _bounds(path, dataset, lon), _bounds(path, dataset, lat)
    if (bounds_lon is None) != (bounds_lat is None):
        raise CouplerError(
            Status.CELLS, f"grid '{path}' has bounds for one of '{lon}' and '{lat}' only; give both or none."
        )
    same = dataset.variables[lon].dimensions == dataset.variables[lat].dimensions
    if centres_lon.ndim == 2 and same:
        return curvilinear(path, centres_lon, centres_lat, bounds_lon, bounds_lat)
    if centres_lon.ndim == 1 and same:
        return Grid(path, centres_lon, centres_lat, centres_lon.shape, bounds_lon, bounds_lat)
    if centres_lon.ndim != 1 or centres_lat.ndim != 1:
        raise CouplerError(
            Status.CELLS,
            f"grid '{path}' has '{lon}' of the shape {centres_lon.shape} and '{lat}' of {centres_lat.shape}, which "
            "is no layout of CF.",
        )
    if bounds_lon is not None and bounds_lat is not None:
        return rectilinear(
            path, edges_of(path, lon, bounds_lon), edges_of(path, lat, bounds_lat), centres_lon, centres_lat
        )
    if infer:
        edges = edges_between(path, centres_lon, centres_lat)
        return rectilinear(path, *edges, centres_lon, centres_lat)
    return _points(path, centres_lon, centres_lat)


def _find(path: str, dataset: Any, standard_name: str, direction: str, short: str) -> str:
    """Return the name of the one variable that is a coordinate of centres."""
    units = {
        f"degree_{direction}",
        f"degrees_{direction}",
        f"degree{direction[0].upper()}",
        f"degrees{direction[0].upper()}",
    }
    bounds = {getattr(found, "bounds", "") for found in dataset.variables.values()}
    exact, likely = [], []
    for name, found in dataset.variables.items():
        if name in bounds or not found.dimensions:
            continue
        if getattr(found, "standard_name", "") == standard_name or getattr(found, "units", "") in units:
            exact.append(name)
        elif name.lower() in (short, standard_name):
            likely.append(name)
    candidates = exact or likely
    if len(candidates) > 1:
        # A rotated grid has both; the true coordinates are the two-dimensional ones.
        flat = [name for name in candidates if dataset.variables[name].ndim == 2]
        candidates = flat if len(flat) == 1 else candidates
    if len(candidates) != 1:
        raise CouplerError(
            Status.IO,
            f"grid file '{path}' has {'no' if not candidates else 'several'} variables of {standard_name}"
            f"{' (' + ', '.join(candidates) + ')' if candidates else ''}; name one with '{short}'. Known layouts: CF, "
            "SCRIP, ESMF mesh, UGRID.",
        )
    return str(candidates[0])


def _bounds(path: str, dataset: Any, name: str) -> Values | None:
    """Return the bounds of a coordinate in degrees; by CF they have its units when they name none."""
    bounds = getattr(dataset.variables[name], "bounds", None)
    if bounds is None:
        return None
    found = variable(path, dataset, bounds)
    if hasattr(found, "units"):
        return degrees(path, dataset, bounds)
    values = np.asarray(found[...], np.float64)
    return np.rad2deg(values) if str(dataset.variables[name].units).lower().startswith("rad") else values


def edges_of(path: str, name: str, bounds: Values) -> Values:
    """Return the n + 1 edges of n cells in a row from their bounds, shape (n, 2); refuse holes and overlaps."""
    rising = bounds.shape[0] < 2 or bounds[1, 0] + bounds[1, 1] > bounds[0, 0] + bounds[0, 1]
    bounds = np.sort(bounds, axis=1)[:, :: 1 if rising else -1]
    gaps = (bounds[1:, 0] - bounds[:-1, 1]) * (1.0 if rising else -1.0)
    widths = np.abs(np.diff(bounds, axis=1))[:, 0]
    wrong = np.flatnonzero(np.abs(gaps) > 1e-4 * widths[1:])
    if wrong.size:
        first = wrong[0]
        kind = "a hole" if gaps[first] > 0.0 else "cells that overlap"
        raise CouplerError(
            Status.CELLS,
            f"grid '{path}' has {kind} in '{name}': the bounds of cells {first + 1} and {first + 2} are "
            f"{bounds[first].tolist()} and {bounds[first + 1].tolist()}.",
        )
    return np.append(bounds[:, 0], bounds[-1, 1])


def edges_between(path: str, lon: Values, lat: Values) -> tuple[Values, Values]:
    """Return edges half-way between centres; the outermost cells are as wide as their neighbours, within the poles."""
    if min(lon.size, lat.size) < 2:
        raise CouplerError(Status.CELLS, f"grid '{path}' has one row or one column: give the bounds of its cells.")
    edges = []
    for centres in (lon, lat):
        middle = 0.5 * (centres[1:] + centres[:-1])
        edges.append(np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]]))
    return edges[0], np.clip(edges[1], -90.0, 90.0)


def _points(path: str, lon: Values, lat: Values) -> Grid:
    """Return a structured grid without corners."""
    columns, rows = np.meshgrid(lon, lat)
    return curvilinear(path, columns, rows)
