# SPDX-License-Identifier: Apache-2.0
"""A field that a guard looks at beside the inputs of its emulator, such as the water that may evaporate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.cells import Values
from coupler_plugin.fields import Conversion


@dataclass
class Reading:
    """Reads one value per cell and window.

    Attributes
    ----------
    reader : callable
        Writes the value of a window that begins and ends at two times into an array of shape (n, 1).
    conversion : Conversion
        To the units that are asked for.
    values : float64 array, shape (n, 1)
        What was read last.
    """

    reader: Callable[[NDArray[np.float64], int, int], None]
    conversion: Conversion
    values: Values

    def run(self, begin: int, end: int) -> Values:
        """Return the values of a window, shape (n,)."""
        self.reader(self.values, begin, end)
        self.conversion.apply(self.values, self.values)
        column: Values = self.values[:, 0]
        return column
