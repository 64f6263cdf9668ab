# SPDX-License-Identifier: Apache-2.0
"""Inputs that are one number everywhere, written with their units, as `370 ppm`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.fields import FieldEntry


@dataclass(frozen=True)
class Constant:
    """A number with its units, written as ``370 ppm`` in the coupling file."""

    value: float
    units: str


def parse_constant(entry: FieldEntry, text: str) -> Constant:
    """Return the constant of a field, written as a number and its units; without units, in the field's own.

    Raises
    ------
    CouplerError
        CONFIG, when there is no number.
    """
    number, _, units = text.strip().partition(" ")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CouplerError(
            Status.CONFIG, f"'{text}' does not begin with a number; write a number and its units, such as '370 ppm'."
        )
    return Constant(value, units.strip() or entry.units)
