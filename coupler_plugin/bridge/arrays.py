# SPDX-License-Identifier: Apache-2.0
"""Views of host memory: what a `coupler_array` of the C header describes, as a numpy array without a copy.

Fortran counts its fastest dimension first and numpy its slowest, so extents and strides are reversed: the view of a
Fortran array `t(ni, nj)` has the shape (nj, ni), and the memory is walked in the same order on both sides.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.errors import CouplerError, Status

#: `coupler_type` of the C header
DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.float64),
    3: np.dtype(np.int32),
    4: np.dtype(np.int64),
}
MAX_RANK = 7


def view(ffi: Any, array: Any, name: str) -> NDArray[Any]:
    """Return the array that a `coupler_array` describes, writable and in place.

    Parameters
    ----------
    ffi : cffi.FFI
        of the embedding.
    array : cdata `const coupler_array *`
    name : str
        What the array holds, for errors.

    Returns
    -------
    array, shape: the extents in reverse
        valid as long as the host keeps the memory.

    Raises
    ------
    CouplerError
        ARRAY, for a kind, rank or size that no field can have.
    """
    dtype = DTYPES.get(array.type)
    if dtype is None:
        raise _error(name, "its kind is none of real32, real64, int32 and int64; give an array of one of these")
    rank = array.rank
    if not 0 <= rank <= MAX_RANK:
        raise _error(name, f"its rank is {rank}; give an array of rank 0 to {MAX_RANK}")
    shape = tuple(array.extent[i] for i in reversed(range(rank)))
    strides = tuple(array.stride[i] for i in reversed(range(rank)))
    if 0 in shape:
        return np.empty(shape, dtype)
    address = int(ffi.cast("intptr_t", array.data))
    if address == 0:
        raise _error(name, "it is not allocated or not associated; bind it after its allocation")
    if any(extent < 0 for extent in shape):
        raise _error(name, "its size is not known, as that of an assumed-size array (*); give a section of it, (1:n)")

    # The first element need not be the lowest in memory: a stride can be negative.
    spans = [(extent - 1) * stride for extent, stride in zip(shape, strides, strict=True)]
    below = -sum(span for span in spans if span < 0)
    size = below + sum(span for span in spans if span > 0) + dtype.itemsize
    memory = ffi.buffer(ffi.cast("char *", address - below), size)
    return np.ndarray(shape, dtype, memory, below, strides)


def _error(name: str, reason: str) -> CouplerError:
    return CouplerError(Status.ARRAY, f"the array '{name}' cannot be used: {reason}.")
