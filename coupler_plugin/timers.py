# SPDX-License-Identifier: Apache-2.0
"""Where the time of a run goes, by the parts of a step."""

from __future__ import annotations

from time import perf_counter
from typing import Final

#: the parts of a step that are timed; `step` is the whole
PHASES: Final = ("step", "accumulate", "import", "infer", "export", "history")


class Timers:
    """Seconds spent in each phase of the step, on this rank.

    Attributes
    ----------
    seconds : dict of str to float
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._begin = perf_counter()

    def add(self, phase: str, since: float) -> None:
        """Add the time since `since` to a phase."""
        self.seconds[phase] += perf_counter() - since

    def so_far(self) -> dict[str, float]:
        """Return the seconds of all phases, and those since the start of the run as `wall`."""
        return {**self.seconds, "wall": perf_counter() - self._begin}
