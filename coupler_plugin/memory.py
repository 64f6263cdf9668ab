# SPDX-License-Identifier: Apache-2.0
"""What a coupler remembers between two runs, and whether a restart fits the run that reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from coupler_plugin.clock import Clock
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.exchange import Window
from coupler_plugin.restart import Memory

#: facts that must be the same in a restart and in the run that reads it: key -> what it is, and how it may be accepted
_MUST_FIT: Final = {
    "sha256": ("emulator file (hash)", "model"),
    "block": ("block size", "block"),
    "every": ("time step", None),
    "grid": ("grid", None),
}


def recall(clock: Clock, emulators: Sequence[ColumnEmulator], windows: Mapping[str, Window]) -> Memory:
    """Return what the next run needs to go on from here."""
    facts: dict[str, Any] = {"calendar": clock.calendar, "time": clock.now, "emulators": {}, "windows": {}}
    arrays: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for emulator in emulators:
        facts["emulators"][emulator.key] = {**_identity(emulator), "calls": emulator.calls}
        arrays |= {f"{emulator.key}.{key}": array for key, array in emulator.recall().items()}
        own = emulator.recall_own()
        arrays |= {f"{emulator.key}.{key}": array for key, array in own.items()}
        owners |= {f"{emulator.key}.{key}": emulator.key for key in own}
    for every, window in windows.items():
        facts["windows"][every], held = window.recall()
        arrays |= {f"{every}.{key}": array for key, array in held.items()}
    return Memory(facts, arrays, owners)


def restore(memory: Memory, emulators: Sequence[ColumnEmulator], windows: Mapping[str, Window]) -> None:
    """Go on from what was recalled, once everything is connected."""
    for emulator in emulators:
        emulator.restore(_below(emulator.key, memory))
    for every, window in windows.items():
        if every in memory.facts["windows"]:
            window.restore(memory.facts["windows"][every], _below(every, memory))


def _identity(emulator: ColumnEmulator) -> dict[str, Any]:
    return {
        "sha256": emulator.file.sha256,
        "block": emulator.block,
        "every": emulator.every,
        "grid": emulator.grid_name,
    }


def _below(prefix: str, memory: Memory) -> dict[str, Any]:
    return {
        key.removeprefix(f"{prefix}."): array for key, array in memory.arrays.items() if key.startswith(f"{prefix}.")
    }


def check_fit(
    facts: Mapping[str, Any], clock: Clock, emulators: Sequence[ColumnEmulator], accept: Sequence[str]
) -> None:
    """Check that a restart belongs to this run, and tell its emulators how often they were called before.

    Parameters
    ----------
    accept : sequence of str
        Differences that are meant: ``model``, ``block``.

    Raises
    ------
    CouplerError
        CONFIG, with the difference.
    """
    _same("the calendar", facts["calendar"], clock.calendar)
    _same("the time", facts["time"], clock.now)
    _same("the list of emulators", sorted(facts["emulators"]), sorted(emulator.key for emulator in emulators))
    for emulator in emulators:
        for key, (what, name) in _MUST_FIT.items():
            if name not in accept:
                hint = f", or write 'accept: [{name}]' under 'restart:' if the difference is meant" if name else ""
                before, now = facts["emulators"][emulator.key].get(key), _identity(emulator)[key]
                _same(f"the {what} of the emulator '{emulator.name}'", before, now, hint)
        emulator.calls = facts["emulators"][emulator.key]["calls"]


def _same(what: str, before: object, now: object, hint: str = "") -> None:
    if before != now:
        raise CouplerError(
            Status.CONFIG,
            f"the restart does not fit this run: {what} was {before} and is {now}; go on with the set-up that wrote it"
            f"{hint}.",
        )
