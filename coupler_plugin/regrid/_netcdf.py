# SPDX-License-Identifier: Apache-2.0
"""What all readers of grid files need: variables that must be there, and angles in degrees."""

from __future__ import annotations

from typing import Any

import numpy as np

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.regrid.geometry import Values

_DEGREES = ("degree", "degrees", "deg")
_RADIANS = ("radian", "radians", "rad")


def variable(path: str, dataset: Any, name: str) -> Any:
    """Return a variable of a file.

    Raises
    ------
    CouplerError
        IO, when there is none of this name.
    """
    if name not in dataset.variables:
        raise CouplerError(Status.IO, f"grid file '{path}' has no variable '{name}'.")
    return dataset.variables[name]


def masked(path: str, dataset: Any, name: str) -> Any:
    """Return the values of a variable with its missing ones masked."""
    found = variable(path, dataset, name)
    found.set_auto_mask(True)
    return found[...]


def degrees(path: str, dataset: Any, name: str) -> Values:
    """Return coordinates in degrees, whatever angle they are kept in.

    Raises
    ------
    CouplerError
        CELLS, when the units are missing or are not an angle.
    """
    found = variable(path, dataset, name)
    units = str(getattr(found, "units", "")).strip()
    values = np.asarray(found[...], np.float64)
    kind = units.lower().split("_")[0]
    if kind in _DEGREES:
        return values
    if kind in _RADIANS:
        return np.rad2deg(values)
    raise CouplerError(
        Status.CELLS,
        f"grid '{path}' gives '{name}' in {repr(units) if units else 'no units'}; give degrees or radians.",
    )
