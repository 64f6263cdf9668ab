# SPDX-License-Identifier: Apache-2.0
"""Flags as a source of accumulators: the history file has the most serious one of each interval."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.guard.tally import FLAGS
from coupler_plugin.layout import Layout


class FlagArray:
    """The flags of one output.

    Parameters
    ----------
    flags : uint8 array, shape (n, outputs)
    place : int
        Of the output in the manifest.
    """

    size = 1

    def __init__(self, flags: NDArray[np.uint8], place: int) -> None:
        self.view: NDArray[Any] = flags[:, place : place + 1]

    def lay_out(self, array: NDArray[Any]) -> Layout:
        """Return where the cells lie in an array of the shape of `view`."""
        return Layout(array, None, {})

    def pack(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return `array` itself: it is packed already."""
        return array

    def unpack(self, values: NDArray[Any], array: NDArray[Any]) -> None:
        """Copy `values` into an array of the same shape."""
        np.copyto(array, values)

    def read(self, values: NDArray[Any]) -> None:
        """Copy the flags into `values`, shape (n, 1)."""
        np.copyto(values, self.view)


def flag_attributes(name: str) -> dict[str, Any]:
    """Return the CF attributes of the flags of a field."""
    return {
        "standard_name": "status_flag",
        "long_name": f"most serious intervention of the guards in {name}",
        "flag_values": np.array(list(FLAGS.values()), np.int8),
        "flag_meanings": " ".join(FLAGS),
        "cell_methods": "time: maximum",
    }
