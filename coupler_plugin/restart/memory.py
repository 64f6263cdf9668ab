# SPDX-License-Identifier: Apache-2.0
"""What a coupler remembers between two runs, and whether a restart fits the run that reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coupler_plugin.clock import Clock
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.restart.files import Memory
from coupler_plugin.windows import Window

#: form of what is remembered; a reader accepts every version up to its own
RESTART_VERSION: Final = 1
#: facts that must be the same in a restart and in the run that reads it: key -> what it is, and how it may be accepted
_MUST_FIT: Final = {
    "sha256": ("emulator file (hash)", "model"),
    "block": ("block size", "block"),
    "every": ("time step", None),
    "grid": ("grid", None),
    "seed": ("seed", None),
    "lag": ("lag", None),
    "precision": ("precision", None),
}


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class _EmulatorFacts(_Strict):
    sha256: str
    block: int | str
    every: str
    grid: str | None = None
    seed: int | None = None
    lag: int | None = None
    precision: str = "float32"  # restarts of earlier days have none
    calls: int = Field(ge=0)


class _WindowFacts(_Strict):
    begin: int
    counts: dict[str, int]


class _Facts(_Strict):
    version: int = Field(1, ge=1, le=RESTART_VERSION)
    calendar: str
    time: int
    emulators: dict[str, _EmulatorFacts]
    windows: dict[str, _WindowFacts]


def _read_facts(facts: object) -> _Facts:
    """Return the facts of a restart, if they are such; what a later version adds to them does not matter."""
    try:
        return _Facts.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "facts"
        raise CouplerError(
            Status.IO,
            f"the restart is of no use here: '{place}' in it is wrong: {first['msg']} (value: {first['input']!r}); "
            "go on with the version of the plugin that wrote it.",
        ) from error


def recall(
    clock: Clock, emulators: Sequence[ColumnEmulator], windows: Mapping[str, Window], **provenance: str
) -> Memory:
    """Return what the next run needs to go on from here, with facts that say what wrote it."""
    facts: dict[str, Any] = {"version": RESTART_VERSION, "calendar": clock.calendar, "time": clock.now, **provenance}
    facts |= {"emulators": {}, "windows": {}}
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
    """Go on from what was recalled, once everything is connected.

    Raises
    ------
    CouplerError
        IO, when the restart lacks something that this run needs, or has it in another shape.
    """
    try:
        for emulator in emulators:
            emulator.restore(_below(emulator.key, memory))
        for every, window in windows.items():
            if every in memory.facts["windows"]:
                window.restore(memory.facts["windows"][every], _below(every, memory))
    except (LookupError, ValueError, TypeError) as error:
        raise CouplerError(
            Status.IO,
            f"the restart does not hold what this run needs ({error}); go on with the version of the plugin and of the "
            "emulators that wrote it.",
        ) from error


def _identity(emulator: ColumnEmulator) -> dict[str, Any]:
    return {
        "sha256": emulator.file.sha256,
        "block": emulator.block,
        "every": emulator.every,
        "grid": emulator.grid_name,
        "seed": emulator.section.seed if emulator.file.draws else None,
        "lag": emulator.section.lag or None,
        "precision": emulator.section.precision,
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
        CONFIG, with the difference; IO, when these are no facts of a restart, or those of a newer plugin.
    """
    found = _read_facts(facts)
    _same("the calendar", found.calendar, clock.calendar)
    _same("the time", found.time, clock.now)
    _same("the list of emulators", sorted(found.emulators), sorted(emulator.key for emulator in emulators))
    for emulator in emulators:
        before = found.emulators[emulator.key]
        for key, (what, name) in _MUST_FIT.items():
            if name not in accept:
                hint = f", or write 'accept: [{name}]' under 'restart:' if the difference is meant" if name else ""
                now = _identity(emulator)[key]
                _same(f"the {what} of the emulator '{emulator.name}'", getattr(before, key), now, hint)
        emulator.calls = before.calls


def _same(what: str, before: object, now: object, hint: str = "") -> None:
    if before != now:
        raise CouplerError(
            Status.CONFIG,
            f"the restart does not fit this run: {what} was {before} and is {now}; go on with the set-up that wrote it"
            f"{hint}.",
        )
