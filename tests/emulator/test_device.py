# SPDX-License-Identifier: Apache-2.0
"""Which device a rank gets; and, where there is a GPU, that it gives the answers of the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from refusal import refused
from small_emulators import write_mlp

from coupler_plugin import Coupler, Status
from coupler_plugin.emulator.device import CPU, assign
from tests.emulator.kinds import KINDS, answers, section

Couple = Callable[..., Coupler]
HAS_GPU = torch.cuda.is_available()


@pytest.mark.parametrize(
    ("wish", "local", "devices", "expected"),
    [
        ("auto", 0, 0, CPU),
        ("auto", 1, 4, "cuda:1"),
        ("auto", 5, 4, "cuda:1"),  # more ranks than GPUs: they share
        ("cuda", 3, 4, "cuda:3"),
        ("cuda:2", 0, 4, "cuda:2"),
        ("cpu", 3, 4, CPU),
    ],
)
def test_ranks_of_a_node_share_its_gpus(wish: str, local: int, devices: int, expected: str) -> None:
    assert (CPU if wish == CPU else assign(wish, local, devices)) == expected


@pytest.mark.parametrize(("wish", "devices"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_gpu_that_is_not_there_is_an_error(wish: str, devices: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with refused(Status.CONFIG, f"'device: {wish}'", f"sees {devices}", "CUDA_VISIBLE_DEVICES is '7'", "auto"):
        assign(wish, 0, devices)


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_automatic_device_is_the_cpu_where_there_is_no_gpu(couple: Couple, tmp_path: Path) -> None:
    model = write_mlp(tmp_path / "mlp.pt")
    answers = []
    for device in ("cpu", "auto"):
        coupler = couple({"model": model, "device": device})
        arrays = {name: np.full(3, 290.0) for name in ("tas", "hurs", "sfcWind", "lai")}
        for name, array in arrays.items():
            coupler.bind(name, array)
        coupler.step()
        answers.append(arrays["lai"])
    np.testing.assert_array_equal(*answers)
    with refused(Status.CONFIG, "coupling.yml:", "'device: cuda'"):
        couple({"model": model, "device": "cuda"})


def test_unknown_device_names_its_line(couple: Couple, tmp_path: Path) -> None:
    with refused(Status.CONFIG, "coupling.yml:", "emulators.0.device"):
        couple({"model": write_mlp(tmp_path / "mlp.pt"), "device": "gpu"})


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="torch sees no GPU")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-5), ("bfloat16", 0.2)])  # no TF32
def test_gpu_gives_the_answers_of_the_cpu(
    couple: Couple, tmp_path: Path, kind: str, precision: str, bound: float
) -> None:
    emulator = section(tmp_path, kind)
    expected = answers(couple, kind, emulator)
    found = answers(couple, kind, {**emulator, "device": "cuda", "precision": precision})
    assert np.abs(found - expected).max() < bound * np.ptp(expected)
