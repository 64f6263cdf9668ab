# SPDX-License-Identifier: Apache-2.0
"""Column blocks: the same bits however columns are spread, state that stays with its column, and shapes that fit."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refusal import refused
from small_emulators import (
    Affine,
    CarbonLstm,
    Ends,
    Entry,
    Mlp,
    Product,
    Reciprocal,
    Store,
    field,
    write,
    write_carbon,
    write_mlp,
)
from torch import nn

from coupler_plugin import Status
from coupler_plugin.emulator.blocks import Blocks
from coupler_plugin.emulator.load import EmulatorFile, load

N = 150  # columns of all ranks together
TAS, LAI, OROG = field("tas", "degC"), field("lai", "1"), field("orog", "m")
STATE = [{"name": "store", "size": 1, "initial": 3.0}]


class RowCount(nn.Module):
    """An emulator whose answers depend on the rows of a call, where there are fewer than `enough`."""

    def __init__(self, enough: int) -> None:
        super().__init__()
        self.enough = enough

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + float(min(x.shape[0], self.enough))


class RowPlace(nn.Module):
    """An emulator whose answers depend on the place of a row in its block."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.arange(x.shape[0])[:, None] % 4


class Picky(nn.Module):
    """An emulator that fails for some inputs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x > 1.0e6).any()):
            raise ValueError("too warm")
        return x


class GatedStore(nn.Module):
    """A recurrent network with a static input."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.cell = nn.GRUCell(2, 8)
        self.head = nn.Linear(8, 1)

    def forward(self, x: torch.Tensor, static: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = self.cell(torch.cat([x, static], dim=1), state)
        return self.head(state), state


@pytest.fixture(scope="module")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EmulatorFile]:
    folder = tmp_path_factory.mktemp("emulators")
    paths = {
        "mlp": write_mlp(folder / "mlp.pt"),
        "window": write_carbon(folder / "window.pt", length=7),
        "gated": write(
            folder / "gated.pt", GatedStore(), [TAS], [LAI], static=[OROG], state=[{"name": "h", "size": 8}]
        ),
    }
    return {name: load(path) for name, path in paths.items()}


def small(path: Path, module: nn.Module, inputs: int = 1, outputs: int = 1, **more: object) -> EmulatorFile:
    """Return an emulator of `inputs` channels of temperature and `outputs` of leaf area."""

    def channels(entry: Entry, n: int) -> list[Entry]:
        return [{**entry, "size": n}]

    return load(write(path, module, channels(TAS, inputs), channels(LAI, outputs), **more))


def answers(emulator: EmulatorFile, columns: slice, block: int | str, calls: int = 3, threads: int = 1) -> np.ndarray:
    """Return what some of the columns 0 to N answer in a number of calls, shape (calls, columns, outputs)."""
    random = np.random.default_rng(0)
    values = random.normal(10.0, 8.0, (calls, N, emulator.manifest.n_inputs)).astype(np.float32)
    static = random.normal(size=(N, emulator.manifest.n_static)).astype(np.float32)
    blocks = Blocks(emulator, len(range(*columns.indices(N))), block, threads)
    blocks.static[:] = static[columns]
    result = []
    for inputs in values:
        blocks.inputs[:] = inputs[columns]
        blocks.run()
        result.append(blocks.outputs.copy())
    return np.array(result)


# --- the same bits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "window", "gated"])
@settings(max_examples=12)
@given(cuts=st.lists(st.integers(0, N), max_size=4), block=st.sampled_from([16, 64, 128]))
def test_columns_have_the_same_bits_however_they_are_spread(
    emulators: dict[str, EmulatorFile], name: str, cuts: list[int], block: int
) -> None:
    emulator = emulators[name]
    whole = answers(emulator, slice(0, N), block)
    edges = [0, *sorted(cuts), N]
    parts = [answers(emulator, slice(a, b), block) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1).view(np.int32), whole.view(np.int32))


@pytest.mark.parametrize("name", ["mlp", "window", "gated"])
@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 33, 64, 100, 128])
def test_bucket_gives_every_column_the_bits_of_the_full_block(
    emulators: dict[str, EmulatorFile], name: str, n: int
) -> None:
    full = answers(emulators[name], slice(0, 128), 128)
    np.testing.assert_array_equal(answers(emulators[name], slice(0, n), 128).view(np.int32), full[:, :n].view(np.int32))


@pytest.mark.parametrize("name", ["mlp", "window", "gated"])
def test_columns_have_the_same_bits_on_one_and_two_threads(emulators: dict[str, EmulatorFile], name: str) -> None:
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(answers(emulators[name], slice(0, N), 64).view(np.int32))
    torch.set_num_threads(before)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("name", ["mlp", "window", "gated"])
@pytest.mark.parametrize("threads", [2, 3, 20])
def test_columns_have_the_same_bits_where_threads_share_blocks(
    emulators: dict[str, EmulatorFile], name: str, threads: int
) -> None:
    alone, shared = (answers(emulators[name], slice(0, N), 16, threads=n).view(np.int32) for n in (1, threads))
    np.testing.assert_array_equal(shared, alone)


def test_error_of_a_thread_is_raised_and_the_next_call_goes_well(tmp_path: Path) -> None:
    blocks = Blocks(small(tmp_path / "picky.pt", Picky()), 70, 16, threads=2)
    before = torch.get_num_threads()
    blocks.inputs[20] = 2.0e6
    with pytest.raises(Exception, match="too warm"):
        blocks.run()
    blocks.inputs[20] = 1.0
    blocks.run()
    assert blocks.outputs[20] == 1.0
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("hidden", [31, 65])
def test_columns_of_odd_networks_have_the_same_bits_at_every_place(tmp_path: Path, hidden: int) -> None:
    # Left alone, MKL takes different kernels for different rows of such products.
    emulator = small(tmp_path / "odd.pt", Mlp(33, 7, hidden), 33, 7)
    assert Blocks(emulator, 5, 32).keeps_bits
    whole = answers(emulator, slice(0, N), 32)
    parts = [answers(emulator, slice(a, b), 32) for a, b in pairwise([0, 1, 50, N])]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1).view(np.int32), whole.view(np.int32))


def test_place_of_a_row_that_changes_an_answer_is_noticed(tmp_path: Path, emulators: dict[str, EmulatorFile]) -> None:
    assert not Blocks(small(tmp_path / "place.pt", RowPlace()), 5, 32).keeps_bits
    assert all(Blocks(emulator, 5, 32).keeps_bits for emulator in emulators.values())
    assert not Blocks(emulators["mlp"], 5, "exact").keeps_bits


# --- sizes of the calls ---------------------------------------------------------------------------------------


@given(st.integers(0, 400), st.sampled_from([16, 48, 128]))
@settings(max_examples=30)
def test_blocks_hold_all_columns_and_only_the_last_is_smaller(
    emulators: dict[str, EmulatorFile], n: int, block: int
) -> None:
    sizes = Blocks(emulators["mlp"], n, block).sizes
    assert set(sizes[:-1]) <= {block}
    assert sum(sizes[:-1]) < n <= sum(sizes) if n else sizes == ()
    assert all(size == block or (size % 16 == 0 and block % size == 0) for size in sizes)


@pytest.mark.parametrize(("enough", "size"), [(16, 16), (32, 32), (64, 64), (10_000, 128)])
def test_bucket_that_changes_an_answer_is_not_used(tmp_path: Path, enough: int, size: int) -> None:
    emulator = small(tmp_path / "rows.pt", RowCount(enough))
    assert Blocks(emulator, 5, 128).sizes == (size,)
    assert Blocks(emulator, 128 + 5, 128).sizes == (128, size)


@pytest.mark.parametrize("n", [0, 1, 7, 150])
def test_exact_runs_all_columns_in_one_call(emulators: dict[str, EmulatorFile], n: int) -> None:
    blocks = Blocks(emulators["mlp"], n, "exact")
    assert blocks.sizes == ((n,) if n else ())
    blocks.inputs[:] = np.random.default_rng(0).normal(size=blocks.inputs.shape)
    blocks.run()
    with torch.inference_mode():
        expected = emulators["mlp"].forward(torch.from_numpy(blocks.inputs)) if n else torch.empty(0, 1)
    np.testing.assert_array_equal(blocks.outputs, expected.numpy())


# --- what reaches a column ------------------------------------------------------------------------------------


def test_padding_reaches_no_answer(tmp_path: Path) -> None:
    blocks = Blocks(small(tmp_path / "reciprocal.pt", Reciprocal()), 3, 16)  # 1 / 0 in the padding
    blocks.inputs[:, 0] = [1.0, 2.0, 4.0]
    blocks.run()
    np.testing.assert_array_equal(blocks.outputs[:, 0], [1.0, 0.5, 0.25])


def test_state_begins_as_the_manifest_says_and_stays_with_its_column(tmp_path: Path) -> None:
    blocks = Blocks(small(tmp_path / "store.pt", Store(0.5), state=STATE), 20, 16)
    expected = np.full(20, 3.0, np.float32)
    for k in range(5):
        blocks.inputs[:, 0] = np.arange(20) * k
        expected = 0.5 * expected + np.arange(20) * k
        blocks.run()
        np.testing.assert_array_equal(blocks.outputs[:, 0], expected)
        np.testing.assert_array_equal(blocks.state[:, 0], expected)


def test_warming_up_leaves_no_trace(tmp_path: Path) -> None:
    blocks = Blocks(small(tmp_path / "store.pt", Store(), state=STATE), 5, 16)
    np.testing.assert_array_equal(blocks.state, 3.0)
    blocks = Blocks(small(tmp_path / "ends.pt", Ends(), outputs=2, window={"length": 3}), 5, 16)
    blocks.inputs[:] = 1.0
    blocks.run()
    np.testing.assert_array_equal(blocks.outputs, 1.0)


def test_window_reaches_the_module_oldest_first(tmp_path: Path) -> None:
    blocks = Blocks(small(tmp_path / "ends.pt", Ends(), outputs=2, window={"length": 3}), 40, 16)
    place = np.arange(40)
    for k in range(8):
        blocks.inputs[:, 0] = 100 * k + place
        blocks.run()
        np.testing.assert_array_equal(blocks.outputs[:, 0], 100 * max(0, k - 2) + place)
        np.testing.assert_array_equal(blocks.outputs[:, 1], 100 * k + place)


def test_static_inputs_stay(tmp_path: Path) -> None:
    blocks = Blocks(small(tmp_path / "product.pt", Product(), static=[OROG]), 20, 16)
    blocks.static[:, 0] = np.arange(20)
    for k in range(3):
        blocks.inputs[:, 0] = k
        blocks.run()
        np.testing.assert_array_equal(blocks.outputs[:, 0], k * np.arange(20))


# --- files that do not keep their promise ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "more", "words"),
    [
        (Affine([[1.0, 1.0]]), {}, ["[(16, 2)]", "[(16, 1)]"]),
        (Affine([[1.0], [1.0]]), {}, ["(16, 1)", "does not run"]),
        (Store(), {}, ["(16, 1)", "does not run"]),
        (Affine([[1.0]]), {"state": STATE}, ["does not run"]),
        (Affine([[1.0]]), {"static": [OROG]}, ["does not run"]),
        (Store(), {"state": [{"name": "store", "size": 2}]}, ["[(16, 1), (16, 2)]"]),
        (CarbonLstm(1), {"window": {"length": 4}}, ["[(16, 3)]", "[(16, 1)]"]),
        (Product(), {"state": STATE}, ["[(16, 1)]", "[(16, 1), (16, 1)]"]),
    ],
)
def test_module_that_breaks_its_manifest_is_refused_at_start(
    tmp_path: Path, module: nn.Module, more: dict[str, object], words: list[str]
) -> None:
    with refused(Status.MODEL, "broken.pt", "manifest", *words):
        Blocks(small(tmp_path / "broken.pt", module, **more), 3, 16)


def test_module_that_gives_a_state_without_promising_one_is_refused(tmp_path: Path) -> None:
    class Pair(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    with refused(Status.MODEL, "pair.pt", "tuple"):
        Blocks(small(tmp_path / "pair.pt", Pair()), 3, 16)
