# SPDX-License-Identifier: Apache-2.0
"""An emulator that runs on a grid of its own: fields are carried to it before a call, and its answers back after it.

The module and its guard see the emulator's cells; exports, shadows and flags see the host's. A call is cut where ranks
meet, so that an error of one of them is known to all before they wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from coupler_plugin.cells import Cells
from coupler_plugin.config import EmulatorSection
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.emulator.load import EmulatorFile
from coupler_plugin.emulator.manifest import Input, Manifest, Variable
from coupler_plugin.emulator.own_grid import OwnGrid
from coupler_plugin.emulator.planning import GridPlan
from coupler_plugin.emulator.ports import Reader
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.fields import Conversion
from coupler_plugin.parallel import allgather, together
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

    Attributes
    ----------
    own : OwnGrid
        Once laid out.
    """

    own: OwnGrid

    def __init__(self, file: EmulatorFile, section: EmulatorSection, grid: GridSection, comm: MPI.Comm | None) -> None:
        super().__init__(file, section)
        self.grid: GridSection = grid
        self._comm = comm

    @property
    def grid_name(self) -> str | None:
        """The description of its grid."""
        return self.grid.name

    def rehearse(self) -> None:
        """Make the grid, and call the module once."""
        make_grid(self.grid.described())
        super().rehearse()

    def lay_out(self, plan: GridPlan, host: Cells) -> None:
        """Take up the cells that were planned, before `prepare`."""
        self.own = OwnGrid(plan, host.n, self.manifest.outputs)

    def prepare(self, cells: Cells) -> None:
        """Make the buffers and warm the module up for the emulator's cells of this rank."""
        super().prepare(self.own.cells)

    def on_cells(self, wanted: Variable, reader: Reader, conversion: Conversion, is_static: bool) -> Reader:
        """Return the reader of a field on the emulator's cells, from that on the host's."""
        fill = (_usual(wanted) - conversion.offset) / conversion.scale
        return self.own.carried(wanted.name, wanted.size, reader, fill, is_static)

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
        began = perf_counter()
        self.own.fetch(begin, end)
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
        self._export()
        for comparing in self.comparing:
            comparing.run(begin, end, self.own.kept)
        self.calls += 1
        self._account(timers, began, imported, admitted, inferred, guarded)

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
        weight = self.guard.weight if self.plan.unseen == "blend" else None
        self.own.deliver(self.guard.answers, self.guard.tally.flags, weight)
        self._hand_on()

    def _hand_on(self) -> None:
        if self.own.is_mixed:
            self._exports.run_mixed(self.own)
        else:
            self._exports.run()

    def _together(self, work: Callable[[], None]) -> None:
        together(self._comm, work)


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


def _usual(wanted: Variable) -> float:
    """Return the value of cells that get none: usual in the training data, or else possible."""
    if isinstance(wanted, Input) and wanted.statistics is not None:
        return wanted.statistics.mean
    return 0.5 * sum(wanted.valid_range) if wanted.valid_range is not None else 0.0
