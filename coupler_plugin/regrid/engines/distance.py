# SPDX-License-Identifier: Apache-2.0
"""Weights by distance: the nearest source, the nearest destination, and the filling of cells that a method left out."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree  # type: ignore[import-untyped]

from coupler_plugin.regrid.geometry import Indices, unit_vectors
from coupler_plugin.regrid.grids import Grid
from coupler_plugin.regrid.links import Links

# ESMF's own numbers for extrapolation by inverse distance.
_SOURCES = 8
_EXPONENT = 2.0


def nearest_s2d(src: Grid, dst: Grid) -> Links:
    """Return links that give each destination cell its nearest source."""
    return fill(src, dst, np.flatnonzero(dst.mask), 1)


def nearest_d2s(src: Grid, dst: Grid) -> Links:
    """Return links that add each source to its nearest destination cell."""
    links = fill(dst, src, np.flatnonzero(src.mask), 1)
    return Links(links.cols, links.rows, links.values)


def inverse_distance(src: Grid, dst: Grid, cells: Indices) -> Links:
    """Return links that give destination `cells` means of their nearest sources, weighted by 1 / distance squared."""
    return fill(src, dst, cells, _SOURCES)


def fill(src: Grid, dst: Grid, cells: Indices, sources: int) -> Links:
    """Return links that give destination `cells` means of their nearest `sources`, weighted by 1 / distance squared.

    Distances are chords; a cell whose centre is a source's takes that source alone.
    """
    members = np.flatnonzero(src.mask)
    tree = cKDTree(unit_vectors(src.lon[members], src.lat[members]))
    sources = min(sources, members.size)
    distance, found = tree.query(unit_vectors(dst.lon[cells], dst.lat[cells]), k=np.arange(1, sources + 1))
    # Scaled by the smallest distance before the power, so that no distance is too small for it.
    with np.errstate(invalid="ignore"):
        scaled = np.where(distance[:, :1] > 0.0, distance[:, :1] / distance, distance == 0.0) ** _EXPONENT
    values = scaled / scaled.sum(axis=1, keepdims=True)
    return Links(np.repeat(cells, sources), members[found].ravel(), values.ravel())
