# SPDX-License-Identifier: Apache-2.0
"""Where the time of a run goes, by the parts of a step, and the timeline of one step."""

from __future__ import annotations

from time import perf_counter, time
from typing import Final

#: the parts of a run that are timed; `step` holds all but `read`, which is the offline driver's forcing
PHASES: Final = ("step", "read", "accumulate", "exchange", "regrid", "infer", "gather", "guard", "write", "wait")

#: what, begin and end [s, of perf_counter]
Event = tuple[str, float, float]


class Timers:
    """Seconds spent in each phase of the step, on this rank.

    Attributes
    ----------
    seconds : dict of str to float
    events : list of Event, or None
        What happened in the newest step in which an alarm rang; None: nobody asked.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.events: list[Event] | None = None
        self._begin = perf_counter()

    def add(self, phase: str, since: float) -> None:
        """Add the time since `since` to a phase."""
        now = perf_counter()
        self.seconds[phase] += now - since
        if self.events is not None:
            self.events.append((phase, since, now))

    def so_far(self) -> dict[str, float]:
        """Return the seconds of all phases, and those since the start of the run as `wall`."""
        return {**self.seconds, "wall": perf_counter() - self._begin}

    def timeline(self) -> list[Event]:
        """Return the events in seconds since 1970, which the ranks of several nodes share."""
        shift = time() - perf_counter()
        return [(what, begin + shift, end + shift) for what, begin, end in self.events or ()]
