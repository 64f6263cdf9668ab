# SPDX-License-Identifier: Apache-2.0
"""What lies between binding and the first step: grids are planned, blocks are made, every field finds its other end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from coupler_plugin.accumulate import Accumulator
from coupler_plugin.cells import Cells, HostArray
from coupler_plugin.clock import Clock
from coupler_plugin.config import Config
from coupler_plugin.device_arrays import DeviceArray
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.emulator.device import wait_for
from coupler_plugin.emulator.gridded import GridEmulator, gridded
from coupler_plugin.emulator.planning import Planner
from coupler_plugin.emulator.ports import Reader
from coupler_plugin.exchange import Exchange
from coupler_plugin.fields import Conversion, Fields
from coupler_plugin.guard.surround import Surveyor
from coupler_plugin.output.writers import Writers
from coupler_plugin.parallel import allgather, rank_of, together
from coupler_plugin.windows import Window, Windows

if TYPE_CHECKING:
    from mpi4py import MPI

logger = logging.getLogger("coupler_plugin")


@dataclass(frozen=True)
class Scheduled:
    """An emulator, the window whose alarm it runs on, and the accumulators that average its answers."""

    emulator: ColumnEmulator
    window: Window
    samples: list[Accumulator]


@dataclass(frozen=True)
class Wiring:
    """Connects the emulators and the writers of a run to its fields."""

    config: Config
    fields: Fields
    clock: Clock
    cells: Cells
    exchange: Exchange
    windows: Windows
    emulators: Sequence[ColumnEmulator]
    writers: Writers
    comm: MPI.Comm | None

    def prepare(self) -> None:
        """Plan the grids of the emulators that have one of their own, and make the blocks of all; a collective call."""
        planner = Planner(self.config.regrid, self.fields, self.cells, self.comm)
        for grid_emulator in gridded(self.emulators):
            self._lay_out(grid_emulator, planner)
        for emulator in self.emulators:
            if isinstance(emulator, GridEmulator):
                emulator.prepare(self.cells)
            else:
                together(self.comm, partial(emulator.prepare, self.cells))
            if rank_of(self.comm) == 0:
                _warn_of_ranks(emulator)

    def fetch_static(self) -> None:
        """Bring the static fields of the host to the grids of emulators; a collective call."""
        for emulator in gridded(self.emulators):
            together(self.comm, partial(self._static_readers, emulator))
            emulator.own.fetch_static()

    def connect(self) -> tuple[list[Scheduled], list[Callable[[], None]]]:
        """Resolve where every input comes from and every output goes; again after an array was bound anew.

        Returns
        -------
        list of Scheduled
            The emulators in the order in which they run.
        list of callable
            What takes a sample of the host's arrays at every step.
        """
        exchange, windows, emulators = self.exchange, self.windows, self.emulators
        asked = self.writers.asks(emulators)
        asked |= {self.fields[name].name for emulator in emulators for name in emulator.asks}
        surveyor = Surveyor(self.fields, self.clock, self.cells, exchange, windows)
        for grid_emulator in gridded(emulators):
            grid_emulator.own.begin()
        for emulator in emulators:
            inputs = [exchange.reader(emulator, e, e.aggregate, windows) for e in emulator.manifest.inputs]
            static = self._static_readers(emulator)
            receivers = exchange.receivers(emulator, asked)
            emulator.connect(inputs, static, *receivers, surveyor.surround(emulator), surveyor.compare(emulator))
        self.writers.connect(exchange, emulators)
        return [self._schedule(emulator) for emulator in emulators], self._updates()

    def _lay_out(self, emulator: GridEmulator, planner: Planner) -> None:
        names = [*emulator.asks, *emulator.of_host(self.fields)]
        mine = {self.fields[name].name for name in names if self.exchange.travels(name, emulator)}
        inputs = set().union(*allgather(self.comm, mine))  # a rank that lacks one says so when it connects
        outputs = {entry.name for entry in emulator.manifest.outputs}
        tile, runs_here = emulator.manifest.tile, emulator.runs_here
        plan = planner.plan(emulator.name, emulator.grid, inputs, outputs, tile, runs_here, emulator.section.weights)
        emulator.lay_out(plan, self.cells)
        emulator.read_static(self.fields)

    def _static_readers(self, emulator: ColumnEmulator) -> list[tuple[Reader, Conversion]]:
        return [
            emulator.static_reader(entry, self.exchange.usual(entry))
            or self.exchange.reader(emulator, entry, "last", self.windows, is_static=True)
            for entry in emulator.manifest.static
        ]

    def _schedule(self, emulator: ColumnEmulator) -> Scheduled:
        window = self.windows[emulator.every]
        answers = self.exchange.samples(emulator, self.windows)
        return Scheduled(emulator, window, answers + self.writers.flags_of(emulator, but=window))

    def _updates(self) -> list[Callable[[], None]]:
        sampled = [
            accumulator
            for window in self.windows.values()
            if window.alarm.interval.micro != self.clock.dt  # a window of one step is read from the host as it is
            for accumulator in window.accumulators.values()
            if isinstance(accumulator.source, HostArray | DeviceArray) and accumulator.aggregate != "last"
        ]
        devices = {one.source.device for one in sampled if isinstance(one.source, DeviceArray)}
        return [one.update for one in sampled] + [partial(wait_for, device) for device in devices]


def _warn_of_ranks(emulator: ColumnEmulator) -> None:
    if emulator.block == "exact" or emulator.keeps_bits or emulator.file.is_seeded:
        return
    if emulator.draws:
        logger.warning(
            "the emulator '%s' draws other random numbers for a cell when its neighbours change: they will depend on "
            "the number of ranks. Let it take noise as an input.",
            emulator.name,
        )
    else:
        logger.warning(
            "the emulator '%s' gives a cell other last bits at another place of a block: they will depend on the "
            "number of ranks. Unset MKL_CBWR, or set it to AUTO.",
            emulator.name,
        )
