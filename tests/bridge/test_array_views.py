# SPDX-License-Identifier: Apache-2.0
"""`arrays.view` against numpy itself: any shape, any strides, always the host's own memory."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cffi
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_hosts import HERE

from coupler_plugin import CouplerError, Status
from coupler_plugin.bridge import arrays

HAS_GPU = torch.cuda.is_available()
BRIDGE = HERE.parents[1] / "fortran_bridge"
TYPES = {dtype: number for number, dtype in arrays.DTYPES.items()}


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ffi = cffi.FFI()
ffi.cdef(load(BRIDGE / "src" / "embedding.py").types_of((BRIDGE / "include" / "coupler_plugin.h").read_text()))


def describe(array: NDArray[Any], **changes: Any) -> Any:
    """Return the `coupler_array` of a numpy array as Fortran would describe its transpose."""
    described = ffi.new("coupler_array *")
    described.data = ffi.cast("void *", array.__array_interface__["data"][0])
    described.type = TYPES[array.dtype]
    described.rank = array.ndim
    for i, (extent, stride) in enumerate(zip(reversed(array.shape), reversed(array.strides), strict=True)):
        described.extent[i], described.stride[i] = extent, stride
    for name, value in changes.items():
        setattr(described, name, value)
    return described


@st.composite
def strided(draw: st.DrawFn) -> NDArray[Any]:
    """Return a part of an array: rank 0 to 5, steps forwards, backwards and over elements."""
    shape = draw(st.lists(st.integers(1, 5), min_size=0, max_size=5))
    dtype = draw(st.sampled_from(list(arrays.DTYPES.values())))
    whole = np.arange(int(np.prod(shape))).astype(dtype).reshape(shape)
    steps = tuple(slice(None, None, draw(st.sampled_from([1, 2, -1, -2, 3]))) for _ in shape)
    part: NDArray[Any] = whole[steps]
    return part if shape else np.asarray(part)


@given(strided())
def test_a_view_is_the_array_itself(array: NDArray[Any]) -> None:
    view = arrays.view(ffi, describe(array), "tas")
    assert view.dtype == array.dtype
    assert view.shape == array.shape
    np.testing.assert_array_equal(view, array)
    view[...] = -7
    assert (array == -7).all()


@pytest.mark.skipif(HAS_GPU, reason="addresses are then those of a GPU")
@given(strided())
def test_without_a_gpu_an_array_of_a_device_is_one_of_the_host(array: NDArray[Any]) -> None:
    if any(stride < 0 for extent, stride in zip(array.shape, array.strides, strict=True) if extent > 1):
        with pytest.raises(CouplerError, match=r"'tas' .* a device takes elements in rising order"):
            arrays.device_view(ffi, describe(array), "tas")
        return
    tensor = arrays.device_view(ffi, describe(array), "tas")
    np.testing.assert_array_equal(tensor.numpy(), array)
    tensor[...] = -7
    assert (array == -7).all()


def test_elements_that_are_not_whole_elements_apart_are_no_tensor() -> None:
    packed = np.zeros(4, np.dtype([("flag", "i1"), ("tas", "f8")]))
    with pytest.raises(CouplerError, match="whole elements apart"):
        arrays.device_view(ffi, describe(packed["tas"]), "tas")


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="torch sees no GPU")
@pytest.mark.parametrize("part", [np.s_[:], np.s_[1:7:2], np.s_[:, 2], np.s_[3:4, ::3]])
def test_addresses_of_a_gpu(part: Any) -> None:
    array = np.arange(40.0).reshape(8, 5)
    there = torch.tensor(array, device="cuda")
    tensor = arrays.device_view(ffi, describe(array[part], data=ffi.cast("void *", there[part].data_ptr())), "tas")
    assert tensor.device == there.device
    np.testing.assert_array_equal(tensor.cpu().numpy(), array[part])
    tensor.fill_(-7.0)
    array[part] = -7.0
    np.testing.assert_array_equal(there.cpu().numpy(), array)
    with pytest.raises(CouplerError, match="bound as an array of a device"):
        arrays.device_view(ffi, describe(array), "tas")


def test_an_array_without_elements_needs_no_memory() -> None:
    empty = describe(np.empty((3, 0)), data=ffi.NULL)
    assert arrays.view(ffi, empty, "tas").shape == arrays.device_view(ffi, empty, "tas").shape == (3, 0)
    empty.extent[1] = -1  # what gfortran says of some bounds
    assert arrays.view(ffi, empty, "tas").shape == (0, 0)


def test_elements_that_are_not_aligned_are_used_where_they_are() -> None:
    packed = np.zeros(4, np.dtype([("flag", "i1"), ("tas", "f8")]))
    view = arrays.view(ffi, describe(packed["tas"]), "tas")
    view[:] = [1.0, 2.0, 3.0, 4.0]
    assert packed["tas"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert not packed["flag"].any()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": 0}, "its kind is none of"),
        ({"type": 5}, "its kind is none of"),
        ({"rank": 8}, "its rank is 8"),
        ({"rank": -1}, "its rank is -1"),
        ({"data": ffi.NULL}, "not allocated or not associated"),
    ],
)
@pytest.mark.parametrize("view", [arrays.view, arrays.device_view])
def test_what_no_field_can_be_is_refused(view: Callable[..., Any], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CouplerError, match=f"'tas' .*{words}") as caught:
        view(ffi, describe(np.zeros(3), **changes), "tas")
    assert caught.value.status is Status.ARRAY


def test_an_array_of_unknown_size_is_refused() -> None:
    described = describe(np.zeros(3))
    described.extent[0] = -1
    with pytest.raises(CouplerError, match="assumed-size"):
        arrays.view(ffi, described, "tas")
