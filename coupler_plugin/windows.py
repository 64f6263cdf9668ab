# SPDX-License-Identifier: Apache-2.0
"""The intervals over which fields are accumulated: an alarm each, and all that begins anew when it has rung."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from coupler_plugin.accumulate import Accumulator, Source
from coupler_plugin.cells import HeldArray, Values
from coupler_plugin.clock import Alarm, Clock
from coupler_plugin.device_arrays import DeviceAccumulator, DeviceArray


@dataclass
class Window:
    """What shares an alarm: its accumulators begin anew together when it has rung."""

    alarm: Alarm
    #: by field, aggregate and origin: what the host holds is not what an emulator of the same field gave
    accumulators: dict[tuple[str, str, str], Accumulator] = field(default_factory=dict)

    def accumulator(self, name: str, aggregate: str, source: Source) -> Accumulator:
        """Return the one accumulator of a field in this window, reading `source` from now on."""
        key = (name, aggregate, "emulator" if isinstance(source, HeldArray) else "host")
        if key not in self.accumulators:
            if isinstance(source, DeviceArray):
                self.accumulators[key] = DeviceAccumulator(aggregate, source)
            else:
                self.accumulators[key] = Accumulator(aggregate, source)
        found = self.accumulators[key]
        found.source = source
        return found

    def recall(self) -> tuple[dict[str, Any], dict[str, Values]]:
        """Return when the window began, the samples of each accumulator, and what they hold."""
        counts = {".".join(key): found.count for key, found in self.accumulators.items()}
        held = {".".join(key): found.recall() for key, found in self.accumulators.items()}
        return {"begin": self.alarm.last, "counts": counts}, {k: v for k, v in held.items() if v is not None}

    def restore(self, facts: Mapping[str, Any], arrays: Mapping[str, Values]) -> None:
        """Go on with a window that was recalled."""
        self.alarm.last = facts["begin"]
        for key, accumulator in self.accumulators.items():
            if (name := ".".join(key)) in arrays:
                accumulator.restore(facts["counts"][name], arrays[name])

    def finish(self) -> None:
        """Begin the next window."""
        for accumulator in self.accumulators.values():
            accumulator.reset()
        self.alarm.reset()


class Windows(dict[str, Window]):
    """The windows of a run, by the text of their interval, which emulators and histories share.

    Parameters
    ----------
    clock : Clock
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def open(self, every: str) -> Window:
        """Return the window of an interval, made when it is first asked for.

        Raises
        ------
        CouplerError
            CONFIG, when the interval is no multiple of the host's step.
        """
        return self.setdefault(every, Window(Alarm(self._clock, every)))
