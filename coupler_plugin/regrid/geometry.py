# SPDX-License-Identifier: Apache-2.0
"""Points and polygons on the unit sphere: unit vectors, areas of cells, corners that cells share.

Differences of nearly equal numbers are avoided throughout: the smallest polar cells of a 0.25 degree grid have areas
of 1e-8 steradians, and conservation is wanted to 1e-12 of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Indices = NDArray[np.int64]

#: the whole sphere [sr]
SPHERE = 4.0 * np.pi

_STEPS = 10_000_000  # corners closer than 1e-7 degrees (a centimetre) are one


def unit_vectors(lon: NDArray[Any], lat: NDArray[Any]) -> Values:
    """Return the unit vectors, shape (..., 3), of longitudes and latitudes in degrees."""
    lam, phi = np.deg2rad(lon), np.deg2rad(lat)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def lon_lat(vectors: Values) -> tuple[Values, Values]:
    """Return longitudes in [0, 360) and latitudes in degrees of vectors, shape (..., 3), of any length."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.rad2deg(np.arctan2(y, x)) % 360.0, np.rad2deg(np.arctan2(z, np.hypot(x, y)))


def polygon_areas(lon: Values, lat: Values) -> Values:
    """Return the areas [sr] of polygons with great-circle edges; positive when counter-clockwise seen from outside.

    Parameters
    ----------
    lon, lat : float64 arrays, shape (n, nv)
        Corners in degrees; a polygon with fewer corners repeats its last one.

    Notes
    -----
    Sum over the triangles of a fan: Van Oosterom and Strackee (1983), IEEE Trans. Biomed. Eng. 30, 125-126, with the
    triple product of edge vectors in place of the corners', which keeps the relative accuracy of small cells.
    """
    corners = unit_vectors(lon, lat)
    a = corners[:, 0]
    total = np.zeros(len(corners))
    for k in range(1, corners.shape[1] - 1):
        b, c = corners[:, k], corners[:, k + 1]
        volume = _dot(a, np.cross(b - a, c - a))
        total += 2.0 * np.arctan2(volume, 1.0 + _dot(a, b) + _dot(b, c) + _dot(c, a))
    return total


def band_areas(lon_edges: Values, lat_edges: Values) -> Values:
    """Return the areas [sr], shape (ny * nx,), of cells between meridians and circles of latitude given in degrees."""
    return np.outer(sine_widths(lat_edges), np.deg2rad(np.abs(np.diff(lon_edges)))).ravel()


def sine_widths(lat_edges: Values) -> Values:
    """Return |sin(b) - sin(a)| of neighbouring latitudes in degrees, without cancellation."""
    phi = np.deg2rad(lat_edges)
    return np.abs(2.0 * np.cos(0.5 * (phi[1:] + phi[:-1])) * np.sin(0.5 * np.diff(phi)))


def shared_corners(lon: Values, lat: Values) -> tuple[Values, Values, Indices]:
    """Return the distinct corners of cells and which of them each cell has.

    Parameters
    ----------
    lon, lat : float64 arrays, shape (n, nv)
        Corners in degrees.

    Returns
    -------
    lon, lat : float64 arrays, shape (corners,)
    connectivity : int64 array, shape (n, nv)
    """
    turn = 360 * _STEPS
    rows = np.rint((lat + 90.0) * _STEPS).astype(np.int64)
    columns = np.rint(lon * _STEPS).astype(np.int64) % turn
    columns[(rows <= 0) | (rows >= 180 * _STEPS)] = 0  # all longitudes meet at a pole
    _, first, connectivity = np.unique((rows * turn + columns).ravel(), return_index=True, return_inverse=True)
    return lon.ravel()[first], lat.ravel()[first], connectivity.reshape(lon.shape).astype(np.int64)


def cell_centres(lon: Values, lat: Values) -> tuple[Values, Values]:
    """Return the centres [degrees] of polygons, shape (n, nv): the direction of the mean of their distinct corners."""
    corners = unit_vectors(lon, lat)
    distinct = np.any(corners != np.roll(corners, 1, axis=1), axis=-1)
    return lon_lat(np.sum(corners * distinct[..., np.newaxis], axis=1))


def _dot(a: Values, b: Values) -> Values:
    product: Values = np.einsum("...k,...k->...", a, b)
    return product
