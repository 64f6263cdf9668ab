# SPDX-License-Identifier: Apache-2.0
"""Signals that ask a run to end: noted, so that the step is finished and a restart written before it does."""

from __future__ import annotations

import signal
from typing import Final

#: Ctrl-C, and what batch systems send before the time is up; mpirun hands the second on to its processes
SIGNALS: Final = (signal.SIGINT, signal.SIGUSR1)


class Interrupt:
    """Notes the signals while it is entered.

    Attributes
    ----------
    came : bool
        Whether one has come.
    """

    def __enter__(self) -> Interrupt:
        self.came = False
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.came = True
