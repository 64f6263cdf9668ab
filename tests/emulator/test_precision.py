# SPDX-License-Identifier: Apache-2.0
"""`precision: bfloat16`: answers near those of float32, which stays the default; and the same bits for every block."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from refusal import refused
from small_emulators import write_mlp

from coupler_plugin import Coupler, Status
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
            Status.MODEL, "coupling.yml:5", "does not run in bfloat16 on this processor", "leave 'precision:' out"
        ):
            answers(couple, kind, {**emulator, "precision": "bfloat16"})
        return
    rounded = answers(couple, kind, {**emulator, "precision": "bfloat16"})
    error = np.abs(rounded - exact).max() / np.ptp(exact)
    assert 1e-6 < error < BOUNDS[kind]  # a number has 8 bits, a share of 1/256, in each of a few products
    assert f"bfloat16: '{kind}' differs by up to" in caplog.text
    other_blocks = answers(couple, kind, {**emulator, "precision": "bfloat16", "block": 256})
    np.testing.assert_array_equal(rounded, other_blocks)


def test_tf32_stays_off(couple: Couple, tmp_path: Path) -> None:
    couple({"model": write_mlp(tmp_path / "m.pt"), "device": "auto"})
    assert not torch.backends.cuda.matmul.allow_tf32


def test_unknown_precision_names_its_line(couple: Couple, tmp_path: Path) -> None:
    with refused(Status.CONFIG, "coupling.yml:", "emulators.0.precision", "float32"):
        couple({"model": write_mlp(tmp_path / "m.pt"), "precision": "float16"})
