# SPDX-License-Identifier: Apache-2.0
"""When and where the answers of an emulator are used: `from:`, `until:` and `where:` of the coupling file."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.guard.reading import Reading

_OPERATORS: Final[dict[str, Callable[..., Any]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_COMPARISON: Final = re.compile(
    rf"\s*(?P<field>\w+)\s*(?P<operator>{'|'.join(_OPERATORS)})\s*(?P<number>[-+]?[\d.]+(e[-+]?\d+)?)\s*(?P<units>.*?)\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Comparison:
    """A field compared with a number, in `units` or, where these are None, in the field's canonical units."""

    field: str
    operator: str
    number: float
    units: str | None


def parse_comparison(text: str) -> Comparison:
    """Return the comparison written as ``snw < 10`` or ``tas > 0 degC``.

    Raises
    ------
    CouplerError
        CONFIG, when the text is none.
    """
    match = _COMPARISON.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        return Comparison(match["field"], match["operator"], float(match["number"]), match["units"] or None)
    except ValueError:
        raise CouplerError(
            Status.CONFIG,
            f"'{text}' does not compare a field with a number; write a field, one of {', '.join(_OPERATORS)}, a number "
            "and, if they are not the field's own, its units, such as 'snw < 10' or 'tas > 0 degC'.",
        ) from None


@dataclass
class Switch:
    """Whether an emulator is on.

    Attributes
    ----------
    first, last : int
        The answers of windows between these times are used [microseconds since 0001-01-01].
    comparison : Comparison or None
    reading : Reading or None
        The field that is compared.
    """

    first: int
    last: int
    comparison: Comparison | None = None
    reading: Reading | None = None

    def covers(self, begin: int, end: int) -> bool:
        """Return whether a window lies in the period."""
        return self.first <= begin and end <= self.last

    def off(self, begin: int, end: int, n: int) -> NDArray[np.bool_]:
        """Return in which cells the answers of a window are not used, shape (n,)."""
        if not self.covers(begin, end):
            return np.ones(n, bool)
        if self.comparison is None or self.reading is None:
            return np.zeros(n, bool)
        values = self.reading.run(begin, end)
        is_on: NDArray[np.bool_] = _OPERATORS[self.comparison.operator](values, self.comparison.number)
        return ~(is_on & np.isfinite(values))
