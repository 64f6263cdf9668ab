# SPDX-License-Identifier: Apache-2.0
"""`precision: bfloat16`: answers near those of float32, which stays the default; and the same bits for every block."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from refusal import refused
from small_emulators import field, write, write_mlp
from torch import nn

from coupler_plugin import Coupler, CouplerError, Status
from tests.emulator.kinds import KINDS, answers, lstm_runs_in_bfloat16, section

Couple = Callable[..., Coupler]


#: the small emulator of tiles adds a plain number to its last product, so that its answers have 8 bits themselves
BOUNDS = {kind: 0.2 if kind == "tile" else 0.1 for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_near_float32_and_keeps_its_bits(
    couple: Couple, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="coupler_plugin")
    emulator = section(tmp_path, kind)
    exact = answers(couple, kind, emulator)
    np.testing.assert_array_equal(exact, answers(couple, kind, {**emulator, "precision": "float32"}))
    if kind == "window" and not lstm_runs_in_bfloat16():
        with refused(
            Status.MODEL,
            "coupling.yml:5",
            "runs in float32, but not in bfloat16 on this device",
            "leave 'precision:' out",
        ):
            answers(couple, kind, {**emulator, "precision": "bfloat16"})
        return
    rounded = answers(couple, kind, {**emulator, "precision": "bfloat16"})
    error = np.abs(rounded - exact).max() / np.ptp(exact)
    assert 1e-6 < error < BOUNDS[kind]  # a number has 8 bits, a share of 1/256, in each of a few products
    assert f"bfloat16: '{kind}' differs by up to" in caplog.text
    other_blocks = answers(couple, kind, {**emulator, "precision": "bfloat16", "block": 256})
    np.testing.assert_array_equal(rounded, other_blocks)


class Strict(nn.Module):
    """Wants its product in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        assert y.dtype == torch.float32, "the product is short"
        return y


def test_network_that_runs_in_float32_alone_names_the_line_of_its_precision(couple: Couple, tmp_path: Path) -> None:
    model = write(tmp_path / "strict.pt", Strict(), [field("tas", "K")], [field("lai", "1")])
    with refused(
        Status.MODEL, "coupling.yml", "emulators.0.precision", "the product is short", "leave 'precision:' out"
    ):
        couple({"model": model, "precision": "bfloat16"})


def test_network_that_does_not_run_at_all_is_not_said_to_lack_bfloat16(couple: Couple, tmp_path: Path) -> None:
    model = write(tmp_path / "wide.pt", nn.Linear(2, 1), [field("tas", "K")], [field("lai", "1")])
    with pytest.raises(CouplerError, match=r"wide.pt' does not run on inputs of the shapes \(1024, 1\)") as refusal:
        couple({"model": model, "precision": "bfloat16"})
    assert "bfloat16" not in str(refusal.value)


def test_tf32_stays_off(couple: Couple, tmp_path: Path) -> None:
    couple({"model": write_mlp(tmp_path / "m.pt"), "device": "auto"})
    assert not torch.backends.cuda.matmul.allow_tf32


def test_unknown_precision_names_its_line(couple: Couple, tmp_path: Path) -> None:
    with refused(Status.CONFIG, "coupling.yml:", "emulators.0.precision", "float32"):
        couple({"model": write_mlp(tmp_path / "m.pt"), "precision": "float16"})
