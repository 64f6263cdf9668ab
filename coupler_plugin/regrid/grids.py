# SPDX-License-Identifier: Apache-2.0
"""One description of a grid, whatever it was made from, and the checks that every grid must pass.

Only rank 0 holds a whole grid, and only while weights are made; a route works with ids alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.regrid.geometry import SPHERE, Indices, Values, band_areas, polygon_areas, shared_corners

#: what the edges of cells along parallels are: parts of great circles, or of circles of latitude
Edges = Literal["great_circle", "latitude"]


@dataclass(frozen=True, eq=False)
class Grid:
    """Cells on the sphere.

    Parameters
    ----------
    name : str
        What errors call the grid: its description or its file.
    lon, lat : float64 arrays, shape (n,)
        Centres [degrees_east, degrees_north]; cell (y, x) of a structured grid is number y * nx + x.
    shape : tuple of int
        (ny, nx) of a structured grid, (n,) of any other.
    corner_lon, corner_lat : float64 arrays, shape (n, nv), optional
        Corners [degrees], in order around the cell; a cell with fewer than nv corners repeats one. Without corners a
        grid cannot be part of conservative regridding. If all cells run clockwise they are turned.
    mask : bool array, shape (n,), optional
        True where a cell takes part; by default everywhere.
    area : float64 array, shape (n,), optional
        Areas [sr] that the model or the file gives, when they are not those of the polygons.
    ids : int64 array, shape (n,), optional
        Global ids of the cells; 1 to n by default.
    periodic : bool
        Whether the last column of a structured grid is the western neighbour of the first.
    lon_edges, lat_edges : float64 arrays, shapes (nx + 1,) and (ny + 1,), optional
        Edges of a grid whose cells lie between meridians and parallels.

    Raises
    ------
    CouplerError
        ARRAY for shapes that do not fit, CELLS for coordinates, ids or corners that cannot be right.
    """

    name: str
    lon: Values
    lat: Values
    shape: tuple[int, ...]
    corner_lon: Values | None = None
    corner_lat: Values | None = None
    mask: NDArray[np.bool_] = None  # type: ignore[assignment]
    area: Values | None = None
    ids: Indices = None  # type: ignore[assignment]
    periodic: bool = False
    lon_edges: Values | None = None
    lat_edges: Values | None = None

    def __post_init__(self) -> None:
        if self.mask is None:
            object.__setattr__(self, "mask", np.ones(self.n, bool))
        if self.ids is None:
            object.__setattr__(self, "ids", np.arange(1, self.n + 1))
        if self.n == 0 or self.n != np.prod(self.shape):
            raise self.error(Status.ARRAY, f"has {self.n} centres for the shape {self.shape}.")
        for what in ("lat", "mask", "area", "ids", "corner_lon", "corner_lat"):
            values = getattr(self, what)
            if values is not None and len(values) != self.n:
                raise self.error(Status.ARRAY, f"has {self.n} cells, but '{what}' has {len(values)}.")
        self._check_ids()
        for what, limit in (("lon", 720.0), ("lat", 90.0), ("corner_lon", 720.0), ("corner_lat", 90.0)):
            self._check_range(what, limit)
        if self.area is not None and not np.all(self.area[self.mask] > 0.0):
            raise self.error(Status.CELLS, "has areas that are not positive.")
        if not self.mask.any():
            raise self.error(Status.CELLS, "has no cell that its mask lets take part.")
        if self.has_corners and not self.is_rectilinear:
            self._orient()

    @property
    def n(self) -> int:
        """Number of cells."""
        return len(self.lon)

    @property
    def has_corners(self) -> bool:
        """Whether the cells have corners, which conservative methods need."""
        return self.corner_lon is not None

    @property
    def is_rectilinear(self) -> bool:
        """Whether the cells lie between meridians and parallels."""
        return self.lon_edges is not None

    def areas(self, edges: Edges) -> Values:
        """Return the areas [sr], shape (n,), of the cells as polygons with these edges.

        Raises
        ------
        CouplerError
            CELLS, when the grid has no corners.
        """
        if edges == "latitude" and self.lon_edges is not None and self.lat_edges is not None:
            return band_areas(self.lon_edges, self.lat_edges)
        return self._polygon_areas

    @cached_property
    def _polygon_areas(self) -> Values:
        return polygon_areas(*self.need_corners())

    def need_corners(self) -> tuple[Values, Values]:
        """Return the longitudes and latitudes of the corners.

        Raises
        ------
        CouplerError
            CELLS, when the grid has none.
        """
        if self.corner_lon is None or self.corner_lat is None:
            raise self.error(
                Status.CELLS,
                "has no corners, which conservative methods need; give corners (bounds) or take a method such as "
                "bilinear or nearest_s2d.",
            )
        return self.corner_lon, self.corner_lat

    def places_of(self, ids: Indices) -> Indices:
        """Return the places of the cells with some ids, all of which the grid has."""
        order = np.argsort(self.ids, kind="stable")
        return order[np.searchsorted(self.ids, ids, sorter=order)]

    def masked(self, mask: NDArray[Any]) -> Grid:
        """Return this grid with only the cells taking part where `mask`, shape (n,) or `shape`, is not zero."""
        return replace(self, mask=np.asarray(mask).ravel() != 0)

    def digest(self) -> str:
        """Return a hash of everything that weights depend on."""
        state = hashlib.sha256(repr((self.shape, self.periodic)).encode())
        parts = (
            self.lon,
            self.lat,
            self.corner_lon,
            self.corner_lat,
            self.mask,
            self.ids,
            self.lon_edges,
            self.lat_edges,
        )
        for part in parts:
            state.update(b"none" if part is None else np.ascontiguousarray(part).tobytes())
        return state.hexdigest()

    def check_cells(self, *, whole: bool = False) -> Grid:
        """Check that no two cells overlap and, if the grid is to cover the `whole` sphere, that it has no hole.

        Files are checked with this when they are read; the grids of `makers` cannot be wrong in this way.

        Raises
        ------
        CouplerError
            CELLS, saying which cells overlap or what is missing.
        """
        if not (self.has_corners or whole):
            return self
        corner_lon, corner_lat = self.need_corners()
        members = np.flatnonzero(self.mask)
        _, _, cells = shared_corners(corner_lon[members], corner_lat[members])
        ends = np.roll(cells, -1, axis=1)
        cell, corner = np.nonzero(cells != ends)
        # Seen from inside, an edge runs counter-clockwise around one cell only: the other side has it backwards.
        edge = cells[cell, corner] * (cells.max() + 1) + ends[cell, corner]
        order = np.argsort(edge, kind="stable")
        twice = np.flatnonzero(edge[order[1:]] == edge[order[:-1]])
        if twice.size:
            first, second = members[cell[order[twice[0]]]], members[cell[order[twice[0] + 1]]]
            raise self.error(
                Status.CELLS,
                f"has cells that overlap, such as numbers {first + 1} and {second + 1} ({twice.size} pairs); mask the "
                "cells that are there twice.",
            )
        total = float(np.sum(self.areas("great_circle")[members]))
        if total > SPHERE * (1.0 + 1e-6):
            raise self.error(Status.CELLS, f"has cells that overlap: together they cover {total / SPHERE:.6f} spheres.")
        if whole and total < SPHERE * (1.0 - 1e-6):
            raise self.error(
                Status.CELLS, f"has holes: its cells cover {total / SPHERE:.6f} of the sphere, not all of it."
            )
        return self

    def error(self, status: Status, text: str) -> CouplerError:
        """Return an error that names this grid."""
        return CouplerError(status, f"grid '{self.name}' {text}")

    def _check_ids(self) -> None:
        unique, counts = np.unique(self.ids, return_counts=True)
        if unique.size < self.n:
            raise self.error(
                Status.CELLS, f"gives the id {unique[counts > 1][0]} to {counts.max()} cells; ids are unique."
            )
        if unique[0] < 1:
            raise self.error(Status.CELLS, f"has the id {unique[0]}; ids start at 1.")

    def _check_range(self, what: str, limit: float) -> None:
        values = getattr(self, what)
        if values is None:
            return
        wrong = np.flatnonzero(~np.all(np.abs(values.reshape(self.n, -1)) <= limit + 1e-9, axis=1))
        if wrong.size:
            raise self.error(
                Status.CELLS,
                f"has the {what} {np.array2string(values[wrong[0]], precision=6)} in cell {self.ids[wrong[0]]}, "
                f"outside [-{limit:g}, {limit:g}] degrees; {wrong.size} cells are wrong.",
            )

    def _orient(self) -> None:
        """Turn cells that all run clockwise; refuse a mixture, which comes from corners in a wrong order."""
        signed = self._polygon_areas[self.mask]
        flat = np.flatnonzero(np.abs(signed) < 1e-16)
        if flat.size:
            raise self.error(
                Status.CELLS,
                f"has {flat.size} cells without area, such as id {self.ids[self.mask][flat[0]]}; mask them or mend "
                "their corners.",
            )
        clockwise = np.flatnonzero(signed < 0.0)
        if clockwise.size == signed.size:
            for what in ("corner_lon", "corner_lat"):
                object.__setattr__(self, what, np.ascontiguousarray(getattr(self, what)[:, ::-1]))
            object.__setattr__(self, "_polygon_areas", -self._polygon_areas)
        elif clockwise.size:
            raise self.error(
                Status.CELLS,
                f"has corners in counter-clockwise order in most cells but not in {clockwise.size}, such as id "
                f"{self.ids[self.mask][clockwise[0]]}; the corners of a cell go around it.",
            )
