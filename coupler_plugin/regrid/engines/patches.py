# SPDX-License-Identifier: Apache-2.0
"""The patches between cell centres that bilinear interpolation works on, and which of them may hold a point.

A patch has three or four centres as corners. A structured grid has one between four neighbouring centres, and one
towards the pole for each column of a row that goes round it; a mesh has one around each corner that its cells share.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from coupler_plugin.regrid.geometry import Indices, Values, shared_corners, unit_vectors
from coupler_plugin.regrid.grids import Grid


@dataclass(frozen=True)
class Patches:
    """Patches and their corners.

    Attributes
    ----------
    points : float64 array, shape (points, 3)
        Unit vectors of the cell centres, then of the poles that patches reach.
    corners : int64 array, shape (patches, 4)
        Numbers of points in order around the patch; a triangle repeats one.
    poles : list of int64 arrays
        For each pole, the cells whose mean it takes: those of the outermost row.
    axes : (lon, lat), optional
        Rising longitudes and latitudes [degrees] of the corners of a grid whose rows are all alike; patch (band,
        column) then has the number band * (lon.size - 1) + column.
    """

    points: Values
    corners: Indices
    poles: list[Indices] = field(default_factory=list)
    axes: tuple[Values, Values] | None = None


def patches_of(grid: Grid) -> Patches:
    """Return the patches between the centres of a grid.

    Raises
    ------
    CouplerError
        CELLS, when the grid is a mesh without corners, of which nobody can tell neighbours.
    """
    if len(grid.shape) == 1:
        return _around_corners(grid)
    lon, lat = grid.lon.reshape(grid.shape), grid.lat.reshape(grid.shape)
    if np.all(lon == lon[0]) and np.all(lat == lat[:, :1]) and min(grid.shape) > 1:
        return _between_rows(grid, lon[0], lat[:, 0])
    cells = np.arange(grid.n).reshape(grid.shape)
    if grid.periodic:
        cells = np.concatenate([cells, cells[:, :1]], axis=1)
    return Patches(unit_vectors(grid.lon, grid.lat), _corners(cells))


def _corners(cells: Indices) -> Indices:
    """Return the four points, counter-clockwise, of the patches between the entries of a table of points."""
    return np.stack([cells[:-1, :-1], cells[:-1, 1:], cells[1:, 1:], cells[1:, :-1]], axis=-1).reshape(-1, 4)


def _between_rows(grid: Grid, lon: Values, lat: Values) -> Patches:
    """Return the patches of a grid of rows and columns, sorted by latitude and longitude, poles included."""
    columns = np.argsort(lon if lon[-1] > lon[0] else -lon, kind="stable")[:: 1 if lon[-1] > lon[0] else -1]
    rows = np.argsort(lat, kind="stable")
    cells = np.arange(grid.n).reshape(grid.shape)[rows][:, columns]
    lon, lat = lon[columns], lat[rows]
    if grid.periodic:
        cells, lon = np.concatenate([cells, cells[:, :1]], axis=1), np.append(lon, lon[0] + 360.0)
    points, poles = unit_vectors(grid.lon, grid.lat), []
    for end, pole in ((0, -90.0), (-1, 90.0)):
        step = abs(lat[1] - lat[0]) if end == 0 else abs(lat[-1] - lat[-2])
        if not grid.periodic or abs(pole - lat[end]) > step * (1.0 + 1e-6):
            continue
        row = np.full((1, lon.size), len(points))
        poles.append(cells[end, :-1])
        points = np.concatenate([points, unit_vectors(np.zeros(1), np.full(1, pole))])
        if abs(pole - lat[end]) < 1e-9:  # a row of centres on the pole becomes the pole
            cells, lat = (cells[1:], lat[1:]) if end == 0 else (cells[:-1], lat[:-1])
        if end == 0:
            cells, lat = np.concatenate([row, cells]), np.concatenate([[pole], lat])
        else:
            cells, lat = np.concatenate([cells, row]), np.append(lat, pole)
    return Patches(points, _corners(cells), poles, (lon, lat))


def _around_corners(grid: Grid) -> Patches:
    """Return the patches of a mesh: the centres of the cells that meet in a corner, in order around it.

    More than four cells give a fan of triangles from the cell with the lowest number.
    """
    lon, lat, connectivity = shared_corners(*grid.need_corners())
    centres, nodes = unit_vectors(grid.lon, grid.lat), unit_vectors(lon, lat)
    pairs = np.unique(connectivity * grid.n + np.arange(grid.n)[:, np.newaxis])
    node, cell = pairs // grid.n, pairs % grid.n
    order = np.lexsort((_angles(nodes[node], centres[cell]), node))
    node, cell = node[order], cell[order]
    starts = np.flatnonzero(np.diff(node, prepend=-1))
    counts = np.diff(starts, append=node.size)
    found = []
    for count in np.unique(counts[counts >= 3]):
        ring = cell[starts[counts == count][:, np.newaxis] + np.arange(count)]
        first = np.argmin(ring, axis=1)[:, np.newaxis]
        ring = np.take_along_axis(ring, (first + np.arange(count)) % count, axis=1)
        if count == 4:
            found.append(ring)
        else:
            found += [ring[:, [0, k, k + 1, k + 1]] for k in range(1, count - 1)]
    return Patches(centres, np.concatenate(found) if found else np.empty((0, 4), np.int64))


def _angles(origin: Values, target: Values) -> Values:
    """Return the direction in which `target` lies from `origin`, counter-clockwise from an arbitrary start [rad]."""
    axis = np.eye(3)[np.argmin(np.abs(origin), axis=1)]
    first = np.cross(origin, axis)
    second = np.cross(origin, first)
    angles: Values = np.arctan2(np.sum(target * second, axis=1), np.sum(target * first, axis=1))
    return angles
