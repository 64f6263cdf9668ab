# SPDX-License-Identifier: Apache-2.0
"""Random numbers that belong to a cell: the same for every number of ranks, and in any order of asking.

They come from the counter-based generator Philox (Salmon et al. 2011, doi 10.1145/2063384.2063405): the number of a
cell depends on a key, a counter and the cell's global id, and on nothing that was drawn before.
"""

from __future__ import annotations

from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri  # type: ignore[import-untyped]

#: numbers that Philox gives for one count
_WIDTH = 4


def uniform(ids: NDArray[np.int64], seed: int, name: str, *counter: int) -> NDArray[np.float64]:
    """Return one number in (0, 1) for each cell.

    Parameters
    ----------
    ids : int64 array, shape (n,)
        Global ids; numbers are drawn for all ids from the smallest to the largest.
    seed : int
    name : str
        What the numbers are for, such as a field: other names have independent numbers.
    *counter : int
        Up to three numbers that tell draws apart, such as a member and a step.
    """
    if not ids.size:
        return np.empty(0)
    first, last = int(ids.min()) // _WIDTH, int(ids.max()) // _WIDTH
    stream = np.random.Philox(key=[seed, crc32(name.encode())], counter=[first, *counter, *(0,) * (3 - len(counter))])
    bits = stream.random_raw((last - first + 1) * _WIDTH)[ids - first * _WIDTH]
    numbers: NDArray[np.float64] = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return numbers


def normal(ids: NDArray[np.int64], seed: int, name: str, *counter: int) -> NDArray[np.float64]:
    """Return one number of the standard normal distribution for each cell, by inversion of `uniform`."""
    numbers: NDArray[np.float64] = ndtri(uniform(ids, seed, name, *counter))
    return numbers
