# SPDX-License-Identifier: Apache-2.0
"""Blocks on a device give the bits of blocks on the host; the CPU stands for the device, with memory of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_emulators import Affine, field, write, write_carbon, write_mlp
from stand_in import DEVICE, device
from torch import nn

from coupler_plugin import Coupler
from coupler_plugin.emulator.blocks import Blocks, Columns
from coupler_plugin.emulator.device import OnDevice
from coupler_plugin.emulator.load import EmulatorFile, load
from coupler_plugin.emulator.trial import sample_arguments
from tests.emulator.kinds import KINDS, answers, lstm_runs_in_bfloat16, section
from tests.emulator.test_blocks import GatedStore

Couple = Callable[..., Coupler]

N, BLOCK, CALLS = 150, 32, 4
TAS, LAI, OROG = field("tas", "degC"), field("lai", "1"), field("orog", "m")


class Cold(nn.Module):
    """An emulator of the oldest and the newest sample that fails where it is too warm."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x > 100.0).any()):
            raise ValueError("too warm")
        return x[:, 0] + x[:, -1]


class Counts(nn.Module):
    """An emulator that counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x + float(self.calls)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EmulatorFile]:
    folder = tmp_path_factory.mktemp("emulators")
    state = [{"name": "h", "size": 8, "initial": 0.5}]
    paths = {
        "mlp": write_mlp(folder / "mlp.pt"),
        "window": write_carbon(folder / "window.pt", length=7),
        "state": write(folder / "state.pt", GatedStore(), [TAS], [LAI], static=[OROG], state=state),
    }
    return {name: load(path) for name, path in paths.items()}


def on_device(file: EmulatorFile) -> EmulatorFile:
    """Return an emulator whose module is taken to lie on a device."""
    return replace(file, forward=OnDevice(file.forward, "cpu"), fused=())


def inputs(file: EmulatorFile) -> np.ndarray:
    return np.random.default_rng(0).normal(10.0, 8.0, (CALLS, N, file.manifest.n_inputs)).astype(np.float32)


def called(blocks: Blocks, samples: np.ndarray) -> list[np.ndarray]:
    """Return the answers and states of some calls."""
    blocks.static[:] = np.linspace(-1.0, 1.0, blocks.static.size).reshape(blocks.static.shape)
    blocks.send_static()
    answers = []
    for sample in samples:
        blocks.inputs[:] = sample
        blocks.run()
        answers += [blocks.outputs.copy(), blocks.state.copy()]
    return answers


@pytest.mark.parametrize("block", [BLOCK, "exact"])
@pytest.mark.parametrize("name", ["mlp", "window", "state"])
def test_same_bits_as_on_the_host(files: dict[str, EmulatorFile], name: str, block: int | str) -> None:
    file = files[name]
    here, there = Blocks(file, N, block), Blocks(on_device(file), N, block, threads=2)
    assert there.sizes == here.sizes
    for one, other in zip(called(here, inputs(file)), called(there, inputs(file)), strict=True):
        np.testing.assert_array_equal(other, one)


@pytest.mark.parametrize("name", ["mlp", "window", "state"])
def test_goes_on_from_what_was_recalled(files: dict[str, EmulatorFile], name: str) -> None:
    file = on_device(files[name])
    first, samples = Blocks(file, N, BLOCK), inputs(file)
    called(first, samples[:2])
    memory = {key: values.copy() for key, values in first.recall().items()}
    expected = called(first, samples[2:])
    for kind in (file, files[name]):  # what the device recalls is what the host would
        second = Blocks(kind, N, BLOCK)
        second.restore(memory)
        if name == "window":
            np.testing.assert_array_equal(second.newest(), samples[1])
        for found, wanted in zip(called(second, samples[2:]), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_static_fields_travel_when_they_are_told_to_have_changed(files: dict[str, EmulatorFile]) -> None:
    file = files["state"]
    blocks, expected = Blocks(on_device(file), N, BLOCK), Blocks(file, N, BLOCK)
    for static in (0.5, -2.0):
        for one in (blocks, expected):
            one.state[:] = 0.0
            one.static[:] = static
            one.send_static()
            one.run()
        np.testing.assert_array_equal(blocks.outputs, expected.outputs)
    for one in (blocks, expected):
        one.state[:] = 0.0
        one.static[:] = 9.0
        one.run()
    assert (blocks.outputs != expected.outputs).any()


def test_memory_that_others_write_travels_as_a_whole(files: dict[str, EmulatorFile]) -> None:
    file = files["state"]
    rows = -(-N // BLOCK) * BLOCK
    columns = Columns.zeros(file.manifest, rows)
    blocks, expected = Blocks(on_device(file), N, BLOCK, columns=columns), Blocks(file, N, BLOCK)
    for static in (0.5, -2.0):
        columns.static.fill_(static)
        expected.static[:] = static
        for one in (blocks, expected):
            one.run()
        np.testing.assert_array_equal(blocks.outputs, expected.outputs)


def test_windows_of_all_blocks_move_on_when_one_fails(tmp_path: Path) -> None:
    window = {"length": 2}
    file = load(write(tmp_path / "cold.pt", Cold(), [TAS], [LAI], window=window))
    blocks = Blocks(on_device(file), N, BLOCK)
    for value, warm in ((1.0, 1.0), (2.0, 1000.0), (4.0, 4.0)):
        blocks.inputs[:] = value
        blocks.inputs[0] = warm
        if warm > 100.0:
            with pytest.raises(Exception, match="too warm"):
                blocks.run()
        elif value == 1.0:
            blocks.run()
    with pytest.raises(Exception, match="too warm"):  # the first block still sees it
        blocks.run()
    np.testing.assert_array_equal(blocks.outputs[BLOCK:], 6.0)


def test_made_in_inference_mode_and_used_outside(files: dict[str, EmulatorFile]) -> None:
    """As by a host that calls from another thread than before."""
    for name in ("window", "state"):
        with torch.inference_mode():
            blocks = Blocks(on_device(files[name]), N, BLOCK)
        memory = Blocks(files[name], N, BLOCK)
        called(memory, inputs(files[name])[:1])
        blocks.restore(memory.recall())
        for one, other in zip(*(called(each, inputs(files[name])) for each in (memory, blocks)), strict=True):
            np.testing.assert_array_equal(other, one)


def test_answers_of_another_shape_are_refused(files: dict[str, EmulatorFile]) -> None:
    file = on_device(files["mlp"])
    blocks = Blocks(file, N, BLOCK)
    for block in blocks._staged._blocks:
        block._forward = lambda x: x[:1]
    with pytest.raises(ValueError, match=r"its outputs have the shape \(1, 3\), not \(32, 1\)"):
        blocks.run()


def test_no_columns(files: dict[str, EmulatorFile]) -> None:
    blocks = Blocks(on_device(files["window"]), 0, BLOCK)
    blocks.run()
    assert blocks.recall()["window"].shape == (0, 7, 2)


# --- graphs ---------------------------------------------------------------------------------------------------


class Replayed:
    """A graph of a device that has none: the work itself, and what it gives is changed by `error`."""

    def __init__(self, work: Callable[[], None], earlier: Replayed | None, error: float, state: torch.Tensor) -> None:
        self.work, self.earlier, self.error, self.state = work, earlier, error, state
        self.count = 0

    def replay(self) -> None:
        self.work()
        self.state += self.error
        self.count += 1


@pytest.mark.parametrize("name", ["mlp", "window", "state"])
@pytest.mark.parametrize("error", [0.0, 1e-7, "raised"])
def test_graphs_are_used_where_they_give_the_same_bits(
    files: dict[str, EmulatorFile], caplog: pytest.LogCaptureFixture, name: str, error: float | str
) -> None:
    caplog.set_level(logging.INFO, "coupler_plugin")
    file = files[name]
    blocks, graphs = Blocks(on_device(file), N, BLOCK), []

    def recorder(work: Callable[[], None], queue: object, earlier: Replayed | None) -> Replayed:
        if len(graphs) == 1 and error == "raised":
            raise RuntimeError("operation not permitted when stream is capturing\nand more of it")
        change = error if len(graphs) == 3 and isinstance(error, float) else 0.0
        rows = blocks._staged._blocks[len(graphs)]._parts[3]
        graphs.append(Replayed(work, earlier, change, rows))
        return graphs[-1]

    samples = [sample_arguments(file.manifest, size) for size in blocks.sizes]
    blocks._staged.record(file.manifest.name, samples, recorder)
    expected = Blocks(file, N, BLOCK)
    for memory in (blocks, expected):  # nothing is left of the trials
        assert not memory.inputs.any()
        assert not memory.outputs.any()
    np.testing.assert_array_equal(blocks.state, expected.state)
    tried = [graph.count for graph in graphs]
    for one, other in zip(called(expected, inputs(file)), called(blocks, inputs(file)), strict=True):
        np.testing.assert_array_equal(other, one)
    used = [graph.count - before for graph, before in zip(graphs, tried, strict=True)]
    if error == 0.0:
        assert used == [CALLS] * len(blocks.sizes)
        assert [graph.earlier for graph in graphs] == [None, None, *graphs[:-2]]
        assert not caplog.messages
    else:
        assert not any(used)
        reason = "it gives other bits" if error == 1e-7 else "operation not permitted when stream is capturing"
        where = f"'{file.manifest.name}' runs on cpu operation by operation, not as a graph: {reason}"
        assert caplog.messages == [where]


@pytest.mark.parametrize(
    ("module", "is_fixed"),
    [(Affine([[2.0]]), True), (nn.Sequential(nn.Linear(1, 1), nn.Tanh()), True), (Counts(), False)],
)
def test_module_that_keeps_something_is_no_graph(tmp_path: Path, module: nn.Module, is_fixed: bool) -> None:
    path = write(tmp_path / "module.pt", module, [TAS], [LAI])
    assert load(path, device=DEVICE).forward.is_fixed == is_fixed


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
@pytest.mark.parametrize("name", ["mlp", "window", "state"])
def test_graphs_of_a_gpu(files: dict[str, EmulatorFile], name: str) -> None:
    path = files[name].path
    file = load(path, device="cuda")
    recorded = Blocks(file, N, BLOCK)
    plain = Blocks(replace(file, forward=OnDevice(file.forward.forward, "cuda")), N, BLOCK)
    assert [call.__name__ for call in recorded._staged._calls] == ["replay"] * len(recorded.sizes)
    assert [call.__name__ for call in plain._staged._calls] == ["work"] * len(plain.sizes)
    here = called(Blocks(files[name], N, BLOCK), inputs(file))
    for one, other, third in zip(called(recorded, inputs(file)), called(plain, inputs(file)), here, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, third, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
def test_module_that_looks_at_its_inputs_runs_without_a_graph(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "coupler_plugin")
    file = load(write(tmp_path / "cold.pt", Cold(), [TAS], [LAI], window={"length": 2}), device="cuda")
    blocks = Blocks(file, N, BLOCK)
    assert any("operation by operation, not as a graph" in message for message in caplog.messages)
    blocks.inputs[:] = 3.0
    blocks.run()
    np.testing.assert_array_equal(blocks.outputs, 6.0)


# --- in a run -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_run_has_the_bits_of_the_host(couple: Couple, tmp_path: Path, kind: str, precision: str) -> None:
    if (kind, precision) == ("window", "bfloat16") and not lstm_runs_in_bfloat16():
        pytest.skip("this processor lacks what torch's LSTM needs for bfloat16")
    emulator = {**section(tmp_path, kind), "precision": precision}
    expected = answers(couple, kind, emulator)
    with device():
        np.testing.assert_array_equal(answers(couple, kind, emulator), expected)


def steps(
    couple: Couple, emulator: dict[str, object], hours: range, halves: bool = False, **sections: object
) -> list[np.ndarray]:
    """Return the answers of some hours of a run that may go on from a restart, as far as they are on the host."""
    coupler = couple(dict(emulator), cells=40, start=f"2001-01-01T{hours[0]:02d}:00", **sections)
    arrays = {name: np.zeros(40) for name in ("tas", "rsds", "orog", "gpp", "reco", "nee", "snw")}
    arrays["orog"] += np.arange(40)
    for name, array in arrays.items():
        coupler.bind(name, array)
    answers = []
    for hour in hours:
        arrays["tas"][:] = 280.0 + np.arange(40) * 0.1 + hour
        arrays["rsds"][:] = 20.0 * hour
        if halves:
            coupler.step_begin()
            coupler.step_end()
        else:
            coupler.step()
        answers += [arrays["gpp"].copy(), arrays["snw"].copy()]
    coupler.finalize()
    return answers


@pytest.mark.parametrize("kind", ["window", "state"])
@pytest.mark.parametrize("more", [{}, {"lag": 1}], ids=["", "lag"])
def test_restarts_and_halves_of_steps(
    couple: Couple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, more: dict[str, int]
) -> None:
    monkeypatch.chdir(tmp_path)
    emulator = {**section(tmp_path, kind), **more}
    expected = steps(couple, emulator, range(6))
    with device():
        first = steps(couple, emulator, range(3), restart={"every": "3h"})
        second = steps(couple, emulator, range(3, 6), halves=True, restart={"read": "required"})
    np.testing.assert_array_equal([*first, *second], expected)
