# SPDX-License-Identifier: Apache-2.0
"""Emulators beside the host: their networks run in a thread while the host does something else.

The thread sees memory of the plugin alone: inputs are taken before it begins, answers are handed on after it has ended,
both by the thread of the host. It makes no call of MPI.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coupler_plugin.config.emulators import EmulatorSection
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.emulator.file import EmulatorFile
from coupler_plugin.emulator.gather import Team
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.timers import Timers

_DONE: Future[None] = Future()
_DONE.set_result(None)


class Worker:
    """The thread of a coupler beside its host; there is none before something is to be done."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    def begin(self, work: Callable[[], None]) -> Future[None]:
        """Let work begin, after what was begun before it."""
        if self._pool is None:
            # a thread that torch has not seen would take over whatever number of threads the process has just then
            own = torch.get_num_threads()
            self._pool = ThreadPoolExecutor(1, "coupler_plugin", initializer=torch.set_num_threads, initargs=(own,))
        return self._pool.submit(np.errstate(all="ignore")(work))

    def end(self) -> None:
        """Wait for the thread and end it."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


class LaggedEmulator(ColumnEmulator):
    """An emulator whose answers arrive a step of the host late, and which runs beside that step.

    `run` takes its inputs, `launch` begins its call, and `arrive` hands the answers on, in the next step.
    """

    def __init__(
        self, file: EmulatorFile, section: EmulatorSection, threads: int = 1, team: Team | None = None
    ) -> None:
        super().__init__(file, section, threads, team)
        reason = None
        if self.is_shadow:
            reason = "a shadow compares answers with the host's of the same time"
        elif file.draws:
            reason = "random numbers that are drawn in a thread of their own could not be repeated"
        elif self.plan.budget != "off" and any(isinstance(one.at_most, dict) for one in self.manifest.budgets):
            reason = "its budgets compare answers with fields of the same time; write 'guard: {budget: off}'"
        if reason:
            raise CouplerError(Status.CONFIG, f"the emulator '{self.name}' cannot lag: {reason}.")
        #: the window of a call that is not begun yet, and how many of its inputs lie outside of what is allowed
        self._taken: tuple[int, int, int] | None = None
        #: the call whose answers have not arrived
        self._late: Future[None] | None = None
        self._has_arrived = False
        self._in_force: dict[str, NDArray[Any]] = {}

    @property
    def can_run_beside(self) -> bool:
        """Whether it runs beside this step: it runs beside the next."""
        return False

    def run(self, begin: int, end: int, timers: Timers) -> None:
        """Take the inputs of the window from `begin` to `end`."""
        since = perf_counter()
        self._taken = begin, end, self._imports.run(begin, end)
        timers.add("exchange", since)

    @property
    def is_late(self) -> bool:
        """Whether answers have not arrived."""
        return self._late is not None

    def launch(self, worker: Worker, timers: Timers) -> None:
        """Begin the call whose inputs were taken, if there is one.

        Raises
        ------
        CouplerError
            RUN, when the guard stops.
        """
        if self._taken is None:
            return
        (begin, end, outside), self._taken = self._taken, None
        since = perf_counter()
        self._keep_in_force()
        if self._switch is not None and not self._is_due(self._switch, begin, end):
            self.guard.rest()
            self._late = _DONE
            return
        self.guard.before(begin, end, outside)
        timers.add("guard", since)
        self.calls += 1
        self._late = worker.begin(lambda: self._compute(begin, end))

    def arrive(self, timers: Timers) -> None:
        """Hand the answers on that are late.

        Raises
        ------
        CouplerError
            RUN, when the module failed or the guard stopped; the host's arrays are then untouched.
        """
        assert self._late is not None
        late, self._late = self._late, None
        since = perf_counter()
        late.result()
        timers.add("infer", since)
        since = perf_counter()
        self._export()
        self._has_arrived = True
        timers.add("exchange", since)

    def wait(self) -> None:
        """Wait until the thread is done with this emulator.

        Raises
        ------
        CouplerError
            RUN, as `arrive` will.
        """
        if self._late is not None:
            self._late.result()

    def recall(self) -> dict[str, NDArray[Any]]:
        """Return what the emulator remembers, with the answers in force while others are late."""
        self.wait()
        memory = super().recall()
        if self._late is not None:
            memory["late"] = np.ones(self.n, np.uint8)
            # They are not blended yet: that is done with the host's values of the step in which they arrive.
            memory |= {"kept": self.guard.kept.astype(np.uint8), "weight": self.guard.weight}
            if self._has_arrived:
                memory |= {f"in_force.{name}": values for name, values in self._in_force.items()}
        return memory

    def restore(self, memory: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what was recalled: the answers in force are exported again, those that are late arrive next."""
        if "late" not in memory:
            super().restore(memory)
            self._has_arrived = bool(self.calls)
            return
        assert self._blocks is not None
        self.guard.restore(memory)
        if self.calls:
            self._blocks.restore(memory)
        self._has_arrived = "in_force.answers" in memory
        if self._has_arrived:
            self._keep_in_force()
            late, self._in_force = self._in_force, {name: memory[f"in_force.{name}"] for name in self._in_force}
            if not self.guard.relies_on_host:
                self._put(self._in_force)
                self._export()
                self._put(late)
        self._restore_held(memory)
        self._late = _DONE

    def _compute(self, begin: int, end: int) -> None:
        """Do what the thread does."""
        since = perf_counter()
        self._call()
        self.seconds += perf_counter() - since
        self.guard.after(begin, end)

    def _keep_in_force(self) -> None:
        """Copy the answers in force, whose memory the next ones take."""
        guard = self.guard
        now = {"answers": guard.answers, "kept": guard.kept.view(np.uint8), "weight": guard.weight}
        if not self._in_force:
            self._in_force = {name: np.empty_like(values) for name, values in now.items()}
        for name, values in now.items():
            np.copyto(self._in_force[name], values)

    def _put(self, answers: Mapping[str, NDArray[Any]]) -> None:
        guard = self.guard
        np.copyto(guard.answers, answers["answers"])
        np.copyto(guard.kept, answers["kept"], casting="unsafe")
        np.copyto(guard.weight, answers["weight"])
        guard.is_mixed = bool(guard.kept.any() or (guard.weight < 1.0).any())
