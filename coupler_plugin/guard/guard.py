# SPDX-License-Identifier: Apache-2.0
"""The guard of one emulator: looks at its inputs before a call and at its answers after it.

What it decides is left in `kept` (where the host's own value stays) and `weight` (how much of the answer is blended
in). The state of a cell whose inputs cannot be right, or whose answer or new state is not finite, stays as it was; all
other corrections are made to answers alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.cells import Cells, Values
from coupler_plugin.emulator.blocks import Blocks
from coupler_plugin.emulator.drawing import DrawnBlocks
from coupler_plugin.emulator.gather import Gathered
from coupler_plugin.emulator.manifest import Manifest
from coupler_plugin.emulator.tiles import Tiles
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.fields import Conversion
from coupler_plugin.guard.answers import Answers
from coupler_plugin.guard.band import Band, unlimited
from coupler_plugin.guard.budget import Closing
from coupler_plugin.guard.inputs import Inputs, Physical
from coupler_plugin.guard.plan import Plan
from coupler_plugin.guard.switch import Switch
from coupler_plugin.guard.tally import NONE, Tally


@dataclass(frozen=True)
class Surroundings:
    """What a guard compares with.

    Attributes
    ----------
    inputs, static : sequence of Physical
        What inputs can be at all, in the manifest's order.
    switch : Switch or None
        When and where answers are used; None: always and everywhere.
    budgets : sequence of Closing
    own : mapping of str to Conversion
        How values of the host's own come to canonical units, for the outputs of which it has some.
    spared : collection of str
        Outputs for which it needs none.
    """

    inputs: Sequence[Physical]
    static: Sequence[Physical]
    switch: Switch | None
    budgets: Sequence[Closing]
    own: Mapping[str, Conversion]
    spared: Collection[str] = ()


class Guard:
    """Guards the columns of one rank.

    Parameters
    ----------
    plan : Plan
    manifest : Manifest
    cells : Cells
    blocks : Blocks, Gathered or Tiles
    can_be_off : bool
        Whether the emulator is used for a period or in some cells only.

    Attributes
    ----------
    answers : float array, shape (n, O)
        What is handed on: the outputs of the blocks, or a float64 copy where budgets are closed in it. NaN where the
        host's own value stays.
    kept : bool array, shape (n, outputs)
        Where the host's own value stays.
    weight : float64 array, shape (n,)
        Share of the answer in what is handed on; the rest is the host's own value.
    is_mixed : bool
        Whether something is kept or blended.
    may_keep : bool
        Whether that can come to pass.
    relies_on_host : bool
        Whether the host must have a scheme of its own, which writes its arrays at every step.
    tally : Tally
    is_done : bool
        Whether the answers, and what was decided about them, are in force: those of a call that was stopped are not.
    """

    def __init__(
        self,
        plan: Plan,
        manifest: Manifest,
        cells: Cells,
        blocks: Blocks | DrawnBlocks | Gathered | Tiles,
        can_be_off: bool,
    ) -> None:
        self._plan = plan
        self._manifest = manifest
        self._cells = cells
        self._blocks = blocks
        self.answers: NDArray[Any] = blocks.outputs
        if manifest.budgets and plan.budget != "off":
            self.answers = np.zeros(blocks.outputs.shape)
        if plan.remembers:
            self.answers.fill(np.nan)
        previous = self.answers.copy() if plan.remembers else None
        self._previous = previous
        self._state = blocks.state.copy() if manifest.state and (plan.freezes or can_be_off) else None
        names = list(dict.fromkeys(entry.name for entry in (*manifest.inputs, *manifest.static)))
        self.tally = Tally(cells.n, names, [output.name for output in plan.outputs])
        self.kept = np.zeros((cells.n, len(plan.outputs)), bool)
        self.weight: Values = np.ones(cells.n)
        self.is_mixed = False
        self.may_keep = plan.may_keep or can_be_off
        self.relies_on_host = can_be_off or any(plan.needs_host(output) for output in plan.outputs)
        self._outputs = Answers(plan, manifest, cells, self.answers, previous, self.kept, self.tally)
        self._finite_state = unlimited(blocks.state) if manifest.state else None
        self._switch: Switch | None = None
        self._off: NDArray[np.bool_] | None = None
        #: whether a call has nothing to do as long as all lies within its limits
        self._is_plain = False
        #: whether that is so, and the call before had nothing to do either: two looks are then all
        self._is_calm = False
        self.is_done = True

    def connect(self, surroundings: Surroundings) -> None:
        """Say what to compare with; again after an array was bound anew.

        Raises
        ------
        CouplerError
            FIELD, when the host lacks a value that may have to stay; RUN, when a static input cannot be right.
        """
        self._switch = surroundings.switch
        bound = {*surroundings.own, *surroundings.spared}
        self._outputs.bound = bound
        self._outputs.budgets = surroundings.budgets
        for output in self._plan.outputs:
            if output.name not in bound and (self._switch or self._plan.needs_host(output)):
                raise CouplerError(
                    Status.FIELD,
                    f"the emulator '{self._manifest.name}' may have to leave '{output.name}' to the host, which has "
                    "bound no array for it; bind one with the host's own values, or do without 'fallback', 'blend', "
                    "'from', 'until' and 'where'.",
                )
        self._inputs = Inputs(self._plan, self._manifest, self._cells, self._blocks, surroundings.inputs, self.tally)
        self._inputs.look_at_static(self._blocks.static, surroundings.static, can_wait=self._switch is not None)
        self._answers_outside = self._outputs.band.count
        is_alone = self._previous is None and self._state is None and self._finite_state is None
        self._is_plain = is_alone and self._switch is None and not self._outputs.budgets and self._inputs.is_plain
        self._is_calm = False

    @property
    def allowed(self) -> Band:
        """What inputs may be for the guard to have nothing to do."""
        return self._inputs.band

    def before(self, begin: int, end: int, outside: int) -> None:
        """Look at the inputs of a window.

        Parameters
        ----------
        begin, end : int
            The window [microseconds since 0001-01-01].
        outside : int
            How many of the inputs are not `allowed`.

        Raises
        ------
        CouplerError
            RUN, when the plan is to stop.
        """
        if self._is_calm and not outside:
            self.is_done = False
            return
        self._is_calm = False
        if self._previous is not None and self.is_done:
            np.copyto(self._previous, self.answers)
            np.less(self.weight, 1.0, out=self._outputs.was_blended)
        if not self.tally.is_clean:
            self._forget()
            self.is_done = False
        if self._state is not None:
            np.copyto(self._state, self._blocks.state)
        if self._switch is not None:
            self._off = self._switch.off(begin, end, self._cells.n)
            self.kept[self._off] = True
            self.tally.mark("no_answer", self._off)
        self._inputs.look(self._off, outside)
        self.is_done = False

    def after(self, begin: int, end: int) -> None:
        """Look at the answers of a window.

        Raises
        ------
        CouplerError
            RUN, when the plan is to stop.
        """
        if self._is_calm and not self._answers_outside():
            self.is_done = True
            return
        self._is_calm = False
        if self.answers is not self._blocks.outputs:
            np.copyto(self.answers, self._blocks.outputs)
        if self._inputs.bad.size:
            self._answer_without_inputs()
        if self._inputs.unseen.size:
            self._answer_unseen()
        lost = NONE
        if self._finite_state is not None and (found := self._finite_state.outside()):
            lost = np.unique(found[0])
        self._outputs.correct(begin, end, lost)
        if self._state is not None:
            for rows in (lost, self._outputs.lost):
                self._blocks.state[rows] = self._state[rows]
        self._is_calm = self._is_plain and self.tally.is_clean
        if not self.tally.is_clean:
            self._clear_kept()
        self.is_done = True

    def rest(self) -> None:
        """Leave everything to the host, for a window in which the emulator does not run."""
        self._is_calm, self.is_done = False, True
        self._forget()
        self.kept.fill(True)
        self.tally.mark("no_answer", np.arange(self._cells.n))
        self._clear_kept()

    def recall(self) -> dict[str, NDArray[Any]]:
        """Return what a run has to go on from, arrays of shape (n, ...)."""
        is_kept = self.kept | (self.weight < 1.0)[:, np.newaxis] | (not self.is_done)
        memory: dict[str, NDArray[Any]] = {"flags": self.tally.flags, "counts": self.tally.counts}
        memory["kept"] = is_kept.astype(np.uint8)
        if self._plan.unseen == "blend":
            memory["weight"] = self.weight
        if self.answers is not self._blocks.outputs:
            memory["answers"] = self.answers
        return memory

    def restore(self, memory: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what was recalled; what an earlier configuration did not keep stays as it is."""
        targets: dict[str, NDArray[Any]] = {"flags": self.tally.flags, "counts": self.tally.counts}
        targets |= {"kept": self.kept, "weight": self.weight}
        if self.answers is not self._blocks.outputs:
            targets["answers"] = self.answers
        for name, target in targets.items():
            if name in memory and memory[name].shape == target.shape:
                np.copyto(target, memory[name], casting="unsafe")
        self._is_calm = self.tally.is_clean = False
        self.is_mixed = bool(self.kept.any() or (self.weight < 1.0).any())

    def _forget(self) -> None:
        """Begin a call after one in which something was done, or which ended in an error."""
        self.tally.clear()
        self.kept.fill(False)
        if self._plan.unseen == "blend":
            self.weight.fill(1.0)
        self.is_mixed = False

    def _answer_without_inputs(self) -> None:
        bad = self._inputs.bad
        if self._state is not None:
            self._blocks.state[bad] = self._state[bad]
        rows = bad if self._off is None else bad[~self._off[bad]]
        self.tally.mark("input", rows)
        act = self._outputs.hold if self._plan.input == "hold" else self._outputs.give_back
        for place in range(len(self._plan.outputs)):
            act(place, rows, "for which no input can be used")

    def _answer_unseen(self) -> None:
        rows = self._inputs.unseen
        self.tally.count("unseen", "all", rows)
        self.tally.mark("unseen", rows)
        if self._plan.unseen == "blend":
            self.weight[rows] = 1.0 - self._inputs.score[rows]
            rows = rows[self.weight[rows] <= 0.0]
            self.weight[rows] = 1.0
        if self._plan.unseen in ("blend", "fallback"):
            for place in range(len(self._plan.outputs)):
                self._outputs.give_back(place, rows, "for inputs outside the training data")

    def _clear_kept(self) -> None:
        """Forget answers that are not in force, so that no later call builds on them."""
        self.is_mixed = bool(self.kept.any()) or (self._plan.unseen == "blend" and bool(self._inputs.unseen.size))
        if self.is_mixed:
            for place, output in enumerate(self._plan.outputs):
                self.answers[self.kept[:, place], output.channels] = np.nan
