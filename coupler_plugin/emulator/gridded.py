# SPDX-License-Identifier: Apache-2.0
"""An emulator that runs on a grid of its own: fields are carried to it before a call, and its answers back after it.

The module and its guard see the emulator's cells; exports, shadows and flags see the host's. A call is cut where ranks
meet, so that an error of one of them is known to all before they wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from coupler_plugin.cells import Cells, Values
from coupler_plugin.config.emulators import EmulatorSection
from coupler_plugin.emulator.blocks import Blocks
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.emulator.drawing import DrawnBlocks
from coupler_plugin.emulator.gather import Gathered, Team
from coupler_plugin.emulator.load import EmulatorFile
from coupler_plugin.emulator.manifest import Manifest, Variable
from coupler_plugin.emulator.own_grid import OwnGrid
from coupler_plugin.emulator.planning import GridPlan
from coupler_plugin.emulator.ports import Reader
from coupler_plugin.emulator.static_file import names_in, read_static
from coupler_plugin.emulator.tiles import Tiles, try_tiles
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.fields import Conversion, Fields
from coupler_plugin.parallel import allgather, never_alone, together
from coupler_plugin.regrid import make_grid
from coupler_plugin.regrid.section import GridSection
from coupler_plugin.timers import Timers

if TYPE_CHECKING:
    from mpi4py import MPI


class GridEmulator(ColumnEmulator):
    """An emulator of the run that has a grid of its own.

    Parameters
    ----------
    file : EmulatorFile
    section : EmulatorSection
    grid : GridSection
    comm : mpi4py.MPI.Comm or None
    team : Team, optional
        The ranks whose leader runs it for all of them.

    Attributes
    ----------
    own : OwnGrid
        Once laid out.
    """

    own: OwnGrid

    def __init__(
        self,
        file: EmulatorFile,
        section: EmulatorSection,
        grid: GridSection,
        comm: MPI.Comm | None,
        team: Team | None = None,
    ) -> None:
        super().__init__(file, section, team=team)
        self.grid: GridSection = grid
        self._comm = comm
        self._tiles: Tiles | None = None
        #: static fields of a file: values on the emulator's cells, and how they come to the emulator's units
        self.from_file: Mapping[str, tuple[Values, Conversion]] = {}

    @property
    def grid_name(self) -> str | None:
        """The description of its grid."""
        return self.grid.name

    def rehearse(self) -> None:
        """Make the grid, and call the module once."""
        make_grid(self.grid.described())
        if self.manifest.tile is None:
            super().rehearse()
        else:
            try_tiles(self.file, 1)

    @property
    def guarded(self) -> Manifest:
        """The manifest as the guard sees it: an answer on a finer grid is several numbers in a cell."""
        tile = self.manifest.tile
        if tile is None or tile.scale == 1:
            return self.manifest
        outputs = [entry.model_copy(update={"size": entry.size * tile.scale**2}) for entry in self.manifest.outputs]
        return self.manifest.model_copy(update={"outputs": outputs})

    def _make_blocks(self) -> Blocks | DrawnBlocks | Gathered | Tiles:
        return super()._make_blocks() if self._tiles is None else self._tiles

    def lay_out(self, plan: GridPlan, host: Cells) -> None:
        """Take up the cells that were planned, before `prepare`."""
        self._grid_plan = plan
        self.own = OwnGrid(plan, host.n, self.manifest.outputs)

    def prepare(self, cells: Cells) -> None:
        """Make the buffers and warm the module up for the emulator's cells of this rank; a collective call."""
        if self.manifest.tile is not None:  # plans routes, and meets the other ranks by itself
            self._tiles = Tiles(self.file, self._grid_plan, self.block, self._comm, self.draws)
        self._together(partial(super().prepare, self.own.cells))

    def of_host(self, fields: Fields) -> list[str]:
        """Return the static fields that its file does not have; a collective call."""
        static, path = self.manifest.static, self.section.static
        there = names_in(path, static, fields, self._comm) if path is not None else set()
        return [entry.name for entry in static if entry.name not in there]

    def read_static(self, fields: Fields) -> None:
        """Read the static fields that a file has on the emulator's grid; a collective call, once laid out."""
        path = self.section.static
        if path is not None:
            size, ids = self._grid_plan.grid_size, self._grid_plan.cells.ids
            self.from_file = read_static(path, self.manifest.static, fields, size, ids, self._comm)

    def static_reader(self, entry: Variable, usual: float) -> tuple[Reader, Conversion] | None:
        """Return the reader of a static field from the file; None where the file has none."""
        if entry.name not in self.from_file:
            return None
        values, conversion = self.from_file[entry.name]
        fill = (usual - conversion.offset) / conversion.scale
        return partial(_hand_over, np.where(np.isnan(values), fill, values)), conversion

    def on_cells(
        self, wanted: Variable, reader: Reader, conversion: Conversion, usual: float, is_static: bool
    ) -> Reader:
        """Return the reader of a field on the emulator's cells, from that on the host's.

        Parameters
        ----------
        wanted : Variable
        reader : callable
        conversion : Conversion
            To the emulator's units.
        usual : float
            The value of cells that get none, in the emulator's units.
        is_static : bool
        """
        fill = (usual - conversion.offset) / conversion.scale
        return self.own.carried(wanted.name, wanted.size, reader, fill, is_static)

    @property
    def can_run_beside(self) -> bool:
        """Whether its module may be called in another thread: it may not, since a call meets other ranks."""
        return False

    @property
    def answers(self) -> NDArray[Any]:
        """The answers on the host's cells, shape (n, O)."""
        return self.own.answers

    def answers_of(self, place: int) -> NDArray[Any]:
        """Return the answers on the host's cells for the output at a place of the manifest, shape (n, size)."""
        return self.own.answers[:, self.own.channels[place]]

    @property
    def flags(self) -> NDArray[np.uint8]:
        """The flags of the answers on the host's cells, shape (n, outputs)."""
        return self.own.flags

    def run(self, begin: int, end: int, timers: Timers) -> None:
        """Compute the answers for the window from `begin` to `end` and export them; a collective call."""
        assert self._blocks is not None
        with never_alone(self._comm, f"in a call of the emulator '{self.name}'"):
            arrived = perf_counter()
            self.own.fetch(begin, end)
            began = perf_counter()
            timers.seconds["regrid"] += began - arrived
            if self._switch is not None and self._rests(self._switch, begin, end):
                return
            outside = self._imports.run(begin, end)
            imported = perf_counter()
            self._together(partial(self.guard.before, begin, end, outside))
            admitted = perf_counter()
            self._together(self._call)
            inferred = perf_counter()
            self._together(partial(self.guard.after, begin, end))
            guarded = perf_counter()
            self._deliver()
        delivered = perf_counter()
        self._hand_on()
        for comparing in self.comparing:
            comparing.run(begin, end, self.own.kept)
        self.calls += 1
        self._account(timers, began, imported, admitted, inferred, guarded)
        timers.seconds["regrid"] += delivered - guarded
        timers.seconds["exchange"] -= delivered - guarded

    def on_grid(self) -> dict[str, Any]:
        """Return what the report says about its grid; a collective call."""
        if not hasattr(self, "own"):  # the run ended before its first step
            return {}
        found = {
            "description": self.grid.name,
            "cells": sum(allgather(self._comm, self.cells.n)),
            "unmapped": self.own.unmapped,
        }
        return {"grid": found | ({"imbalance": self.own.imbalance} if self.own.imbalance else {})}

    def recall(self) -> dict[str, NDArray[Any]]:
        """Return what the emulator remembers on the host's cells, arrays of shape (n, ...)."""
        memory = self.own.recall() if self.calls else {}
        memory |= {f"held.{export.place}": export.values for export in self._exports.held}
        return memory | {f"shadow.{comparing.name}": comparing.sums for comparing in self.comparing}

    def recall_own(self) -> dict[str, NDArray[Any]]:
        """Return what it remembers on its own cells, arrays of shape (n, ...)."""
        assert self._blocks is not None
        return {**(self._blocks.recall() if self.calls else {}), **self.guard.recall()}

    def restore(self, memory: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what was recalled on both, and export the last answers again."""
        assert self._blocks is not None
        self.guard.restore(memory)
        if self.calls:
            self._blocks.restore(memory)
            self.own.restore(memory)
            if not self.guard.relies_on_host:
                self._hand_on()
        self._restore_held(memory)

    def _export(self) -> None:
        self._deliver()
        self._hand_on()

    def _deliver(self) -> None:
        weight = self.guard.weight if self.plan.unseen == "blend" else None
        self.own.deliver(self.guard.answers, self.guard.tally.flags, weight)

    def _hand_on(self) -> None:
        if self.own.is_mixed:
            self._exports.run_mixed(self.own)
        else:
            self._exports.run()

    def _together(self, work: Callable[[], None]) -> None:
        together(self._comm, work)


def _hand_over(known: Values, values: Values, begin: int, end: int) -> None:
    np.copyto(values, known)


def gridded(emulators: Sequence[ColumnEmulator]) -> list[GridEmulator]:
    """Return those of the emulators of a run that have a grid of their own."""
    return [emulator for emulator in emulators if isinstance(emulator, GridEmulator)]


def grid_of(manifest: Manifest) -> GridSection | None:
    """Return the grid that an emulator was made for.

    Raises
    ------
    CouplerError
        MODEL, when the manifest does not describe one.
    """
    if manifest.grid is None:
        return None
    try:
        return GridSection.model_validate(manifest.grid)
    except ValidationError as error:
        raise CouplerError(
            Status.MODEL, f"the grid in the manifest of '{manifest.name}' is none: {error.errors()[0]['msg']}."
        ) from error
