# SPDX-License-Identifier: Apache-2.0
"""When the emulators of a run are called: at once, beside the host until the end of its step, or a step late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar

import torch

from coupler_plugin.clock import Clock
from coupler_plugin.emulator.beside import LaggedEmulator, Worker
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.errors import CouplerError
from coupler_plugin.parallel import together
from coupler_plugin.timers import Timers
from coupler_plugin.wiring import Scheduled

if TYPE_CHECKING:
    from mpi4py import MPI


class Calls:
    """Calls emulators, all ranks together: a rank that failed alone would leave the others waiting.

    Parameters
    ----------
    emulators : sequence of ColumnEmulator
    clock : Clock
    timers : Timers
    threads : int
        Of torch, for these emulators.
    comm : mpi4py.MPI.Comm, optional

    Attributes
    ----------
    lagged : list of LaggedEmulator
        Those whose answers arrive a step late.
    """

    #: threads that torch has now, set by the coupler that needed them last
    _threads_now: ClassVar[int] = 0

    def __init__(
        self, emulators: Sequence[ColumnEmulator], clock: Clock, timers: Timers, threads: int, comm: MPI.Comm | None
    ) -> None:
        self.lagged = [emulator for emulator in emulators if isinstance(emulator, LaggedEmulator)]
        self._clock, self._timers, self._threads, self._comm = clock, timers, threads, comm
        self._worker = Worker()
        #: the emulator that runs beside the host, and its call
        self._ahead: tuple[ColumnEmulator, Future[None]] | None = None

    @staticmethod
    def take_threads(threads: int) -> None:
        """Give torch the threads of a coupler; the number is the process's, and another coupler may have its own."""
        torch.set_num_threads(threads)
        Calls._threads_now = threads

    def settle(self) -> None:
        """Give torch the threads of these emulators, where another coupler came between."""
        if Calls._threads_now != self._threads:
            self.take_threads(self._threads)

    def run(self, scheduled: Scheduled) -> None:
        """Call an emulator whose alarm rings, or finish the call that runs beside the host.

        Raises
        ------
        CouplerError
            of the emulator, with the time; RanksAwayError where ranks are at different calls.
        """
        emulator = scheduled.emulator
        try:
            begin, end = scheduled.window.alarm.last, self._clock.now
            if self._ahead is not None and self._ahead[0] is emulator:
                together(self._comm, partial(self._finish, *self._ahead, begin, end))
            elif self._comm is None:
                emulator.run(begin, end, self._timers)
            else:
                done = together(self._comm, lambda: self._run_here(emulator, begin, end))
                self._timers.add("wait", done)
        except CouplerError as error:
            raise self._dated(error) from error
        if emulator not in self.lagged:
            for accumulator in scheduled.samples:
                accumulator.update()

    def launch(self) -> None:
        """Let the emulators that lag begin what they have taken the inputs for."""
        for emulator in self.lagged:
            together(self._comm, partial(emulator.launch, self._worker, self._timers))

    def arrive(self, schedule: Sequence[Scheduled]) -> None:
        """Hand on the answers that are late."""
        for scheduled in schedule:
            emulator = scheduled.emulator
            if isinstance(emulator, LaggedEmulator) and emulator.is_late:
                with self._dating():
                    together(self._comm, partial(emulator.arrive, self._timers))
                for accumulator in scheduled.samples:
                    accumulator.update()

    def run_ahead(self, scheduled: Scheduled) -> None:
        """Take the inputs of an emulator and let it run beside the host, until `run` finishes it."""
        emulator, begin, end = scheduled.emulator, scheduled.window.alarm.last, self._clock.now
        self.settle()
        with self._dating(), torch.inference_mode():
            if together(self._comm, lambda: emulator.begin(begin, end)):
                self._ahead = emulator, self._worker.begin(emulator.compute)

    def forget(self) -> None:
        """Forget what ran beside the host: it is finished, or its step has failed."""
        self._ahead = None

    def end(self) -> None:
        """Wait for the thread beside the host and end it."""
        self._worker.end()

    def _run_here(self, emulator: ColumnEmulator, begin: int, end: int) -> float:
        """Run an emulator and return when this rank was done; from then on it waits for the others."""
        emulator.run(begin, end, self._timers)
        return perf_counter()

    def _finish(self, emulator: ColumnEmulator, call: Future[None], begin: int, end: int) -> None:
        since = perf_counter()
        call.result()
        self._timers.add("infer", since)
        emulator.finish(begin, end)

    @contextmanager
    def _dating(self) -> Iterator[None]:
        try:
            yield
        except CouplerError as error:
            raise self._dated(error) from error

    def _dated(self, error: CouplerError) -> CouplerError:
        """Return an error of an emulator with the time of the run in front."""
        return type(error)(error.status, f"at {self._clock.date(self._clock.now)}: {error}")
