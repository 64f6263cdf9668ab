# SPDX-License-Identifier: Apache-2.0
"""Views of host memory: what a `coupler_array` of the C header describes, as numpy array or tensor without a copy.

Fortran counts its fastest dimension first and numpy its slowest, so extents and strides are reversed: the view of a
Fortran array `t(ni, nj)` has the shape (nj, ni), and the memory is walked in the same order on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
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
    return _in_host_memory(ffi, _describe(ffi, array, name))


def _in_host_memory(ffi: Any, described: _Described) -> NDArray[Any]:
    dtype, shape, strides = described.dtype, described.shape, described.strides
    if 0 in shape:
        return np.empty(shape, dtype)

    # The first element need not be the lowest in memory: a stride can be negative.
    spans = [(extent - 1) * stride for extent, stride in zip(shape, strides, strict=True)]
    below = -sum(span for span in spans if span < 0)
    size = below + sum(span for span in spans if span > 0) + dtype.itemsize
    memory = ffi.buffer(ffi.cast("char *", described.address - below), size)
    return np.ndarray(shape, dtype, memory, below, strides)


def device_view(ffi: Any, array: Any, name: str) -> torch.Tensor:
    """Return the array in memory of a GPU that a `coupler_array` describes, as a tensor in place.

    Where torch sees no GPU, it is taken to be in memory of the host, where a program for GPUs then has its arrays, too.

    Parameters
    ----------
    ffi, array, name
        As for `view`.

    Raises
    ------
    CouplerError
        ARRAY, for an array that no field can be, that a tensor cannot be, or that lies in memory of the host.
    """
    described = _describe(ffi, array, name)
    size = described.dtype.itemsize  # where there is one element, no stride is walked
    strides = zip(described.shape, described.strides, strict=True)
    described = replace(described, strides=tuple(size if extent < 2 else stride for extent, stride in strides))
    if any(stride < 0 or stride % size for stride in described.strides):
        raise _error(name, "a device takes elements in rising order, whole elements apart; bind such a section of it")
    if 0 in described.shape or not torch.cuda.is_available():
        return torch.from_numpy(_in_host_memory(ffi, described))
    return _in_device_memory(described, name)


def _in_device_memory(described: _Described, name: str) -> torch.Tensor:
    """Return a tensor of the GPU that an address belongs to; torch asks the driver which one that is."""
    try:
        for number in range(torch.cuda.device_count()):
            with torch.cuda.device(number):
                tensor = torch.as_tensor(described, device="cuda")
            if tensor.data_ptr() == described.address:  # else torch has made a copy on another GPU
                return tensor
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise _error(name, f"it is bound as an array of a device, and torch says: {reason}") from error
    raise _error(name, f"it lies on none of the {torch.cuda.device_count()} GPUs that torch sees")


@dataclass(frozen=True)
class _Described:
    """What a `coupler_array` says, in numpy's order."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    address: int

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """What a library for GPUs asks of an array of another one."""
        return {
            "shape": self.shape, "typestr": self.dtype.str, "data": (self.address, False), "version": 3,
            "strides": self.strides,
        }  # fmt: skip


def _describe(ffi: Any, array: Any, name: str) -> _Described:
    dtype = DTYPES.get(array.type)
    if dtype is None:
        raise _error(name, "its kind is none of real32, real64, int32 and int64; give an array of one of these")
    rank = array.rank
    if not 0 <= rank <= MAX_RANK:
        raise _error(name, f"its rank is {rank}; give an array of rank 0 to {MAX_RANK}")
    shape = tuple(array.extent[i] for i in reversed(range(rank)))
    strides = tuple(array.stride[i] for i in reversed(range(rank)))
    address = int(ffi.cast("intptr_t", array.data))
    if 0 in shape:
        shape = tuple(max(extent, 0) for extent in shape)
    else:
        if address == 0:
            raise _error(name, "it is not allocated or not associated; bind it after its allocation")
        if any(extent < 0 for extent in shape):
            raise _error(
                name,
                "its size is not known, as that of an assumed-size array (*), or with gfortran that of bounds such as "
                "(5:3); give a section of it, (1:n), where n is 0 for no elements",
            )
    return _Described(dtype, shape, strides, address)


def _error(name: str, reason: str) -> CouplerError:
    return CouplerError(Status.ARRAY, f"the array '{name}' cannot be used: {reason}.")
