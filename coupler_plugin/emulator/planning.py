# SPDX-License-Identifier: Apache-2.0
"""Plans an emulator's own grid: both grids, the weights between them, the cells that take part, and the routes.

Whole grids are on rank 0 alone, and only here: once the routes are planned, everything is known by ids.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.cells import Cells
from coupler_plugin.emulator.manifest import Tile
from coupler_plugin.emulator.placing import active_ids, cells_of, deal_distinct
from coupler_plugin.emulator.tiling import Tiling
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.fields import Fields
from coupler_plugin.parallel import allgather, broadcast, rank_of, together
from coupler_plugin.regrid import METHOD_OF, Balance, Grid, Route, gather_grid, make_grid, refined, weights_file
from coupler_plugin.regrid.section import NO_FILES, GridSection, RegridSection, WeightFilesSection

if TYPE_CHECKING:
    from mpi4py import MPI

Indices = NDArray[np.int64]

#: cells of the host may lie so far from where their grid has them, in degrees of a great circle
_APART: Final = 0.1


@dataclass(frozen=True)
class GridPlan:
    """What was planned for one emulator.

    Attributes
    ----------
    cells : Cells
        The emulator's cells of this rank.
    methods : callable
        Gives the method of a field by its name.
    inward, outward : dict of str to Route
        From the host's cells to the emulator's and back, by the method of their weights.
    balances : dict of (bool, str) to Balance
        Of conservative routes, inward (True) and outward, where integrals are to be compared.
    scale : int
        How much finer in both directions the answers are than the inputs.
    tiling : Tiling or None
    grid_size : int
        Cells of the whole grid.
    tiles : int64 array
        The tiles that run on this rank, for an emulator that sees tiles.
    """

    cells: Cells
    methods: Callable[[str], str]
    is_flagging: bool
    inward: Mapping[str, Route]
    outward: Mapping[str, Route]
    balances: Mapping[tuple[bool, str], Balance] = field(default_factory=dict)
    scale: int = 1
    tiling: Tiling | None = None
    tiles: Indices = field(default_factory=lambda: np.empty(0, np.int64))
    grid_size: int = 0

    def method(self, name: str) -> str:
        """Return the method of a field."""
        return self.methods(name)

    def weights_of(self, method: str) -> str:
        """Return the method of the weights that a field with this method travels by."""
        return weights_of(method, self.is_flagging)


def weights_of(method: str, is_flagging: bool) -> str:
    """Return the weights of a method: where a cell that is covered in part takes what there is, normed ones."""
    if method in ("conservative", "largest_share"):
        return "conservative" if is_flagging else "conservative_normed"
    return method


class Planner:
    """Plans the grids of a run; the host's grid is made once.

    Parameters
    ----------
    section : RegridSection
    fields : Fields
    cells : Cells
        The host's cells of this rank.
    comm : mpi4py.MPI.Comm or None
    """

    def __init__(self, section: RegridSection, fields: Fields, cells: Cells, comm: MPI.Comm | None) -> None:
        self._section, self._fields, self._cells, self._comm = section, fields, cells, comm
        self._host: Grid | None = None
        self._has_host = False
        self._named = {fields[name].name: method for name, method in section.methods.items()}

    def method(self, name: str) -> str:
        """Return the method of a field: what the coupling file says, or what fits its nature."""
        entry = self._fields[name]
        if entry.name in self._named:
            return self._named[entry.name]
        return "largest_share" if entry.nature == "class" else METHOD_OF[entry.nature]

    def plan(
        self,
        name: str,
        grid: GridSection,
        inputs: Collection[str],
        outputs: Collection[str],
        tile: Tile | None,
        runs_here: bool = True,
        files: WeightFilesSection = NO_FILES,
    ) -> GridPlan:
        """Return the plan of an emulator; a collective call.

        Parameters
        ----------
        name : str
            The emulator.
        grid : GridSection
        inputs, outputs : collections of str
            Fields that travel to the emulator's grid and back.
        tile : Tile or None
        runs_here : bool
            Whether this rank calls the emulator, and so may get tiles.
        files : WeightFilesSection
            Weight files that are not to be made.

        Raises
        ------
        CouplerError
            What grids and weights raise, on every rank.
        """
        try:
            return self._plan(grid, inputs, outputs, tile, runs_here, files)
        except CouplerError as error:
            hint = ""
            if "corners" in str(error) and self._section.host_grid is None and self._cells.corner_lon is None:
                hint = (
                    " The host's cells have none: name their grid under 'regrid: host_grid:', or give set_cells the "
                    "corners."
                )
            raise CouplerError(error.status, f"the grid of the emulator '{name}': {error}{hint}") from error

    def _plan(
        self,
        description: GridSection,
        inputs: Collection[str],
        outputs: Collection[str],
        tile: Tile | None,
        runs_here: bool,
        files: WeightFilesSection,
    ) -> GridPlan:
        comm, cells = self._comm, self._cells
        host = self._host_grid()
        own = together(comm, partial(make_grid, description.described()) if rank_of(comm) == 0 else _nothing)
        scale = tile.scale if tile else 1
        fine = own if scale == 1 else together(comm, partial(_refined, own, scale))
        shape, periodic, over_poles = broadcast(comm, None if own is None else _topology(own))
        last = broadcast(comm, None if own is None else int(own.ids.max()))
        tiling = None
        if tile is not None:
            tiling = together(comm, partial(_tiling, shape, periodic, over_poles, tile))

        is_flagging = self._section.masked == "flag"
        towards = sorted({weights_of(self.method(name), is_flagging) for name in inputs})
        back = sorted({weights_of(self.method(name), is_flagging) for name in outputs})
        inward = self._weights(host, own, towards, files.inward, "inward")
        outward = self._weights(fine, host, back, files.outward, "outward")
        coarse = partial(_coarse, shape[-1], scale)
        ids = active_ids(cells.ids, list(inward.values()), list(outward.values()), coarse, last, comm)
        together(comm, partial(_check_any, sum(allgather(comm, ids.size))))
        tiles = np.empty(0, np.int64)
        if tiling is not None:
            ids, tiles = _spread(tiling, ids, runs_here, comm)
        plan_route = partial(
            Route.from_file,
            comm=comm,
            unowned="mask",
            least_share=1.0 if is_flagging else 0.0,
        )
        of_one = {method: is_flagging and method == "conservative" for method in (*towards, *back)}
        routes_in = {m: plan_route(path, cells.ids, ids, of_one=of_one[m]) for m, path in inward.items()}
        if tiling is None:
            unfed = ~np.logical_and.reduce([route.mapped for route in routes_in.values()], axis=0, initial=True)
            if any(allgather(comm, bool(unfed.any()))):  # links that are there, but too thin to count
                ids = ids[~unfed]
                routes_in = {m: plan_route(path, cells.ids, ids, of_one=of_one[m]) for m, path in inward.items()}
        sources = ids if scale == 1 else fine_ids(ids, shape, scale)
        routes_out = {
            m: plan_route(path, sources, cells.ids, of_one=of_one[m], skip_nan=True) for m, path in outward.items()
        }
        balances = {}
        for is_inward, paths, routes, ends in (
            (True, inward, routes_in, (cells.ids, ids)),
            (False, outward, routes_out, (sources, cells.ids)),
        ):
            for method in paths if self._section.check else ():
                if method.startswith("conservative"):
                    balances[is_inward, method] = Balance(paths[method], routes[method], *ends, comm)
        own_cells = cells_of(ids, own, comm)
        return GridPlan(
            own_cells, self.method, is_flagging, routes_in, routes_out, balances, scale, tiling, tiles, last
        )

    def _weights(
        self, src: Grid | None, dst: Grid | None, methods: Sequence[str], files: Mapping[str, Path], direction: str
    ) -> dict[str, Path]:
        """Return the weight files of some methods, the user's or made ones; a collective call."""
        section, is_flagging = self._section, self._section.masked == "flag"
        given = {weights_of(method, is_flagging): path for method, path in files.items()}
        if idle := [method for method in files if weights_of(method, is_flagging) not in methods]:
            raise CouplerError(
                Status.CONFIG,
                f"no field travels {direction} by '{idle[0]}', for which 'weights: {direction}:' names a file; fields "
                f"travel by {', '.join(methods)}.",
            )
        make = partial(
            weights_file, section.cache, src, dst, comm=self._comm, engine=section.engine, edges=section.edges
        )
        return {method: make(method, file=given.get(method)) for method in methods}

    def _host_grid(self) -> Grid | None:
        """Return the host's grid on rank 0, None elsewhere; a collective call."""
        if not self._has_host:
            section, cells, comm = self._section.host_grid, self._cells, self._comm
            if section is None:
                self._host = gather_grid(comm, cells.ids, cells.lon, cells.lat, cells.corner_lon, cells.corner_lat)
            else:
                self._host = together(comm, partial(make_grid, section.described()) if rank_of(comm) == 0 else _nothing)
                self._check_places(self._host)
            self._has_host = True
        return self._host

    def _check_places(self, grid: Grid | None) -> None:
        """Check that the host's cells are where the grid that it names has them; a collective call."""
        comm, cells = self._comm, self._cells
        last = broadcast(comm, None if grid is None else int(grid.ids.max()))
        together(comm, partial(_check_known, cells.ids, last))
        there = cells_of(cells.ids, grid, comm)
        together(comm, partial(_check_near, cells, there))


def _nothing() -> None:
    return None


def _refined(grid: Grid | None, scale: int) -> Grid | None:
    return None if grid is None else refined(grid, scale)


def _topology(grid: Grid) -> tuple[tuple[int, ...], bool, bool]:
    """Return the shape of a grid, whether it goes around the globe, and whether its rows reach from pole to pole."""
    edges = grid.lat_edges
    return grid.shape, grid.periodic, edges is not None and bool(np.all(np.abs(edges[[0, -1]]) > 90.0 - 1e-6))


def _tiling(shape: tuple[int, ...], periodic: bool, over_poles: bool, tile: Tile) -> Tiling:
    if len(shape) != 2:
        raise CouplerError(Status.CONFIG, "has no rows and columns, of which tiles could be cut.")
    return Tiling((shape[0], shape[1]), tile.size, tile.halo, periodic, tile.blend, over_poles)


def _spread(tiling: Tiling, active: Indices, runs_here: bool, comm: MPI.Comm | None) -> tuple[Indices, Indices]:
    """Return the cells that this rank looks after and the tiles that it runs; tiles without an active cell are not run.

    A tile costs what its pixels cost, wanted or not: the ranks that call the emulator get equal numbers of them, and
    the others none. The list of tiles is the one thing that every rank holds whole: a number for thousands of cells.
    """
    tiles = np.unique(np.concatenate(allgather(comm, tiling.tiles_of(active))))
    callers = np.flatnonzero(allgather(comm, runs_here))
    parts = dict(zip(callers.tolist(), np.array_split(tiles, callers.size), strict=True))
    mine = parts.get(rank_of(comm), tiles[:0])
    ids = deal_distinct(tiling.cells(mine).reshape(-1), tiling.grid[0] * tiling.grid[1], comm)
    return ids, mine


def _coarse(columns: int, scale: int, ids: Indices) -> Indices:
    """Return the cells in which cells of the grid lie that is `scale` times finer than one of so many columns."""
    if scale == 1:
        return ids
    y, x = np.divmod(ids - 1, columns * scale)
    return np.asarray((y // scale) * columns + x // scale + 1)


def fine_ids(ids: Indices, shape: tuple[int, ...], scale: int) -> Indices:
    """Return the cells of the finer grid in each of some cells, row by row, shape (n * scale * scale,)."""
    y, x = np.divmod(ids - 1, shape[1])
    parts = np.arange(scale)
    rows = (y[:, None] * scale + parts)[:, :, None]
    columns = (x[:, None] * scale + parts)[:, None, :]
    return np.asarray((rows * shape[1] * scale + columns + 1).reshape(-1))


def _check_any(n: int) -> None:
    if n == 0:
        raise CouplerError(
            Status.CELLS,
            "no cell of it gets all inputs from cells of the host and gives anything back; do both overlap?",
        )


def _check_known(ids: Indices, last: int) -> None:
    unknown = ids[ids > last]
    if unknown.size:
        raise CouplerError(
            Status.CELLS,
            f"the host has the cell {unknown[0]}, but the ids of 'regrid: host_grid:' end at {last}; name the grid "
            "whose ids the host's cells have.",
        )


def _check_near(cells: Cells, there: Cells) -> None:
    x, y = (np.deg2rad(cells.lon), np.deg2rad(there.lon)), (np.deg2rad(cells.lat), np.deg2rad(there.lat))
    cosine = np.sin(y[0]) * np.sin(y[1]) + np.cos(y[0]) * np.cos(y[1]) * np.cos(x[0] - x[1])
    far = np.flatnonzero(np.rad2deg(np.arccos(np.clip(cosine, -1.0, 1.0))) > _APART)
    if far.size:
        cell = far[0]
        raise CouplerError(
            Status.CELLS,
            f"the host has the cell {cells.ids[cell]} at {cells.lon[cell]:g} degrees east, {cells.lat[cell]:g} north, "
            f"but 'regrid: host_grid:' has it at {there.lon[cell]:g}, {there.lat[cell]:g} ({far.size} cells of this "
            "rank differ); ids count along rows, from the grid's first latitude and longitude.",
        )
