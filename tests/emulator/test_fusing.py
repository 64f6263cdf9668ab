# SPDX-License-Identifier: Apache-2.0
"""A module in fewer operations gives the same bits, and is not used where it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_emulators import Store, Touchy, field, write
from torch import nn

from coupler_plugin.emulator.blocks import Blocks
from coupler_plugin.emulator.fusing import Fused
from coupler_plugin.emulator.load import EmulatorFile, load

N = 37


class Layers(nn.Module):
    """Linear layers with one activation after each but the last."""

    def __init__(self, activation: nn.Module, bias: bool = True) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.layers = nn.Sequential(nn.Linear(5, 24, bias), activation, nn.Linear(24, 24), activation, nn.Linear(24, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Residual(nn.Module):
    """A layer whose product is used beside its activation."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.layer, self.last = nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        return self.last(torch.relu(y) + y)


class Deep(nn.Module):
    """Layers over a third dimension, which a plain product does not take."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.first, self.last = nn.Linear(1, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x[:, :, None])).mean(dim=1))


def emulator(path: Path, module: nn.Module) -> EmulatorFile:
    return load(write(path, module, [field("tas", "K", size=5)], [field("lai", "1", size=3)]))


def answers(file: EmulatorFile, block: int | str) -> np.ndarray:
    blocks = Blocks(file, N, block)
    blocks.inputs[:] = np.random.default_rng(7).normal(0, 2, blocks.inputs.shape)
    blocks.inputs[3] = np.nan
    blocks.run()
    return blocks.outputs.view(np.int32).copy()


@pytest.mark.parametrize("block", [16, "exact"])
@pytest.mark.parametrize(
    "module",
    [Layers(nn.ReLU()), Layers(nn.Tanh()), Layers(nn.Sigmoid()), Layers(nn.SiLU()), Layers(nn.GELU()), Residual()],
    ids=["relu", "tanh", "sigmoid", "silu", "gelu", "residual"],
)
def test_fewer_operations_give_the_same_bits(tmp_path: Path, module: nn.Module, block: int | str) -> None:
    file = emulator(tmp_path / "layers.pt", module)
    graphs = [way for way in file.fused if way.bind is None]
    for way in graphs:
        kinds = [node.kind() for node in way.call.graph.nodes()]
        assert "aten::linear" not in kinds
        assert "aten::t" not in kinds
        np.testing.assert_array_equal(
            answers(replace(file, fused=[way]), block), answers(replace(file, fused=()), block)
        )
    assert graphs


@pytest.mark.parametrize("module", [Deep(), Layers(nn.ReLU(), bias=False)], ids=["deep", "no_bias"])
def test_what_does_not_run_in_fewer_operations_runs_as_it_is(tmp_path: Path, module: nn.Module) -> None:
    file = emulator(tmp_path / "deep.pt", module)
    np.testing.assert_array_equal(answers(file, 16), answers(replace(file, fused=()), 16))


def test_what_gives_other_bits_is_not_used(tmp_path: Path) -> None:
    file = emulator(tmp_path / "layers.pt", Layers(nn.ReLU()))
    wrong = replace(file, fused=[Fused(lambda x: torch.nextafter(file.forward(x), torch.tensor(9.0)))])
    np.testing.assert_array_equal(answers(wrong, 16), answers(replace(file, fused=()), 16))


def test_a_last_product_is_written_where_the_answer_is_wanted(tmp_path: Path) -> None:
    file = emulator(tmp_path / "layers.pt", Layers(nn.ReLU()))
    fused, answer = file.fused[-1], torch.zeros(N, 3)
    assert fused.writes_answer
    assert not fused.widths
    assert fused.call(torch.ones(N, 5), answer) is answer
    np.testing.assert_array_equal(answer, file.forward(torch.ones(N, 5)))


def test_products_on_the_way_are_written_into_memory_that_is_made_once(tmp_path: Path) -> None:
    file = emulator(tmp_path / "layers.pt", Layers(nn.GELU()))
    fused = file.fused[0]
    assert fused.widths == (24, 24)
    answer, *products = (torch.zeros(N, width) for width in (3, 24, 24))
    assert fused.call(torch.ones(N, 5), answer, *products) is answer
    assert all(torch.any(product != 0) for product in products)
    np.testing.assert_array_equal(answer, file.forward(torch.ones(N, 5)))


@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_of_different_threads_do_not_share_memory_of_products(tmp_path: Path, threads: int) -> None:
    file = emulator(tmp_path / "layers.pt", Layers(nn.GELU()))
    blocks = Blocks(file, 640, 16, threads)
    blocks.inputs[:] = np.random.default_rng(8).normal(0, 2, blocks.inputs.shape)
    expected = np.concatenate([file.forward(torch.tensor(rows)).numpy() for rows in np.split(blocks.inputs, 40)])
    for _ in range(20):
        blocks.outputs[:] = 0.0
        blocks.run()
        np.testing.assert_array_equal(blocks.outputs, expected)


def test_products_with_other_numbers_of_rows_find_memory_of_their_own(tmp_path: Path) -> None:
    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(9)
            self.first, self.last = nn.Linear(1, 8), nn.Linear(40, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(torch.relu(self.first(x.reshape(-1, 1))).reshape(-1, 40))

    file = emulator(tmp_path / "pairs.pt", Pairs())
    assert [fused.widths for fused in file.fused] == [(8,), ()]
    blocks = Blocks(file, N, 16)
    assert blocks._module is file.fused[1]
    np.testing.assert_array_equal(answers(file, 16), answers(replace(file, fused=()), 16))


def test_an_answer_that_is_used_again_is_not_written_elsewhere(tmp_path: Path) -> None:
    class Twice(Layers):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.layers(x)
            return torch.where(y > 0, y, -y)

    file = emulator(tmp_path / "twice.pt", Twice(nn.ReLU()))
    assert not any(fused.writes_answer for fused in file.fused)
    np.testing.assert_array_equal(answers(file, 16), answers(replace(file, fused=()), 16))


def test_a_module_that_branches_is_left_alone(tmp_path: Path) -> None:
    assert emulator(tmp_path / "touchy.pt", Touchy()).fused == []


def test_a_module_with_a_state_runs_as_before(tmp_path: Path) -> None:
    state = [{"name": "store", "size": 1, "initial": 3.0}]
    file = load(write(tmp_path / "store.pt", Store(0.5), [field("tas", "K")], [field("lai", "1")], state=state))
    blocks = Blocks(file, 3, "exact")
    blocks.inputs[:] = 1.0
    blocks.run()
    np.testing.assert_array_equal(blocks.outputs, np.full((3, 1), 2.5, np.float32))
