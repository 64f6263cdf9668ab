# SPDX-License-Identifier: Apache-2.0
"""Which device a rank gets; and, where there is a GPU, that it gives the answers of the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from refusal import refused
from small_emulators import field, write_carbon, write_mlp, write_tiled

from coupler_plugin import Coupler, Status
from coupler_plugin.emulator.device import CPU, assign
from coupler_plugin.regrid import latlon

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
@pytest.mark.parametrize("kind", ["column", "window", "tile"])
def test_gpu_gives_the_answers_of_the_cpu(couple: Couple, tmp_path: Path, kind: str) -> None:
    grid = latlon(10.0)
    model = {
        "column": lambda: write_mlp(tmp_path / "m.pt"),
        "window": lambda: write_carbon(tmp_path / "m.pt", every="1h"),
        "tile": lambda: write_tiled(tmp_path / "m.pt", field("tsl", "K"), grid={"latlon": 10.0}),
    }[kind]()
    outputs = {"column": ["lai"], "window": ["gpp", "reco", "nee"], "tile": ["tsl"]}[kind]
    answers = []
    for device in ("cpu", "cuda"):
        coupler = couple(
            {"model": model, "device": device}, cells=None, regrid={"host_grid": {"latlon": 10.0}, "edges": "latitude"}
        )
        coupler.set_cells(grid.ids, grid.lon, grid.lat)
        inputs = {
            "tas": 280.0 + grid.lat / 9.0,
            "rsds": 200.0 + grid.lon / 3.0,
            "hurs": 50.0,
            "sfcWind": 3.0,
            "orog": 9.0,
        }
        arrays = {name: np.broadcast_to(value, grid.n).astype(np.float64) for name, value in inputs.items()}
        arrays |= {name: np.zeros(grid.n) for name in outputs}
        for name, array in arrays.items():
            coupler.bind(name, array)
        for _ in range(3):
            coupler.step()
        answers.append(np.stack([arrays[name] for name in outputs]))
    scale = np.abs(answers[0]).max(axis=1, keepdims=True)
    np.testing.assert_allclose(answers[1] / scale, answers[0] / scale, rtol=0.0, atol=1e-5)  # float32, no TF32
