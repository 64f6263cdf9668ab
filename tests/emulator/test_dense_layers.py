# SPDX-License-Identifier: Apache-2.0
"""Products of our own sum in the order that they promise, and are taken only where their bits are the library's."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coupler_plugin.emulator import layers
from coupler_plugin.emulator.lanes import one_thread
from coupler_plugin.emulator.layers import Choice, Layer, ffi, lib

NAN = np.float32(np.nan)

needs_instructions = pytest.mark.skipif(not lib.product_is_here(), reason="this processor lacks AVX2 or FMA")


def random_layer(inputs: int, width: int, *, bias: bool = True, is_cut: bool = False, seed: int = 0) -> Layer:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(width, inputs, generator=generator)
    return Layer(weights, torch.randn(width, generator=generator) if bias else None, is_cut)


def drawn(rows: int, inputs: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, inputs, generator=torch.Generator().manual_seed(seed + 1))


def bits(tensor: torch.Tensor) -> np.ndarray:
    return tensor.numpy().view(np.int32)


def fma() -> Callable[[float, float, float], float]:
    """Return the C library's product and sum with one rounding, in single precision."""
    function = ctypes.CDLL(ctypes.util.find_library("m")).fmaf
    function.argtypes, function.restype = [ctypes.c_float] * 3, ctypes.c_float
    return function


def sums_of_one(row: np.ndarray, weights: np.ndarray, n_sums: int) -> np.float32:
    """Return a sum of products in the order of product.h."""
    if n_sums == 1:
        one, total = fma(), 0.0
        for value, weight in zip(row, weights, strict=True):
            total = one(value, weight, total)
        return np.float32(total)
    parts = np.zeros(4, np.float32)
    for i, (value, weight) in enumerate(zip(row, weights, strict=True)):
        parts[i % 4] += value * weight
    return (parts[0] + parts[2]) + (parts[1] + parts[3])


def expected(layer: Layer, block: torch.Tensor, n_sums: int) -> np.ndarray:
    rows = [[sums_of_one(row, weights, n_sums) for weights in layer.weights.numpy()] for row in block.numpy()]
    result = np.array(rows, np.float32) + (np.float32(0) if layer.bias is None else layer.bias.numpy())
    return np.where(result < 0, np.float32(0), result) if layer.is_cut else result


@needs_instructions
@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(lib.PRODUCT_ROWS, 13),
    quarters=st.integers(1, 5),
    rest=st.integers(0, 3),
    width=st.integers(1, 35),
    is_cut=st.booleans(),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_products_have_the_bits_of_their_order_and_write_nothing_else(
    rows: int, quarters: int, rest: int, width: int, is_cut: bool, bias: bool, seed: int
) -> None:
    for n_sums, inputs in ((1, 4 * quarters + rest), (4, 4 * quarters)):
        layer, block = random_layer(inputs, width, bias=bias, is_cut=is_cut, seed=seed), drawn(rows, inputs, seed)
        panels = layers._panels(layer, n_sums).numbers
        memory = np.full(rows * width + 32, NAN)
        lib.product(
            ffi.cast("float *", block.data_ptr()), rows, inputs, ffi.cast("float *", panels.data_ptr()), n_sums,
            width, is_cut, ffi.from_buffer("float[]", memory[16:]),
        )  # fmt: skip
        found = memory[16 : 16 + rows * width].reshape(rows, width)
        np.testing.assert_array_equal(found.view(np.int32), expected(layer, block, n_sums).view(np.int32))
        assert np.isnan(memory[:16]).all()
        assert np.isnan(memory[16 + rows * width :]).all()


@needs_instructions
@pytest.mark.parametrize("n_sums", [1, 4])
def test_what_is_no_number_stays(n_sums: int) -> None:
    layer = Layer(torch.ones(3, 4), None, is_cut=True)
    block = torch.full((6, 4), -1.0)
    block[1], block[2, 1], block[3] = torch.nan, torch.nan, torch.inf
    block[4] = -1e-45
    layer.weights[1] = 1e-3  # a product below the smallest number: zero, with its sign
    result = torch.empty(6, 3)
    run(layer, layers._panels(layer, n_sums), block, result)
    assert torch.isnan(result[1:3]).all()
    assert torch.isinf(result[3]).all()
    np.testing.assert_array_equal(bits(result), expected(layer, block, n_sums).view(np.int32))


@needs_instructions
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("inputs", "width", "n_sums"), [(1, 16, 1), (5, 24, 1), (32, 128, 1), (32, 8, 4)])
def test_numbers_at_the_edge_have_the_bits_of_the_library(inputs: int, width: int, n_sums: int, bias: bool) -> None:
    layer = random_layer(inputs, width, bias=bias, is_cut=True)
    layer.weights.add_(torch.sign(layer.weights))  # a single tiny input would else be a product of zero
    panels = layers._panels(layer, n_sums)
    if not layers._is_same(layer, 1024, panels):
        pytest.skip("the library sums in another order here")
    scales = torch.tensor([1e-45, 1e-44, 1e-40, 1e-38, 1e-20, 1e20, 1e38]).repeat_interleave(10)
    block = drawn(len(scales), inputs) * scales[:, None]
    block[7:60:10, -1], block[8::10, inputs // 2], block[9::10, 0] = torch.nan, torch.inf, -0.0
    library, found = torch.empty(len(block), width), torch.empty(len(block), width)
    run(layer, None, block, library)
    run(layer, panels, block, found)
    np.testing.assert_array_equal(bits(found), bits(library))


def run(layer: Layer, panels: layers.Panels | None, block: torch.Tensor, result: torch.Tensor) -> None:
    layers.bind(lambda *_: panels, [layer], block, [result])()


# --- which are taken --------------------------------------------------------------------------------------------------


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find our products the faster ones."""
    monkeypatch.setattr(layers, "_quickest", lambda layer, rows, candidates: candidates[-1])


@needs_instructions
@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("rows", [16, 64, 1024])
@pytest.mark.parametrize(
    ("inputs", "width"), [(2, 1), (4, 9), (32, 128), (128, 8), (5, 24), (600, 40), (24, 3), (7, 1)]
)
def test_products_that_are_chosen_have_the_bits_of_the_library(inputs: int, width: int, rows: int) -> None:
    chosen = []
    for seed in range(4):
        layer = random_layer(inputs, width, seed=seed)
        panels = layers.of_same_bits()(layer, rows)
        chosen.append(panels)
        for block in drawn(10_240, inputs, seed).split(rows):
            library, found = torch.empty(len(block), width), torch.empty(len(block), width)
            run(layer, None, block, library)
            run(layer, panels, block, found)
            np.testing.assert_array_equal(bits(found), bits(library))
    if not any(chosen):
        pytest.skip("the library sums in another order here")


@needs_instructions
@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("n_sums", [1, 4])
def test_order_of_the_library_is_found(n_sums: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_is_same", lambda layer, rows, panels: panels.n_sums == n_sums)
    panels = layers.of_same_bits()(random_layer(8, 8), 64)
    assert panels is not None
    assert panels.n_sums == n_sums


@needs_instructions
@pytest.mark.usefixtures("ours")
def test_each_layer_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    monkeypatch.setattr(layers, "_is_same", lambda layer, rows, panels: not tried.append(rows))
    choose, layer = layers.of_same_bits(), random_layer(8, 8)
    assert choose(layer, 64) is choose(layer, 64)
    choose(layer, 16)
    assert tried == [64, 16]


@needs_instructions
@pytest.mark.usefixtures("ours")
def test_product_of_other_bits_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, right = random_layer(32, 16), layers._panels

    def wrong(layer: Layer, n_sums: int) -> layers.Panels:
        panels = right(layer, n_sums)
        panels.numbers[0, 1, 0] = torch.nextafter(panels.numbers[0, 1, 0], torch.tensor(9.0))
        return panels

    monkeypatch.setattr(layers, "_panels", wrong)
    assert layers.of_same_bits()(layer, 64) is None


@needs_instructions
@pytest.mark.parametrize("is_quick", [True, False])
def test_quicker_product_is_taken(is_quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "fastest", lambda calls, times: [1.0] + [0.5 if is_quick else 2.0] * (len(calls) - 1))
    monkeypatch.setattr(layers, "_is_same", lambda layer, rows, panels: True)
    layer = random_layer(4, 128)
    assert (layers.quickest_sums([layer], 64) != [0]) is is_quick
    assert (layers.of_same_bits()(layer, 64) is not None) is is_quick


@needs_instructions
@pytest.mark.usefixtures("ours")
def test_products_that_torch_spreads_over_threads_are_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_is_same", lambda layer, rows, panels: True)
    choose, layer, own = layers.of_same_bits(), random_layer(4, 128), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert choose(layer, 64) is None
        with one_thread():
            assert choose(layer, 64) is not None
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(own)


@pytest.mark.parametrize("sums", [[1], [1, 1, 1], [4, 1], [2, 1], [-1, 1], []])
def test_sums_of_other_layers_are_refused(sums: Sequence[int]) -> None:
    with pytest.raises(ValueError, match=r"sums|argument"):
        layers.of_sums([random_layer(5, 8), random_layer(8, 8)], sums)


@pytest.mark.parametrize("rows", [1, lib.PRODUCT_ROWS - 1])
def test_few_rows_are_left_to_the_library(rows: int) -> None:
    layer = random_layer(32, 16)
    assert layers.of_same_bits()(layer, rows) is None
    assert layers.of_sums([layer], [1])(layer, rows) is None
    assert layers.quickest_sums([layer], rows) == [0]


@pytest.mark.parametrize("rows", [6, 16, 95, 96, 97, 111, 112, 192, 193, 300])
@pytest.mark.parametrize("sums", [(0, 0, 0), (1, 0, 4), (1, 1, 1), (0, 4, 0)])
def test_rows_that_pass_layers_at_once_have_the_bits_of_all_rows(rows: int, sums: Sequence[int]) -> None:
    stack = [random_layer(12, 24, is_cut=True), random_layer(24, 40, bias=False, is_cut=True), random_layer(40, 8)]
    block, alone = drawn(rows, 12), []
    for layer, n_sums in zip(stack, sums, strict=True):
        taken = alone[-1] if alone else block
        result = torch.empty(rows, len(layer.weights))
        run(layer, layers._panels(layer, n_sums) if n_sums and lib.product_is_here() else None, taken, result)
        alone.append(result)
    results = [torch.empty_like(result) for result in alone]
    choose: Choice = layers.of_sums(stack, sums)
    layers.bind(choose, stack, block, results)()
    np.testing.assert_array_equal(bits(results[-1]), bits(alone[-1]))
