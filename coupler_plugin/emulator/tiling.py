# SPDX-License-Identifier: Apache-2.0
"""Tiles: how a grid is cut for emulators that see a neighbourhood, and how overlapping answers become one.

Gathering the pixels of a tile (with its halo, around the globe and over the poles) and blending tiles are both linear
maps between cells and pixels. Both are given as links, so that one route per direction does what would else be a halo
exchange and a reduction, with the same bits for every decomposition.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.regrid import Links

Indices = NDArray[np.int64]
Blend = Literal["gaussian", "core"]

#: width of the Gaussian weights as a share of the tile, as in sliding-window segmentation
_SIGMA: Final = 1.0 / 8.0
_LEAST: Final = 1e-3  # weight at the rim of a tile, relative to its middle


@dataclass(frozen=True)
class Tiling:
    """A structured grid cut into tiles of one size that overlap by twice their halo.

    Parameters
    ----------
    grid : (int, int)
        Rows and columns of the grid; cell (y, x) has the id y * nx + x + 1.
    tile : (int, int)
        Rows and columns of a tile, its halo included.
    halo : int
        Pixels on each side that a tile only sees.
    periodic : bool
        Whether the grid goes around the globe.
    over_poles : bool
        Whether a periodic grid does: its rows reach from pole to pole.
    blend : "gaussian" or "core"
        Overlapping answers are averaged with weights that fall from the middle of a tile, or cut off at the halo.

    Raises
    ------
    CouplerError
        CONFIG, when a tile has no core, or a periodic grid an odd number of columns.
    """

    grid: tuple[int, int]
    tile: tuple[int, int]
    halo: int
    periodic: bool
    blend: Blend = "gaussian"
    over_poles: bool = True

    def __post_init__(self) -> None:
        if min(self.stride) < 1:
            raise CouplerError(
                Status.CONFIG,
                f"a tile of {self.tile[0]} x {self.tile[1]} pixels has no core inside a halo of {self.halo}.",
            )
        if self.periodic and self.over_poles and self.grid[1] % 2:
            raise CouplerError(
                Status.CONFIG,
                f"a periodic grid of {self.grid[1]} columns has no column half a turn away over the pole.",
            )

    @property
    def stride(self) -> tuple[int, int]:
        """Rows and columns of a tile's core: the distance between neighbouring tiles."""
        return self.tile[0] - 2 * self.halo, self.tile[1] - 2 * self.halo

    @property
    def counts(self) -> tuple[int, int]:
        """Tiles along rows and columns; their cores cover the grid."""
        return -(-self.grid[0] // self.stride[0]), -(-self.grid[1] // self.stride[1])

    @property
    def pixels(self) -> int:
        """Pixels of a tile."""
        return self.tile[0] * self.tile[1]

    def refined(self, scale: int) -> Tiling:
        """Return the same tiles on the grid whose cells are cut into `scale` rows and columns."""
        grid, tile = ((size[0] * scale, size[1] * scale) for size in (self.grid, self.tile))
        return replace(self, grid=grid, tile=tile, halo=self.halo * scale)

    def tiles_of(self, ids: Indices) -> Indices:
        """Return the numbers of all tiles that contribute to the answers of some cells, rising."""
        y, x = np.divmod(ids - 1, self.grid[1])
        found = []
        for down, right in np.ndindex(self.counts):
            rows, columns = self._seen(0, down), self._seen(1, right)
            if np.any(rows[y] & columns[x]):
                found.append(down * self.counts[1] + right)
        return np.array(found, np.int64)

    def cells(self, tiles: Indices) -> Indices:
        """Return the id of the cell in each pixel of some tiles, shape (tiles, rows, columns)."""
        down, right = np.divmod(tiles, self.counts[1])
        y = self._places(0, down)[:, :, None]
        x = self._places(1, right)[:, None, :]
        ny, nx = self.grid
        if self.periodic and not self.over_poles:
            y, x = np.broadcast_arrays(y, x % nx)
        elif self.periodic:
            over = (y < 0) | (y >= ny)
            y = np.where(y < 0, -1 - y, np.where(y >= ny, 2 * ny - 1 - y, y))
            x = np.where(over, x + nx // 2, x) % nx
        else:
            y, x = np.broadcast_arrays(y, np.clip(x, 0, nx - 1))
        return np.asarray(np.clip(y, 0, ny - 1) * nx + x + 1)

    def gather(self, tiles: Indices) -> Links:
        """Return the links from cells to the pixels of some tiles; pixel p of tile t has the id t * pixels + p + 1."""
        cells = self.cells(tiles).reshape(-1)
        return Links(self.pixel_ids(tiles), cells, np.ones(cells.size))

    def blending(self, tiles: Indices) -> Links:
        """Return the links from the pixels of some tiles to cells; all tiles of a cell together have the weight one."""
        down, right = np.divmod(tiles, self.counts[1])
        weights = self._weights(0)[down][:, :, None] * self._weights(1)[right][:, None, :]
        taken = weights.reshape(-1) > 0.0
        cells = self.cells(tiles).reshape(-1)[taken]
        return Links(cells, self.pixel_ids(tiles)[taken], weights.reshape(-1)[taken])

    def pixel_ids(self, tiles: Indices) -> Indices:
        """Return the ids of the pixels of some tiles, shape (tiles * pixels,)."""
        return (tiles[:, None] * self.pixels + np.arange(1, self.pixels + 1)).reshape(-1)

    def _places(self, axis: int, tiles: Indices) -> Indices:
        """Return the row or column of the grid at each row or column of tiles, also outside, shape (tiles, size)."""
        return np.asarray(tiles[:, None] * self.stride[axis] - self.halo + np.arange(self.tile[axis]))

    def _seen(self, axis: int, tile: int) -> NDArray[np.bool_]:
        """Return which rows or columns of the grid get weight from a tile."""
        seen = np.zeros(self.grid[axis], bool)
        places = self._places(axis, np.array([tile]))[0]
        seen[self._wrapped(axis, places)[self._raw[axis][tile] > 0.0]] = True
        return seen

    def _wrapped(self, axis: int, places: Indices) -> Indices:
        size = self.grid[axis]
        return places % size if axis == 1 and self.periodic else np.clip(places, 0, size - 1)

    @cached_property
    def _raw(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights of the rows and columns of every tile before they are made to sum to one, shape (tiles, size)."""
        return self._raw_along(0), self._raw_along(1)

    def _raw_along(self, axis: int) -> NDArray[np.float64]:
        size = self.tile[axis]
        from_middle = (np.arange(size) - (size - 1) / 2) / (_SIGMA * size)
        profile = np.maximum(np.exp(-0.5 * from_middle**2), _LEAST)
        if self.blend == "core":
            profile = np.zeros(size)
            profile[self.halo : size - self.halo] = 1.0
        places = self._places(axis, np.arange(self.counts[axis]))
        around = axis == 1 and self.periodic
        weights = np.where(around | ((places >= 0) & (places < self.grid[axis])), profile, 0.0)
        if around:  # the last tile may reach around to the first; in the core each column then counts once
            weights = weights if self.blend == "gaussian" else np.where(places < self.grid[axis], weights, 0.0)
        return np.asarray(weights)

    def _weights(self, axis: int) -> NDArray[np.float64]:
        """Return the weights of the rows or columns of every tile, of which those of one cell sum to one."""
        raw = self._raw[axis]
        places = self._wrapped(axis, self._places(axis, np.arange(self.counts[axis])))
        total = np.bincount(places.reshape(-1), weights=raw.reshape(-1), minlength=self.grid[axis])
        return np.asarray(raw / total[places])
