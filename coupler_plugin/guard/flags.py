# SPDX-License-Identifier: Apache-2.0
"""Flags as a source of accumulators: the history file has the most serious one of each interval."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.cells import PackedArray
from coupler_plugin.guard.tally import FLAGS


class FlagArray(PackedArray):
    """The flags of one output.

    Parameters
    ----------
    flags : uint8 array, shape (n, outputs)
    place : int
        Of the output in the manifest.
    """

    def __init__(self, flags: NDArray[np.uint8], place: int) -> None:
        super().__init__(flags[:, place : place + 1])


def flag_attributes(name: str) -> dict[str, Any]:
    """Return the CF attributes of the flags of a field."""
    return {
        "standard_name": "status_flag",
        "long_name": f"most serious intervention of the guards in {name}",
        "flag_values": np.array(list(FLAGS.values()), np.int8),
        "flag_meanings": " ".join(FLAGS),
        "cell_methods": "time: maximum",
    }
