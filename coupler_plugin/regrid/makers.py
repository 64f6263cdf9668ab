# SPDX-License-Identifier: Apache-2.0
"""Grids that are made: regular, Gaussian, from edges, from corners, from a mesh, or from the cells of a host."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.parallel import Gather, together
from coupler_plugin.regrid.geometry import Values, cell_centres, unit_vectors
from coupler_plugin.regrid.grids import Grid

if TYPE_CHECKING:
    from mpi4py import MPI


def latlon(resolution: float, region: Sequence[float] = (0.0, -90.0, 360.0, 90.0)) -> Grid:
    """Return a regular grid of cells of `resolution` degrees that fill `region`.

    Parameters
    ----------
    resolution : float
        Width and height of a cell [degrees].
    region : four floats
        West, first latitude, east, last latitude [degrees]; rows run from north to south when the first latitude is
        the northern one.

    Raises
    ------
    CouplerError
        CONFIG, when the cells do not fill the region.
    """
    west, first, east, last = (float(value) for value in region)
    name = f"latlon:{resolution:g}" + ("" if tuple(region) == (0.0, -90.0, 360.0, 90.0) else f" {list(region)}")
    columns, rows = (east - west) / resolution if resolution > 0 else 0.0, abs(last - first) / max(resolution, 1e-9)
    nx, ny = round(columns), round(rows)
    if nx < 1 or ny < 1 or abs(columns - nx) > 1e-6 * nx or abs(rows - ny) > 1e-6 * ny or east - west > 360.0 + 1e-9:
        raise CouplerError(
            Status.CONFIG,
            f"cells of {resolution:g} degrees do not fill the region {list(region)} (west, first latitude, east, last "
            f"latitude): it is {columns:g} by {rows:g} of them.",
        )
    return rectilinear(name, np.linspace(west, east, nx + 1), np.linspace(first, last, ny + 1))


def gaussian(latitudes: int) -> Grid:
    """Return the regular Gaussian grid with `latitudes` rows from north to south and twice as many columns.

    Rows meet where their areas are the Gaussian weights, so that a spectral model's own area means are kept.
    """
    if latitudes < 2 or latitudes % 2:
        raise CouplerError(Status.CONFIG, f"'gaussian: {latitudes}' is not an even number of latitudes.")
    sines, weights = np.polynomial.legendre.leggauss(latitudes)
    # Of a cap with the area 2 pi s, the angle from the pole to its edge is 2 asin(sqrt(s / 2)).
    caps = np.concatenate([[0.0], np.cumsum(weights[: latitudes // 2 - 1])])
    north = 90.0 - np.rad2deg(2.0 * np.arcsin(np.sqrt(0.5 * caps)))
    edges = np.concatenate([north, [0.0], -north[::-1]])
    columns = np.linspace(0.0, 360.0, 2 * latitudes + 1)
    rows: Values = np.rad2deg(np.arcsin(sines))
    return rectilinear(f"gaussian:{latitudes}", columns - 90.0 / latitudes, edges, lon=columns[:-1], lat=rows[::-1])


def rectilinear(
    name: str, lon_edges: Values, lat_edges: Values, lon: Values | None = None, lat: Values | None = None
) -> Grid:
    """Return a grid of cells between meridians and parallels.

    Parameters
    ----------
    name : str
    lon_edges, lat_edges : float64 arrays, shapes (nx + 1,) and (ny + 1,)
        Edges [degrees], rising or falling.
    lon, lat : float64 arrays, shapes (nx,) and (ny,), optional
        Centres; by default in the middle.

    Raises
    ------
    CouplerError
        CELLS, when edges do not run one way, or go round the sphere more than once.
    """
    for what, edges, most in (("longitude", lon_edges, 360.0), ("latitude", lat_edges, 180.0)):
        steps = np.diff(edges)
        if not (np.all(steps > 0.0) or np.all(steps < 0.0)) or abs(edges[-1] - edges[0]) > most + 1e-6:
            raise CouplerError(
                Status.CELLS,
                f"grid '{name}' has cells that overlap: its edges in {what} do not run one way, once round.",
            )
    lat_edges = np.where(np.abs(lat_edges) > 90.0 - 1e-9, np.sign(lat_edges) * 90.0, lat_edges)
    lon = 0.5 * (lon_edges[1:] + lon_edges[:-1]) if lon is None else lon
    lat = 0.5 * (lat_edges[1:] + lat_edges[:-1]) if lat is None else lat
    west, east = np.minimum(lon_edges[1:], lon_edges[:-1]), np.maximum(lon_edges[1:], lon_edges[:-1])
    south, north = np.minimum(lat_edges[1:], lat_edges[:-1]), np.maximum(lat_edges[1:], lat_edges[:-1])
    shape = (lat.size, lon.size)
    return Grid(
        name,
        np.tile(lon, lat.size),
        np.repeat(lat, lon.size),
        shape,
        corner_lon=np.tile(np.stack([west, east, east, west], axis=-1), (lat.size, 1)),
        corner_lat=np.repeat(np.stack([south, south, north, north], axis=-1), lon.size, axis=0),
        periodic=bool(abs(abs(lon_edges[-1] - lon_edges[0]) - 360.0) < 1e-6),
        lon_edges=lon_edges,
        lat_edges=lat_edges,
    )


def refined(grid: Grid, scale: int) -> Grid:
    """Return the grid whose cells are those of `grid`, each cut into `scale` rows and columns.

    Raises
    ------
    CouplerError
        CONFIG, when the cells do not lie between meridians and parallels.
    """
    if grid.lon_edges is None or grid.lat_edges is None:
        raise grid.error(Status.CONFIG, "has no cells between meridians and parallels, which alone can be refined.")
    lon_edges, lat_edges = (_cut(edges, scale) for edges in (grid.lon_edges, grid.lat_edges))
    fine = rectilinear(f"{grid.name} / {scale}", lon_edges, lat_edges)
    return fine.masked(np.kron(grid.mask.reshape(grid.shape), np.ones((scale, scale), bool)))


def _cut(edges: Values, scale: int) -> Values:
    """Return edges with `scale` steps for each step between them."""
    places = np.arange((edges.size - 1) * scale + 1) / scale
    return np.interp(places, np.arange(edges.size), edges)


def curvilinear(
    name: str,
    lon: Values,
    lat: Values,
    corner_lon: Values | None = None,
    corner_lat: Values | None = None,
    *,
    periodic: bool | None = None,
) -> Grid:
    """Return a structured grid with two-dimensional coordinates.

    Parameters
    ----------
    name : str
    lon, lat : float64 arrays, shape (ny, nx)
        Centres [degrees].
    corner_lon, corner_lat : float64 arrays, shape (ny + 1, nx + 1) or (ny, nx, 4), optional
        Corners [degrees].
    periodic : bool, optional
        By default, whether the last column is as near to the first as columns are to each other.
    """
    if lon.ndim != 2 or lon.shape != lat.shape:
        raise CouplerError(Status.ARRAY, f"grid '{name}' has centres of the shapes {lon.shape} and {lat.shape}.")
    corners: list[Values | None] = [None, None]
    if corner_lon is not None and corner_lat is not None:
        corners = [_around(name, values, lon.shape) for values in (corner_lon, corner_lat)]
    return Grid(
        name,
        lon.ravel(),
        lat.ravel(),
        lon.shape,
        corner_lon=corners[0],
        corner_lat=corners[1],
        periodic=_closes(lon, lat) if periodic is None else periodic,
    )


def _around(name: str, corners: Values, shape: tuple[int, ...]) -> Values:
    ny, nx = shape
    if corners.shape == (ny + 1, nx + 1):
        corners = np.stack([corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]], axis=-1)
    if corners.shape != (ny, nx, 4):
        raise CouplerError(Status.ARRAY, f"grid '{name}' has corners of the shape {corners.shape} for {shape} cells.")
    return corners.reshape(-1, 4)


def _closes(lon: Values, lat: Values) -> bool:
    """Return whether the step from the last column to the first is like the steps between columns."""
    if lon.shape[1] < 3:
        return False
    centres = unit_vectors(lon, lat)
    steps = np.linalg.norm(np.roll(centres, -1, axis=1) - centres, axis=-1)
    return bool(np.all(steps[:, -1] < 1.5 * steps[:, :-1].max(axis=1)))


def mesh(
    name: str,
    node_lon: Values,
    node_lat: Values,
    connectivity: NDArray[Any],
    lon: Values | None = None,
    lat: Values | None = None,
    **others: Any,
) -> Grid:
    """Return an unstructured grid.

    Parameters
    ----------
    name : str
    node_lon, node_lat : float64 arrays, shape (nodes,)
        Corners of cells [degrees].
    connectivity : integer array, shape (n, nv)
        The nodes of each cell, counted from 0; places that a cell does not need are negative and come last.
    lon, lat : float64 arrays, shape (n,), optional
        Centres; by default the means of the corners.
    **others
        `mask` and `area` of `Grid`.
    """
    connectivity = np.asarray(connectivity, np.int64)
    wrong = np.flatnonzero((connectivity[:, :3].min(axis=1) < 0) | (connectivity.max(axis=1) >= node_lon.size))
    if wrong.size:
        raise CouplerError(
            Status.CELLS,
            f"mesh '{name}' has {wrong.size} cells with fewer than three nodes or nodes outside of its "
            f"{node_lon.size}, such as number {wrong[0] + 1}: {connectivity[wrong[0]] + 1}.",
        )
    last = connectivity[np.arange(len(connectivity)), np.count_nonzero(connectivity >= 0, axis=1) - 1]
    filled = np.where(connectivity >= 0, connectivity, last[:, np.newaxis])
    corner_lon, corner_lat = node_lon[filled], node_lat[filled]
    if lon is None or lat is None:
        lon, lat = cell_centres(corner_lon, corner_lat)
    return Grid(name, lon, lat, (lon.size,), corner_lon, corner_lat, **others)


def gather_grid(
    comm: MPI.Comm | None,
    ids: NDArray[np.int64],
    lon: Values,
    lat: Values,
    corner_lon: Values | None = None,
    corner_lat: Values | None = None,
) -> Grid | None:
    """Return on rank 0 the grid of the cells that the ranks own, ordered by id; None on the other ranks.

    Only the making of weights needs it. A collective call.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or None
    ids : int64 array, shape (cells of this rank,)
    lon, lat : float64 arrays, shape (cells of this rank,)
        Centres [degrees].
    corner_lon, corner_lat : float64 arrays, shape (cells of this rank, nv), optional
        Corners [degrees], on all ranks or on none.

    Raises
    ------
    CouplerError
        What `Grid` raises, on every rank.
    """
    gather = Gather(comm, ids)
    corners = [None if part is None else gather(part) for part in (corner_lon, corner_lat)]
    make = partial(_host_grid, gather.ids, gather(lon), gather(lat), *corners)
    return together(comm, make if gather.is_root else lambda: None)


def _host_grid(
    ids: NDArray[np.int64], lon: Values, lat: Values, corner_lon: Values | None, corner_lat: Values | None
) -> Grid | None:
    return Grid("host", lon, lat, (ids.size,), corner_lon, corner_lat, ids=ids)
