# SPDX-License-Identifier: Apache-2.0
"""Bilinear weights on the sphere, as ESMF defines them.

A patch between four centres is the bilinear surface through their unit vectors. A point lies in it when the line from
the centre of the sphere through the point meets the surface within its edges; the weights are the four bilinear shape
functions there, found by Newton's method in the plane across that line. The pole takes the mean of the outermost row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree  # type: ignore[import-untyped]

from coupler_plugin.regrid.engines.patches import Patches, patches_of
from coupler_plugin.regrid.geometry import Indices, Values, unit_vectors
from coupler_plugin.regrid.grids import Grid
from coupler_plugin.regrid.links import Links

_INSIDE = 1e-10  # how far outside of a patch, in its own coordinates, still counts as on its edge
_NEAR = 1e-9  # degrees that are rounding
_CHUNK = 200_000  # pairs of a point and a patch that are solved at once
_NEAREST = 1024  # patches that a point is looked for in, before it is taken to lie in none


def bilinear(src: Grid, dst: Grid) -> Links:
    """Return the bilinear links; destination cells outside of all patches, or in one with a masked corner, get none.

    Parameters
    ----------
    src, dst : Grid
    """
    search = _Search(patches_of(src), src.mask, unit_vectors(dst.lon, dst.lat))
    search.run(np.flatnonzero(dst.mask))
    placed = np.flatnonzero(search.patch >= 0)
    corners, weights = search.patches.corners[search.patch[placed]], search.weights[placed]
    links = [Links(np.repeat(placed, 4), corners.ravel(), weights.ravel())]
    at_cell = links[0].cols < src.n
    for number, row in enumerate(search.patches.poles):
        at_pole = links[0].cols == src.n + number
        links.append(_spread(links[0].rows[at_pole], links[0].values[at_pole], row))
    links[0] = links[0].where(at_cell)
    return Links.concatenate(links)


def _spread(rows: Indices, values: Values, cells: Indices) -> Links:
    """Return links that give each pole's share to the cells of its row in equal parts."""
    return Links(np.repeat(rows, cells.size), np.tile(cells, rows.size), np.repeat(values / cells.size, cells.size))


class _Search:
    """Looks for the patch of each point.

    Parameters
    ----------
    patches : Patches
    mask : bool array, shape (cells,)
        False at cells that may not be used.
    points : float64 array, shape (n, 3)

    Attributes
    ----------
    patch : int64 array, shape (n,)
        The patch of each point; -1 while there is none.
    weights : float64 array, shape (n, 4)
        The weights of its corners.
    """

    def __init__(self, patches: Patches, mask: NDArray[np.bool_], points: Values) -> None:
        self.patches = patches
        self.points = points
        self.patch: Indices = np.full(len(points), -1)
        self.weights = np.zeros((len(points), 4))
        poles = np.array([mask[row].all() for row in patches.poles], bool)
        usable: NDArray[np.bool_] = np.concatenate([mask, poles])
        self._usable: NDArray[np.bool_] = np.all(usable[patches.corners], axis=1)

    def run(self, wanted: Indices) -> None:
        """Look for the patches of the points `wanted`."""
        if not self.patches.corners.size:
            return
        if self.patches.axes is not None:
            self._by_axes(wanted, *self.patches.axes)
        else:
            self._by_distance(wanted)

    def _by_axes(self, wanted: Indices, lon: Values, lat: Values) -> None:
        """Look in the band and column of each point, then next to them.

        Meridians bound the patches exactly but for rounding; parallels do not, as great circles run polewards of them.
        """
        x, y, z = self.points[wanted].T
        turned = lon[0] + (np.rad2deg(np.arctan2(y, x)) - lon[0] + _NEAR) % 360.0 - _NEAR
        phi = np.rad2deg(np.arctan2(z, np.hypot(x, y)))
        near = (
            (turned <= lon[-1] + _NEAR) & (phi >= -_reach(-float(lat[0]), lon)) & (phi <= _reach(float(lat[-1]), lon))
        )
        wanted, turned, phi = wanted[near], turned[near], phi[near]
        column = np.searchsorted(lon, turned, side="right") - 1
        band = np.searchsorted(lat, phi, side="right") - 1
        columns, bands = lon.size - 1, lat.size - 1
        closed = lon[-1] - lon[0] > 360.0 - _NEAR
        for side in (0, -1, 1):
            for shift in (0, 1, -1):
                beside = (column + side) % columns if closed else np.clip(column + side, 0, columns - 1)
                open_ = self.patch[wanted] < 0
                self._try(wanted[open_], (np.clip(band + shift, 0, bands - 1) * columns + beside)[open_])

    def _by_distance(self, wanted: Indices) -> None:
        """Look in the patches with the nearest middles, in ever more of them until they are too far to reach."""
        corners = self.patches.points[self.patches.corners]
        middles = corners.mean(axis=1)
        reach = 1.001 * np.sqrt(np.max(np.sum((corners - middles[:, np.newaxis]) ** 2, axis=-1), axis=1))
        tree, seen = cKDTree(middles), 0
        while wanted.size and seen < min(len(middles), _NEAREST):
            count = min(max(4, 4 * seen), len(middles))
            left = []
            for some in np.array_split(wanted, 1 + wanted.size * count // _CHUNK):
                distance, patch = tree.query(self.points[some], k=np.arange(seen + 1, count + 1))
                for k in range(count - seen):
                    open_ = (self.patch[some] < 0) & (distance[:, k] <= reach[patch[:, k]])
                    self._try(some[open_], patch[open_, k])
                left.append(some[(self.patch[some] < 0) & (distance[:, -1] <= reach.max())])
            wanted, seen = np.concatenate(left), count

    def _try(self, points: Indices, patches: Indices) -> None:
        """Keep the patch of each point that lies in it."""
        usable = self._usable[patches]
        points, patches = points[usable], patches[usable]
        for start in range(0, points.size, _CHUNK):
            some = slice(start, start + _CHUNK)
            weights = _shape_functions(
                self.patches.points[self.patches.corners[patches[some]]], self.points[points[some]]
            )
            inside = np.flatnonzero(np.isfinite(weights[:, 0]))
            self.patch[points[some][inside]] = patches[some][inside]
            self.weights[points[some][inside]] = weights[inside]


def _reach(lat: float, lon: Values) -> float:
    """Return the most northern latitude [degrees] of the great circles between neighbours on the parallel `lat`."""
    if lat <= 0.0:
        return lat + _NEAR  # south of the equator they run southwards
    half = np.deg2rad(min(0.5 * float(np.diff(lon).max()), 90.0))
    return float(np.rad2deg(np.arctan2(np.sin(np.deg2rad(lat)), np.cos(np.deg2rad(lat)) * np.cos(half)))) + _NEAR


def _shape_functions(corners: Values, points: Values) -> Values:
    """Return the four weights, shape (n, 4), of the points in their patches; NaN where a point is outside.

    Parameters
    ----------
    corners : float64 array, shape (n, 4, 3)
    points : float64 array, shape (n, 3)
    """
    axis = np.eye(3)[np.argmin(np.abs(points), axis=1)]
    first = np.cross(points, axis)
    second = np.cross(points, first)
    # The patch seen along the line through the point, which is the origin: a + b s + c t + d s t = 0 is wanted.
    seen = np.stack([np.einsum("nkx,nx->nk", corners, first), np.einsum("nkx,nx->nk", corners, second)], axis=-1)
    a, b, c = seen[:, 0], seen[:, 1] - seen[:, 0], seen[:, 3] - seen[:, 0]
    d = seen[:, 2] - seen[:, 3] - b
    s, t = np.full(len(points), 0.5), np.full(len(points), 0.5)
    with np.errstate(all="ignore"):
        for _ in range(25):
            value = a + b * s[:, np.newaxis] + c * t[:, np.newaxis] + d * (s * t)[:, np.newaxis]
            by_s, by_t = b + d * t[:, np.newaxis], c + d * s[:, np.newaxis]
            determinant = by_s[:, 0] * by_t[:, 1] - by_s[:, 1] * by_t[:, 0]
            step_s = (value[:, 0] * by_t[:, 1] - value[:, 1] * by_t[:, 0]) / determinant
            step_t = (by_s[:, 0] * value[:, 1] - by_s[:, 1] * value[:, 0]) / determinant
            # On a corner where two points coincide, such as a pole, one coordinate is free and stays as it is.
            done = determinant == 0.0
            step_s[done], step_t[done] = 0.0, 0.0
            s, t = s - step_s, t - step_t
            if np.nanmax(np.abs(step_s) + np.abs(step_t), initial=0.0) < 1e-15:
                break
        in_front = np.einsum("nkx,nx->n", corners, points) > 0.0
        inside = in_front & (np.abs(s - 0.5) <= 0.5 + _INSIDE) & (np.abs(t - 0.5) <= 0.5 + _INSIDE)
        s, t = np.clip(s, 0.0, 1.0), np.clip(t, 0.0, 1.0)
    weights = np.stack([(1 - s) * (1 - t), s * (1 - t), s * t, (1 - s) * t], axis=-1)
    weights[~inside] = np.nan
    return weights
