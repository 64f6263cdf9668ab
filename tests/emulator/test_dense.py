# SPDX-License-Identifier: Apache-2.0
"""Dense layers that are computed without torch's dispatcher have the bits of the module, and others are left to it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_emulators import field, write
from torch import nn

from coupler_plugin.emulator import layers as layering
from coupler_plugin.emulator.blocks import Blocks
from coupler_plugin.emulator.dense import dense
from coupler_plugin.emulator.fusing import Fused
from coupler_plugin.emulator.load import EmulatorFile, load

CHANNELS, ANSWERS = 5, 3


class Scaled(nn.Module):
    """Layers between a scaling of what comes in and one of what goes out, as trained emulators have them."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.register_buffer("mean", torch.linspace(270, 290, CHANNELS))
        self.register_buffer("std", torch.linspace(1, 9, CHANNELS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers((x - self.mean) / self.std) * 3.0 + 0.25


class Positive(nn.Module):
    """What makes a logarithm a number again, within limits."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.exp(x.clamp(max=3.0)).clamp(0.1, 15.0)


class Twice(nn.Module):
    """A layer whose answer is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, ANSWERS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        return self.last(torch.relu(y) + y)


class Against(nn.Module):
    """A layer that is subtracted from a constant, not the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(CHANNELS, ANSWERS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1.0 - self.layer(x)


class OneBias(nn.Module):
    """A layer with one number for all its answers, where torch lets it pass."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(ANSWERS, CHANNELS))
        self.register_buffer("bias", torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight, self.bias)


def layers(activation: nn.Module, *, bias: bool = True, last: nn.Module | None = None) -> list[nn.Module]:
    torch.manual_seed(4)
    tail = [] if last is None else [last]
    return [
        nn.Linear(CHANNELS, 24, bias), activation, nn.Linear(24, 40), activation, nn.Linear(40, ANSWERS, bias), *tail
    ]  # fmt: skip


MODULES = {
    "relu": nn.Sequential(*layers(nn.ReLU())),
    "tanh": nn.Sequential(*layers(nn.Tanh())),
    "sigmoid": nn.Sequential(*layers(nn.Sigmoid())),
    "silu": nn.Sequential(*layers(nn.SiLU())),
    "gelu": nn.Sequential(*layers(nn.GELU())),
    "gelu_tanh": nn.Sequential(*layers(nn.GELU("tanh"))),
    "leaky": nn.Sequential(*layers(nn.LeakyReLU(0.1))),
    "elu": nn.Sequential(*layers(nn.ELU(), last=nn.Softplus())),
    "positive": nn.Sequential(*layers(nn.ReLU(), last=Positive())),
    "no_bias": nn.Sequential(*layers(nn.ReLU(), bias=False)),
    "relu_at_the_end": nn.Sequential(*layers(nn.ReLU(), last=nn.ReLU())),
    "sigmoid_at_the_end": nn.Sequential(*layers(nn.ReLU(), last=nn.Sigmoid())),
    "dropout": nn.Sequential(*layers(nn.ReLU(), last=nn.Dropout(0.5))),
    "one_layer": nn.Sequential(nn.Linear(CHANNELS, ANSWERS)),
    "scaled": Scaled(*layers(nn.ReLU())),
    "scaled_tanh": Scaled(*layers(nn.Tanh())),
}


def forward(module: nn.Module) -> Any:
    """Return the method that a file would have."""
    return torch.jit.freeze(torch.jit.script(module.eval()))._c._get_method("forward")


@pytest.fixture(params=["library", "ours"], autouse=True)
def product(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the product of the one or the other, whichever is faster here; ours only has the same bits."""
    place = {"library": 0, "ours": -1}[request.param]
    monkeypatch.setattr(layering, "_quickest", lambda layer, rows, candidates: candidates[place])


def call(way: Fused, x: torch.Tensor) -> torch.Tensor:
    memory = [torch.full((len(x), width), torch.nan) for width in (ANSWERS, *way.widths)]
    with torch.inference_mode():
        return way.call(x, *memory)


def bits(tensor: torch.Tensor) -> np.ndarray:
    return tensor.numpy().view(np.int32)


@pytest.mark.parametrize("rows", [1, 7, 64, 97, 1000])
@pytest.mark.parametrize("name", MODULES)
def test_layers_have_the_bits_of_the_module(name: str, rows: int) -> None:
    method = forward(MODULES[name])
    way = dense(method)
    assert way is not None
    x = torch.randn(rows, CHANNELS, generator=torch.Generator().manual_seed(rows)) * 4 + 280
    kept = x.clone()
    with torch.inference_mode():
        np.testing.assert_array_equal(bits(call(way, x)), bits(method(x)))
    assert torch.equal(x, kept)


@pytest.mark.parametrize("name", ["relu", "no_bias", "relu_at_the_end", "scaled"])
def test_what_is_no_number_and_what_is_zero_have_the_bits_of_the_module(name: str) -> None:
    method = forward(MODULES[name])
    way = dense(method)
    assert way is not None
    x = torch.zeros(64, CHANNELS)
    x[1], x[2], x[3, 0], x[4, 1], x[5] = torch.nan, torch.inf, -torch.inf, torch.nan, -0.0
    np.testing.assert_array_equal(bits(call(way, x)), bits(method(x)))


def test_a_negative_zero_stays_one_where_the_module_keeps_it() -> None:
    layer = nn.Linear(CHANNELS, 32)
    with torch.no_grad():
        layer.weight.fill_(-1.0)
        layer.bias.fill_(-0.0)
    module = nn.Sequential(layer, nn.ReLU(), nn.Linear(32, ANSWERS, bias=False), nn.ReLU())
    method = forward(module)
    way = dense(method)
    assert way is not None
    for value in (0.0, -0.0, 1e-45, -1e-45):
        x = torch.full((64, CHANNELS), value)
        np.testing.assert_array_equal(bits(call(way, x)), bits(method(x)))


@pytest.mark.parametrize(
    "module",
    [
        Twice(),
        Against(),
        OneBias(),
        nn.Sequential(*layers(nn.Mish())),
        nn.Sequential(*layers(nn.ReLU(), last=nn.Softmax(1))),
        nn.Bilinear(CHANNELS, CHANNELS, ANSWERS),
    ],
    ids=["twice", "against", "one_bias", "mish", "softmax", "two_arguments"],
)
def test_other_networks_are_left_to_torch(module: nn.Module) -> None:
    assert dense(forward(module)) is None


def test_layers_of_other_numbers_are_left_to_torch() -> None:
    assert dense(forward(nn.Sequential(*layers(nn.ReLU())).double())) is None


def test_memory_of_another_shape_is_refused_before_it_is_written() -> None:
    way = dense(forward(MODULES["relu"]))
    assert way is not None
    right = [torch.zeros(8, width) for width in (CHANNELS, ANSWERS, *way.widths)]
    way.call(*right)
    for place, tensor in enumerate(right):
        for wrong in (tensor[:7], tensor[:, 1:], tensor.double(), torch.zeros(8, 2 * tensor.shape[1])[:, ::2]):
            with pytest.raises(ValueError, match="a layer takes"):
                way.call(*right[:place], wrong, *right[place + 1 :])


# --- in blocks ------------------------------------------------------------------------------------------------------


def emulator(path: Path, module: nn.Module) -> EmulatorFile:
    inputs, outputs = [field("tas", "K", size=CHANNELS)], [field("lai", "1", size=ANSWERS)]
    return load(write(path, module, inputs, outputs))


def run(blocks: Blocks) -> np.ndarray:
    blocks.inputs[:] = np.random.default_rng(8).normal(0, 2, blocks.inputs.shape)
    blocks.outputs[:] = np.nan
    blocks.run()
    return blocks.outputs.view(np.int32).copy()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("block", [16, "exact"])
@pytest.mark.parametrize("name", ["relu", "scaled_tanh"])
def test_blocks_take_layers_first(tmp_path: Path, name: str, block: int | str, threads: int) -> None:
    file = emulator(tmp_path / "layers.pt", MODULES[name])
    blocks = Blocks(file, 637, block, threads)
    assert blocks._module is file.fused[0]
    assert file.fused[0].bind is not None
    expected = run(Blocks(replace(file, fused=()), 637, block))
    for _ in range(20):
        np.testing.assert_array_equal(run(blocks), expected)


@pytest.mark.skipif(not layering.lib.product_is_here(), reason="this processor lacks AVX2 or FMA")
def test_blocks_that_threads_share_are_tried_as_they_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, right, own = [], layering._is_same, torch.get_num_threads()

    def is_same(*arguments: Any) -> bool:
        threads.append(torch.get_num_threads())
        return right(*arguments)

    monkeypatch.setattr(layering, "_is_same", is_same)
    torch.set_num_threads(2)
    try:
        Blocks(emulator(tmp_path / "one.pt", MODULES["relu"]), 64, 64, 2)
        assert threads == []  # one block: torch spreads its products
        Blocks(emulator(tmp_path / "several.pt", MODULES["relu"]), 637, 64, 2)
        assert set(threads) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(own)


def test_layers_run_in_a_thread_that_torch_has_not_seen(tmp_path: Path) -> None:
    file = emulator(tmp_path / "layers.pt", MODULES["relu"])
    blocks = Blocks(file, 637, 64)
    expected = run(blocks)
    with ThreadPoolExecutor(1) as pool:
        np.testing.assert_array_equal(pool.submit(run, blocks).result(), expected)


def test_layers_over_a_third_dimension_are_left_to_torch(tmp_path: Path) -> None:
    class Past(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(CHANNELS, ANSWERS)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x)[:, -1]

    file = load(
        write(
            tmp_path / "past.pt", Past(), [field("tas", "K", size=CHANNELS)], [field("lai", "1", size=ANSWERS)],
            window={"length": 4},
        )
    )  # fmt: skip
    assert not any(way.bind for way in file.fused)
    blocks, plain = Blocks(file, 20, 16), Blocks(replace(file, fused=()), 20, 16)
    for _ in range(5):
        np.testing.assert_array_equal(run(blocks), run(plain))
