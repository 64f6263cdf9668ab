# SPDX-License-Identifier: Apache-2.0
"""The errors of guards that stop a run: what is wrong, in which cell, and what may be done about it."""

from __future__ import annotations

from collections.abc import Sequence

from coupler_plugin.cells import Cells
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.guard.tally import Rows


def stop(what: str, value: float, units: str, why: str, cells: Cells, rows: Rows, remedy: str) -> CouplerError:
    """Return the error of a value that stops the run.

    Parameters
    ----------
    what : str
        The field and the emulator.
    value : float
        In the first of `rows`.
    why : str
        What is wrong with it, or nothing where the value says so itself.
    rows : int array
        The cells of this rank that have such values, each once.
    """
    row = rows[0]
    return CouplerError(
        Status.RUN,
        f"{what} is {with_units(value, units)}{why and f', {why},'} in cell {cells.ids[row]} (longitude "
        f"{cells.lon[row]:g}, latitude {cells.lat[row]:g}), one of {rows.size} such cells of this rank; {remedy}.",
    )


def with_units(value: float, units: str) -> str:
    """Return a number with its units, where it has any."""
    return f"{value:g}" if units == "1" or value != value else f"{value:g} {units}"


def alternatives(key: str, actions: Sequence[str]) -> str:
    """Return the advice to choose another action."""
    return f"or write {' or '.join(repr(f'{key}: {action}') for action in actions)} under 'guard:' of the emulator"
