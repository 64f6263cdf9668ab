# SPDX-License-Identifier: Apache-2.0
"""Emulators that draw random numbers: found by their operations, seeded by call and cell, whatever else is drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_emulators import Noisy, NoisyTiles, field, write
from torch import nn

from coupler_plugin import Coupler, Status
from coupler_plugin.emulator.drawing import DrawnBlocks, Draws
from coupler_plugin.emulator.load import load
from tests.refusal import refused


class Dropped(nn.Module):
    """Answers through dropout as a layer, which is at rest, and as a function, which may not be."""

    def __init__(self, is_active: bool) -> None:
        super().__init__()
        self.layer = nn.Dropout(0.5)
        self.is_active = is_active

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(self.layer(x), 0.5, self.is_active)


class Counting(nn.Module):
    """Draws as many numbers as its inputs ask for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.poisson(x.abs())


@pytest.mark.parametrize(
    ("module", "draws"),
    [
        (NoisyTiles(), True),
        (Dropped(True), True),
        (Dropped(False), False),
        (Counting(), True),
        (nn.Linear(1, 1), False),
    ],
    ids=["noise", "active dropout", "dropout at rest", "poisson", "none"],
)
def test_drawing_is_found(tmp_path: Path, module: nn.Module, draws: bool) -> None:
    assert load(write(tmp_path / "a.pt", module, [field("tas", "K")], [field("lai", "1")])).draws is draws


def take(path: Path, ids: list[int], calls: int = 2, seed: int = 1, name: str = "noisy") -> np.ndarray:
    """Return the answers of the last call in blocks of 16 rows, in the order of `ids`; the past is a window of two."""
    count = 0
    blocks = DrawnBlocks(load(path), np.array(ids), 16, Draws(seed, name, lambda: count))
    assert blocks.keeps_bits
    for count in range(calls):
        blocks.inputs[:, 0] = np.sin(np.array(ids) + count)
        blocks.run()
    assert blocks.state.any()
    return blocks.outputs[:, 0]


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    class Remembering(nn.Module):
        """`Noisy` over the mean of a window."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = Noisy(1, 8)

        def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.inner(x.mean(1), state)

    about = {"state": [{"name": "hidden", "size": 8}], "window": {"length": 2}}
    path = tmp_path_factory.mktemp("noisy") / "noisy.pt"
    return write(path, Remembering(), [field("tas", "K")], [field("lai", "1")], **about)


def test_numbers_belong_to_cells_calls_seeds_and_names(noisy: Path) -> None:
    ids = list(range(5, 45))
    whole = take(noisy, ids)
    assert np.unique(whole).size == whole.size
    for part in (ids[:7], ids[7:], ids[::3], ids[::-1]):
        assert np.array_equal(take(noisy, part), whole[np.array(part) - 5])
    torch.rand(3)
    assert np.array_equal(take(noisy, ids), whole)
    for other in (take(noisy, ids, calls=3), take(noisy, ids, seed=2), take(noisy, ids, name="other")):
        assert (other != whole).all()


def test_torch_draws_on_as_if_there_were_no_emulator(noisy: Path) -> None:
    torch.manual_seed(7)
    alone = torch.rand(4)
    torch.manual_seed(7)
    take(noisy, [1, 2, 3])
    assert torch.equal(torch.rand(4), alone)


def test_numbers_that_depend_on_neighbours_are_told(
    tmp_path: Path, couple: Callable[..., Coupler], caplog: pytest.LogCaptureFixture
) -> None:
    model = write(tmp_path / "poisson.pt", Counting(), [field("tas", "K")], [field("lai", "1")])
    coupler = couple(model)
    coupler.bind("tas", np.full(3, 280.0))
    coupler.bind("lai", np.zeros(3))
    coupler.step()
    assert "'poisson' draws other random numbers for a cell when its neighbours change" in caplog.text


def test_restart_of_another_seed_is_refused(noisy: Path, couple: Callable[..., Coupler]) -> None:
    def begin(start: str, seed: int) -> Coupler:
        coupler = couple({"model": noisy, "seed": seed}, start=start, restart={})
        coupler.bind("tas", np.full(3, 280.0))
        coupler.bind("lai", np.zeros(3))
        coupler.step()
        return coupler

    begin("2001-01-01", 1).write_restart()
    with refused(Status.CONFIG, "the seed of the emulator 'noisy' was 1 and is 2"):
        begin("2001-01-01T01:00", 2)
