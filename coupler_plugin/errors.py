# SPDX-License-Identifier: Apache-2.0
"""The one error of the plugin and its status codes.

The numbers are part of the C ABI: `coupler_plugin.h`, the Fortran module and the table in docs/coupling_file.md carry
the same ones, and a test holds them together.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum


class Status(IntEnum):
    """What a call of the plugin answers; 0 is success."""

    OK = 0
    STARTUP = 1  #: Python or the native library did not start
    CONFIG = 2  #: the YAML file is missing, unreadable or wrong
    ORDER = 3  #: a call out of order: step before bind, use after finalize, unknown handle
    FIELD = 4  #: an unknown field, or a field that was never bound
    ARRAY = 5  #: an array of the wrong kind, rank or shape
    UNITS = 6  #: units that cannot be read or converted
    CELLS = 7  #: ids, coordinates or areas of the cells are wrong
    MODEL = 8  #: an emulator file or its manifest is wrong
    RUN = 9  #: an exception inside a step
    IO = 10  #: a file could not be written or read
    MPI = 11  #: MPI does not fit, or another rank failed
    INTERNAL = 12  #: an error of the plugin itself


class CouplerError(Exception):
    """An error that a user can act on: `str(error)` is the sentence to show, `status` its code."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


class RanksAwayError(CouplerError):
    """Some ranks did not come to a collective call: to wait for them once more would be to wait for ever."""


def explain(error: BaseException, otherwise: Status = Status.INTERNAL) -> tuple[Status, str]:
    """Return the status and the sentence of any exception; `otherwise` is the status of one that nobody expected."""
    if isinstance(error, CouplerError):
        return error.status, str(error)
    if isinstance(error, MemoryError):
        what = str(error).rstrip(".") or "an array does not fit"
        return Status.RUN, f"this process has no memory left: {what}; give it more, or fewer cells to each rank."
    return otherwise, f"{type(error).__name__}: {error}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the sentence ``" Did you mean 'x'?"`` for the known name closest to `name`, or nothing if none is."""
    match = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return f" Did you mean '{match[0]}'?" if match else ""
