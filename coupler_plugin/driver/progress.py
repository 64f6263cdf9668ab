# SPDX-License-Identifier: Apache-2.0
"""A line on standard error: share done, date, simulated years per day, time left."""

from __future__ import annotations

import math
from time import perf_counter
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from coupler_plugin.clock import Clock

#: seconds between two looks of the line: a step must not pay for more than a person can read
_EVERY: Final = 0.5
_YEAR: Final = 365.25 * 86_400e6  # microseconds


class ProgressLine:
    """Shows how far a run is.

    Parameters
    ----------
    clock : Clock
    end : int
        End of the run [microseconds since 0001-01-01].
    shows : bool
        Whether this rank is the one that shows it.
    """

    def __init__(self, clock: Clock, end: int, shows: bool) -> None:
        self._clock = clock
        self._shows = shows
        self._first = clock.now
        self._began = perf_counter()
        console = Console(stderr=True)
        # Where nobody looks, such as in the log of a batch job, the line is only written at the end.
        self._next = 0.0 if console.is_terminal else math.inf
        self._bar = Progress(
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[date]}  {task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            auto_refresh=False,  # by a thread, which would take time from the steps
            disable=not shows,
        )
        self._task = self._bar.add_task("", total=float(end - clock.now), date="", rate="")

    def __enter__(self) -> ProgressLine:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._shows:
            self._update()
        self._bar.stop()

    def show(self) -> None:
        """Show the time that the run has come to, if it is time to."""
        if self._shows and perf_counter() >= self._next:
            self._update()
            self._next = perf_counter() + _EVERY

    def _update(self) -> None:
        done = self._clock.now - self._first
        rate = done / _YEAR / (perf_counter() - self._began) * 86_400
        date = self._clock.stamp(self._clock.now)[:10]
        self._bar.update(self._task, completed=done, date=date, rate=f"{rate:,.0f} simulated years per day")
        self._bar.refresh()
