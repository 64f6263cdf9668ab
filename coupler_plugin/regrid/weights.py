# SPDX-License-Identifier: Apache-2.0
"""Weights between two grids: one interface, whatever engine makes them.

Engines differ in rounding and in what they leave to the caller. Here they are made alike: masked cells have no links,
a destination cell that is wholly covered has shares that add up to one to the last bit, and links are in the order of
destination and source.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse  # type: ignore[import-untyped]
from numpy.typing import NDArray

from coupler_plugin.errors import CouplerError, Status, nearest
from coupler_plugin.regrid.engines import Engine, Request, choose
from coupler_plugin.regrid.engines.distance import fill
from coupler_plugin.regrid.geometry import Indices, Values
from coupler_plugin.regrid.grids import Edges, Grid
from coupler_plugin.regrid.links import Links

#: methods, with xESMF's names where it has them
METHODS = (
    "bilinear",
    "conservative",
    "conservative_normed",
    "conservative_2nd",
    "nearest_s2d",
    "nearest_d2s",
    "patch",
    "average",
)

#: the method that fits the nature of a field; the largest share is taken from conservative weights
METHOD_OF = {
    "state": "bilinear",
    "flux": "conservative",
    "amount": "conservative",
    "fraction": "conservative",
    "class": "conservative",
}

#: how cells that a method leaves out are filled: their number of nearest sources (ESMF's defaults)
EXTRAPOLATIONS = {"nearest_s2d": 1, "inverse_dist": 8}

_COVERED = 1e-9  # a share of the destination cell that differs less from one is all of it
_NOTHING = 1e-14  # smaller weights are rounding


@dataclass
class Weights:
    """Finished weights between two grids.

    Attributes
    ----------
    links : Links
        Places in the grids, counted from 0, in the order of destination and source.
    src_shape, dst_shape : tuple of int
    description : dict of str to str
        Method, edges, engine and the like: the global attributes of a weight file.
    src_ids, dst_ids : int64 arrays, optional
        Ids of the cells, where they are not 1 to n.
    arrays : dict of str to float64 array
        `xc`, `yc` [degrees], `mask`, and for conservative methods `area` [sr] and `frac` of both grids, with the
        endings `_a` (source) and `_b` (destination) as in ESMF's weight files. `frac` is the share of a cell that the
        other grid's cells cover.
    """

    links: Links
    src_shape: tuple[int, ...]
    dst_shape: tuple[int, ...]
    description: dict[str, str]
    src_ids: Indices | None = None
    dst_ids: Indices | None = None
    arrays: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def n_src(self) -> int:
        """Number of source cells."""
        return int(np.prod(self.src_shape))

    @property
    def n_dst(self) -> int:
        """Number of destination cells."""
        return int(np.prod(self.dst_shape))

    @property
    def unmapped(self) -> Indices:
        """Places of the destination cells that have no link."""
        return np.flatnonzero(np.bincount(self.links.rows, minlength=self.n_dst) == 0)

    def matrix(self) -> scipy.sparse.csr_array:
        """Return the weights as a matrix, shape (n_dst, n_src)."""
        places = (self.links.rows, self.links.cols)
        return scipy.sparse.csr_array((self.links.values, places), shape=(self.n_dst, self.n_src))


@dataclass(frozen=True)
class Recipe:
    """How weights will be made: what is wanted, and the engine that can do it.

    Attributes
    ----------
    request : Request
    engine : Engine
    extrapolate : str or None
    """

    request: Request
    engine: Engine
    extrapolate: str | None

    def description(self) -> dict[str, str]:
        """Return what the weights depend on besides the cells of the grids."""
        return {
            "method": self.request.method,
            "edges": self.request.edges if self.request.conservative else "none",
            "extrapolate": self.extrapolate or "none",
            "engine": self.engine.name,
            "engine_version": self.engine.version(),
            "src_grid": self.request.src.name,
            "dst_grid": self.request.dst.name,
        }

    def make(self) -> Weights:
        """Return the weights."""
        src, dst = self.request.src, self.request.dst
        links = self.engine.links(self.request)
        links = links.where(src.mask[links.cols] & dst.mask[links.rows] & (np.abs(links.values) > _NOTHING)).merged()
        arrays: dict[str, Values] = {}
        for end, grid in (("_a", src), ("_b", dst)):
            arrays |= {f"xc{end}": grid.lon, f"yc{end}": grid.lat, f"mask{end}": grid.mask.astype(np.float64)}
        if self.request.conservative:
            links, fractions = _conserve(self.request, links)
            arrays |= fractions
        if self.extrapolate is not None:
            left_out = dst.mask.copy()
            left_out[links.rows] = False
            more = fill(src, dst, np.flatnonzero(left_out), EXTRAPOLATIONS[self.extrapolate])
            links = Links.concatenate([links, more]).merged()
        return Weights(links, src.shape, dst.shape, self.description(), _ids(src), _ids(dst), arrays)


def recipe(
    src: Grid,
    dst: Grid,
    method: str,
    *,
    engine: str = "auto",
    edges: Edges = "great_circle",
    extrapolate: str | None = None,
    timeout: float = 1800.0,
) -> Recipe:
    """Return how weights from `src` to `dst` will be made; the arguments are those of `make_weights`."""
    _known("method", method, METHODS)
    _known("kind of edges", edges, ("great_circle", "latitude"))
    if extrapolate is not None:
        _known("extrapolation", extrapolate, tuple(EXTRAPOLATIONS))
    request = Request(src, dst, method, edges, timeout)
    if request.conservative:
        src.need_corners()
        dst.need_corners()
    return Recipe(request, choose(engine, request), extrapolate)


def make_weights(src: Grid, dst: Grid, method: str, **settings: Any) -> Weights:
    """Return the weights from `src` to `dst`.

    Parameters
    ----------
    src, dst : Grid
    method : str
        One of `METHODS`.
    engine : str
        ``auto`` (default), or one of `engines.ENGINES`.
    edges : "great_circle" (default) or "latitude"
        What the edges of cells along parallels are, in grids of meridians and parallels and for conservative methods:
        great circles as in ESMF, or the parallels, with which a model's areas are differences of sines of latitudes.
    extrapolate : str, optional
        One of `EXTRAPOLATIONS`: fill the destination cells that the method leaves out.
    timeout : float
        Longest time that an engine's process may take [s]; 1800 by default.

    Raises
    ------
    CouplerError
        CONFIG for words that are not known and for methods that no engine here has, CELLS for grids without corners,
        RUN for an engine that fails, IO for its files.
    """
    return recipe(src, dst, method, **settings).make()


def _known(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise CouplerError(
            Status.CONFIG,
            f"'{value}' is no {what} for weights; allowed: {', '.join(allowed)}.{nearest(value, allowed)}",
        )


def _conserve(request: Request, links: Links) -> tuple[Links, dict[str, Values]]:
    """Return the links with sums of exactly one where that is meant, and the areas and fractions of both grids."""
    src_area, dst_area = request.src.areas(request.edges), request.dst.areas(request.edges)
    covered = links.row_sums(request.dst.n)
    given = np.bincount(links.cols, weights=links.values * dst_area[links.rows], minlength=request.src.n)
    whole = np.abs(covered - 1.0) < _COVERED
    scaled = covered != 0.0 if request.method == "conservative_normed" else whole
    factors = np.divide(1.0, covered, out=np.ones_like(covered), where=scaled)
    links = Links(links.rows, links.cols, links.values * factors[links.rows])
    fractions = {"area_a": src_area, "area_b": dst_area, "frac_a": given / src_area}
    return links, {**fractions, "frac_b": np.where(whole, 1.0, covered)}


def _ids(grid: Grid) -> Indices | None:
    """Return the ids of a grid's cells, None where they only count them."""
    return None if np.array_equal(grid.ids, np.arange(1, grid.n + 1)) else grid.ids
