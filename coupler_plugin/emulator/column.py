# SPDX-License-Identifier: Apache-2.0
"""A column emulator in a run: imports the fields it asks for, runs, and exports its answers.

Everything that can be resolved before the first step is resolved in `prepare`: sources, units, buffers. A call then
only moves numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.cells import Cells, HostArray, Values
from coupler_plugin.config.emulators import BLOCK, EmulatorSection
from coupler_plugin.device_arrays import DeviceArray
from coupler_plugin.emulator.blocks import Blocks, failure
from coupler_plugin.emulator.drawing import DrawnBlocks, Draws
from coupler_plugin.emulator.gather import Gathered, Team
from coupler_plugin.emulator.load import EmulatorFile
from coupler_plugin.emulator.manifest import Manifest, Output, Variable
from coupler_plugin.emulator.ports import Exports, Imports, Reader
from coupler_plugin.emulator.tiles import Tiles
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.fields import Conversion
from coupler_plugin.guard.band import unlimited
from coupler_plugin.guard.guard import Guard, Surroundings
from coupler_plugin.guard.plan import resolve
from coupler_plugin.guard.shadow import Comparing
from coupler_plugin.guard.switch import Switch, parse_comparison
from coupler_plugin.timers import Timers


class ColumnEmulator:
    """An emulator of the run.

    Parameters
    ----------
    file : EmulatorFile
    section : EmulatorSection
        What the coupling file says about it.
    threads : int
        Threads of this rank that share its blocks.
    team : Team, optional
        The ranks whose leader runs it for all of them; None: each rank runs it by itself.

    Attributes
    ----------
    outputs : list of Output
        The outputs that are used.
    block : int or "exact"
        Rows of a column block.
    calls : int
        Calls made so far.
    seconds : float
        Spent in the module on this rank.
    section : EmulatorSection
    draws : Draws or None
        What seeds the random numbers of a module that draws some.
    is_shadow : bool
        Whether the answers are only compared with the host's own values.
    cells : Cells
        Where it runs, once prepared.
    guard : Guard
        Once prepared.
    comparing : sequence of Comparing
        What a shadow compares, once connected.
    """

    cells: Cells
    guard: Guard

    def __init__(
        self, file: EmulatorFile, section: EmulatorSection, threads: int = 1, team: Team | None = None
    ) -> None:
        self.file = file
        self.manifest: Manifest = file.manifest
        self.every = section.every or file.manifest.every
        self.calls = 0
        self.seconds = 0.0
        self.block = section.block
        self._check_block()
        self._threads = threads
        self.section = section
        self.is_shadow = section.mode == "shadow"
        is_drawn = file.draws and not file.is_seeded
        self.draws = Draws(section.seed, self.key, lambda: self.calls) if is_drawn else None
        self.plan = resolve(section.guard, self.guarded, section.block == "exact")
        self.comparing: Sequence[Comparing] = ()
        #: sums of the differences that a shadow found, by field
        self.differences: dict[str, Values] = {}
        self._team = team
        self._blocks: Blocks | DrawnBlocks | Gathered | Tiles | None = None
        self._gathered: Gathered | None = None
        self.outputs = self._used_outputs(section.outputs)

    @property
    def name(self) -> str:
        """The manifest's name."""
        return self.manifest.name

    @property
    def key(self) -> str:
        """What its memory is called in a restart: a shadow may be another version of an emulator of the same name."""
        return f"{self.name}@shadow" if self.is_shadow else self.name

    @property
    def can_run_beside(self) -> bool:
        """Whether its module may be called in another thread: it meets no other rank, and draws no numbers."""
        return self._team is None and self.draws is None

    @property
    def grid_name(self) -> str | None:
        """The description of a grid of its own."""
        return None

    @property
    def asks(self) -> list[str]:
        """The fields that it takes, and that its guard looks at."""
        names = [entry.name for entry in self.manifest.inputs]
        for budget in self.manifest.budgets:
            names += budget.at_most if isinstance(budget.at_most, dict) and self.plan.budget != "off" else ()
        return names + ([parse_comparison(self.section.where).field] if self.section.where else [])

    @property
    def n(self) -> int:
        """Cells of this rank that it runs on."""
        return self.cells.n if self._blocks else 0

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """Rows of each call of the module on this rank."""
        return self._blocks.sizes if self._blocks else ()

    @property
    def runs_here(self) -> bool:
        """Whether this rank calls the module, not only the leader of its team."""
        return self._team is None or self._team.is_leader

    @property
    def keeps_bits(self) -> bool:
        """Whether a column has the same bits wherever it runs, as far as this rank knows."""
        return self._blocks is None or self._blocks.keeps_bits

    @property
    def guarded(self) -> Manifest:
        """The manifest as the guard sees it: with the answers as they lie on the emulator's cells."""
        return self.manifest

    @property
    def answers(self) -> NDArray[Any]:
        """The answers on the host's cells, shape (n, O)."""
        return self.guard.answers

    def answers_of(self, place: int) -> NDArray[Any]:
        """Return the answers on the host's cells for the output at a place of the manifest, shape (n, size)."""
        return self.answers[:, self.plan.outputs[place].channels]

    @property
    def flags(self) -> NDArray[np.uint8]:
        """The flags of the answers on the host's cells, shape (n, outputs)."""
        return self.guard.tally.flags

    def on_cells(
        self, wanted: Variable, reader: Reader, conversion: Conversion, usual: float, is_static: bool
    ) -> Reader:
        """Return the reader of a field on the emulator's cells, from that on the host's: the same."""
        return reader

    def static_reader(self, entry: Variable, usual: float) -> tuple[Reader, Conversion] | None:
        """Return the reader of a static field that does not come from the host: there is none."""
        return None

    def _used_outputs(self, names: Sequence[str] | None) -> list[Output]:
        known = {entry.name: entry for entry in self.manifest.outputs}
        unknown = [name for name in names or () if name not in known]
        if unknown:
            raise CouplerError(
                Status.CONFIG,
                f"the emulator '{self.name}' has no output '{unknown[0]}'; its outputs are {', '.join(known)}.",
            )
        return [entry for entry in self.manifest.outputs if names is None or entry.name in names]

    def _check_block(self) -> None:
        if self.file.block not in (None, self.block):
            raise CouplerError(
                Status.CONFIG,
                f"'{self.file.path}' was compiled for blocks of {self.file.block}, not {self.block}; write 'block: "
                f"{self.file.block}', or compile it with '--block {BLOCK if self.block == 'exact' else self.block}'.",
            )

    def rehearse(self) -> None:
        """Call the module once, for a set-up without a host."""
        ColumnEmulator.prepare(self, Cells(np.array(1), np.array(0.0), np.array(0.0)))

    def prepare(self, cells: Cells) -> None:
        """Make the buffers and warm the module up for the columns of this rank."""
        self.cells = cells
        self._blocks = self._make_blocks()
        self.guard = Guard(self.plan, self.guarded, cells, self._blocks, self.section.can_be_off)

    def _make_blocks(self) -> Blocks | DrawnBlocks | Gathered | Tiles:
        if self.draws is not None:
            return DrawnBlocks(self.file, self.cells.ids, self.block, self.draws)
        if self._team is not None:
            self._gathered = Gathered(self.file, self.cells.n, self.block, self._threads, self._team)
            return self._gathered
        return Blocks(self.file, self.cells.n, self.block, self._threads)

    def connect(
        self,
        inputs: Sequence[tuple[Reader, Conversion]],
        static: Sequence[tuple[Reader, Conversion]],
        held: Mapping[str, tuple[Values, Conversion]],
        hosts: Mapping[str, tuple[HostArray | DeviceArray, Conversion]],
        surroundings: Surroundings,
        comparing: Sequence[Comparing] = (),
    ) -> None:
        """Say where inputs come from and where outputs go.

        Parameters
        ----------
        inputs, static
            Reader and conversion of each entry of the manifest, in its order.
        held
            Memory of the plugin, in canonical units, for each output that it keeps.
        hosts
            The host's array, in its units, for each output that it bound.
        surroundings
            What the guard compares with.
        comparing
            What a shadow compares.
        """
        assert self._blocks is not None
        used = {entry.name for entry in self.outputs}
        self._exports = Exports(self.manifest.outputs, used, self.answers, held, hosts, surroundings.own)
        constant = self._blocks.static
        Imports(self.manifest.static, static, constant, unlimited(constant)).run(0, 0)
        if isinstance(self._blocks, Blocks):
            self._blocks.send_static()
        self.guard.connect(surroundings)
        self._imports = Imports(self.manifest.inputs, inputs, self._blocks.inputs, self.guard.allowed)
        self._switch = surroundings.switch
        self.comparing = comparing

    def run(self, begin: int, end: int, timers: Timers) -> None:
        """Compute the answers for the window from `begin` to `end` and export them.

        Raises
        ------
        CouplerError
            RUN, when the module fails or the guard stops; the host's arrays are then untouched.
        """
        assert self._blocks is not None
        if self._switch is not None and self._rests(self._switch, begin, end):
            return
        began = perf_counter()
        try:
            outside = self._imports.run(begin, end)
            imported = perf_counter()
            self.guard.before(begin, end, outside)
        except Exception as error:
            if self._gathered is not None:  # the others wait for this rank's inputs
                self._gathered.withdraw(error)
            raise
        admitted = perf_counter()
        self._call()
        inferred = perf_counter()
        self.guard.after(begin, end)
        guarded = perf_counter()
        self._export()
        for comparing in self.comparing:
            comparing.run(begin, end, self.guard.kept)
        self.calls += 1
        self._account(timers, began, imported, admitted, inferred, guarded)

    def begin(self, begin: int, end: int) -> bool:
        """Do the first part of `run`, up to the call of the module; return False where it is not to be called."""
        if self._switch is not None and not self._is_due(self._switch, begin, end):
            return False
        self.guard.before(begin, end, self._imports.run(begin, end))
        return True

    def compute(self) -> None:
        """Call the module, in any thread."""
        since = perf_counter()
        self._call()
        self.seconds += perf_counter() - since

    def finish(self, begin: int, end: int) -> None:
        """Do what is left of `run` after the call of the module."""
        self.guard.after(begin, end)
        self._export()
        for comparing in self.comparing:
            comparing.run(begin, end, self.guard.kept)
        self.calls += 1

    def _account(
        self, timers: Timers, began: float, imported: float, admitted: float, inferred: float, guarded: float
    ) -> None:
        """Say where the time of a call that ends now has gone."""
        seconds = timers.seconds
        exported = perf_counter()
        seconds["exchange"] += imported - began + exported - guarded
        seconds["guard"] += admitted - imported + guarded - inferred
        waited = 0.0 if self._gathered is None else self._gathered.waited
        seconds["gather"] += waited
        seconds["infer"] += inferred - admitted - waited
        self.seconds += inferred - admitted - waited
        if timers.events is not None:
            timers.events += (
                (f"exchange {self.name}", began, imported),
                (f"guard {self.name}", imported, admitted),
                (f"{'infer' if self.runs_here else 'gather'} {self.name}", admitted, inferred),
                (f"guard {self.name}", inferred, guarded),
                (f"exchange {self.name}", guarded, exported),
            )

    def _call(self) -> None:
        assert self._blocks is not None
        try:
            self._blocks.run()
        except CouplerError:  # of another rank, too
            raise
        except Exception as error:  # torch.jit raises many kinds
            raise failure(self.name, error) from error

    def _rests(self, switch: Switch, begin: int, end: int) -> bool:
        """Return whether nothing is to be computed; all is then left to the host."""
        if self._is_due(switch, begin, end):
            return False
        self.guard.rest()
        self._export()
        return True

    def _is_due(self, switch: Switch, begin: int, end: int) -> bool:
        """Return whether the module is to be called.

        Before its period an emulator with a window or a state runs all the same, so that it has a past when it begins.
        """
        remembers = bool(self.manifest.window or self.manifest.state)
        return switch.covers(begin, end) or (remembers and end <= switch.last)

    def _export(self) -> None:
        if self.guard.is_mixed:
            self._exports.run_mixed(self.guard)
        else:
            self._exports.run()

    def interventions(self) -> Mapping[str, Mapping[str, int]]:
        """Return how often the guard intervened in this rank's cells, by kind and field."""
        return self.guard.tally.totals() if self._blocks else {}

    def on_grid(self) -> dict[str, Any]:
        """Return what the report says about a grid of its own: nothing."""
        return {}

    def recall(self) -> dict[str, NDArray[Any]]:
        """Return what the emulator remembers on the host's cells, arrays of shape (n, ...)."""
        assert self._blocks is not None
        memory: dict[str, NDArray[Any]] = {**(self._blocks.recall() if self.calls else {}), **self.guard.recall()}
        if self.guard.may_keep or not self.guard.is_done:
            # What the host's own value was when it stayed, or the answer before a stop, cannot be had again.
            memory |= {f"held.{export.place}": export.values for export in self._exports.held}
        return memory | {f"shadow.{comparing.name}": comparing.sums for comparing in self.comparing}

    def recall_own(self) -> dict[str, NDArray[Any]]:
        """Return what it remembers on cells of its own."""
        return {}

    def restore(self, memory: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what was recalled, and export the last answers again.

        A host with a scheme of its own has written this step's values into its arrays already: it keeps them.
        """
        assert self._blocks is not None
        self.guard.restore(memory)
        if self.calls:
            self._blocks.restore(memory)
            if not self.guard.relies_on_host:
                self._export()
        self._restore_held(memory)

    def _restore_held(self, memory: Mapping[str, NDArray[Any]]) -> None:
        held = [(f"held.{export.place}", export.values) for export in self._exports.held]
        for name, values in (*held, *((f"shadow.{comparing.name}", comparing.sums) for comparing in self.comparing)):
            if name in memory:
                np.copyto(values, memory[name])
