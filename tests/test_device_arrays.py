# SPDX-License-Identifier: Apache-2.0
"""Arrays of a host on a device give the bits of arrays in its memory; tensors of the CPU stand for those of a GPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import torch
from refusal import refused
from small_emulators import Affine, Gru, Product, field, write, write_mlp

from coupler_plugin import Coupler, Status
from coupler_plugin.accumulate import Accumulator
from coupler_plugin.cells import Cells, HostArray
from coupler_plugin.device_arrays import DeviceAccumulator, DeviceArray
from tests.emulator.kinds import GRID

Couple = Callable[..., Coupler]
Case = tuple[Cells, np.ndarray, Any]
DEVICES = ["cpu", pytest.param("cuda", marks=[
    pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
])]  # fmt: skip
AGGREGATES = ["mean", "sum", "min", "max", "last"]
FILL = -7.0


def ragged(shape: tuple[int, ...]) -> Cells:
    """Return cells of a shape, of which every third place is none."""
    places = np.arange(int(np.prod(shape))).reshape(shape)
    ids = np.where(places % 3 == 2, 0, places + 1)
    return Cells(ids, np.zeros(shape), np.zeros(shape))


def whole(shape: tuple[int, ...]) -> Cells:
    return Cells(np.arange(int(np.prod(shape))).reshape(shape) + 1, np.zeros(shape), np.zeros(shape))


CASES = {
    "packed": (whole((7,)), (7,), slice(None)),
    "levels first": (whole((7,)), (3, 7), slice(None)),
    "levels in the middle": (whole((4, 5)), (4, 3, 5), slice(None)),
    "ragged": (ragged((4, 5)), (4, 5), slice(None)),
    "ragged with levels": (ragged((4, 5)), (4, 5, 2), slice(None)),
    "strided": (whole((4, 5)), (4, 15), (slice(None), slice(1, None, 3))),
    "strided and ragged": (ragged((4, 5)), (8, 5), slice(None, None, 2)),
    "one point": (whole(()), (), ...),
    "no point": (ragged((3, 0)), (3, 0), slice(None)),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    cells, shape, part = CASES[request.param]
    return cells, np.random.default_rng(1).normal(size=shape), part


def both(case: Case, dtype: type, device: str) -> tuple[HostArray, DeviceArray, np.ndarray, torch.Tensor]:
    """Return an array of the host and its twin on a device, with all memory of both."""
    cells, values, part = case
    here = values.astype(dtype)
    there = torch.tensor(here, device=device)
    return HostArray("tas", here[part], cells), DeviceArray("tas", there[part], cells), here, there


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reads_and_writes_the_cells_and_nothing_else(case: Case, dtype: type, device: str) -> None:
    one, other, here, there = both(case, dtype, device)
    n, size = case[0].n, one.size
    assert other.size == size
    values, found = np.empty((n, size)), np.empty((n, size))
    one.read(values)
    other.read(found)
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(other.view, values.astype(dtype))
    new = np.random.default_rng(2).normal(size=(n, size))
    for which in (None, np.arange(n) % 2 == 0, np.zeros(n, bool)):
        for array in (one, other):
            array.write(new, which)
        np.testing.assert_array_equal(there.cpu().numpy(), here)
        new *= 1.5


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_windows_have_the_bits_of_the_host(case: Case, dtype: type, aggregate: str, device: str) -> None:
    one, other, here, there = both(case, dtype, device)
    windows = Accumulator(aggregate, one), DeviceAccumulator(aggregate, other)
    found = [np.empty((case[0].n, one.size)) for _ in windows]
    for samples in (0, 5, 1):
        for sample in range(samples):
            here[...] = np.sin(here * 3.1 + sample) * 1e3
            there.copy_(torch.tensor(here))
            for window in windows:
                window.update()
        for window, values in zip(windows, found, strict=True):
            window.read(values)
        np.testing.assert_array_equal(*found)
        held = [window.recall() for window in windows]
        assert (held[0] is None) == (held[1] is None) == (aggregate == "last" or samples == 0)
        if held[0] is not None:
            np.testing.assert_array_equal(*held)
            kept = held[1].copy()
            windows[1].reset()
            windows[1].restore(samples, kept)
            windows[1].read(found[1])
            np.testing.assert_array_equal(*found)
        for window in windows:
            window.reset()


def test_bound_in_inference_mode_and_stepped_outside() -> None:
    """As a host does that calls from another thread than before."""
    cells = whole((5,))
    with torch.inference_mode():
        array = DeviceArray("tas", torch.ones(5), cells)
        window = DeviceAccumulator("mean", array)
        window.update()
    window.update()
    values = np.empty((5, 1))
    window.read(values)
    assert (values == 1.0).all()
    array.write(np.full((5, 1), 2.0))
    assert (array.view == 2.0).all()


@pytest.mark.parametrize("tensor", [torch.zeros(3, dtype=torch.int32), torch.zeros(3).to_sparse()])
def test_tensor_that_no_field_can_be(couple: Couple, tensor: torch.Tensor) -> None:
    with refused(Status.ARRAY, "bind: 'tas' is a tensor of kind", "float32 or float64"):
        couple().bind("tas", tensor)


def test_tensor_of_another_shape(couple: Couple) -> None:
    with refused(Status.ARRAY, "bind: 'tas' has the shape (5, 4)", "cells of the shape (3,)"):
        couple().bind("tas", torch.zeros(4, 5))


def test_rebinding_keeps_the_kind_of_memory(couple: Couple) -> None:
    coupler = couple()
    coupler.bind("tas", torch.zeros(3))
    coupler.step()
    coupler.bind("tas", torch.ones(3))
    with refused(Status.ARRAY, "'tas' was bound in memory of the device cpu and is now bound in the host's memory"):
        coupler.bind("tas", np.zeros(3))


# --- in a run -------------------------------------------------------------------------------------------------

NAMES = ("tas", "hurs", "sfcWind", "orog", "lai", "snw", "tsl")
SHAPE = (4, 5)


def emulators(folder: Path) -> list[dict[str, object]]:
    """Return a network, one with a state whose guard leaves cells to the host, and one with a static field."""
    state = [{"name": "hidden", "size": 5, "initial": 0.1}]
    seen = field("tas", "K", statistics={"mean": 285.0, "std": 4.0, "min": 270.0, "max": 290.0})
    guard = {"input": "fallback"}
    product = [field("tas", "degC")], [field("tsl", "K")]
    return [
        {"model": write_mlp(folder / "mlp.pt"), "every": "1h", "guard": guard},
        {
            "model": write(folder / "gru.pt", Gru(1, 5), [seen], [field("snw", "mm")], state=state),
            "every": "2h",
            "guard": {"input": "hold", "unseen": "fallback"},
        },
        {
            "model": write(folder / "static.pt", Product(), *product, static=[field("orog", "m")]),
            "every": "30min",
            "guard": guard,
        },
    ]


def fields() -> dict[str, np.ndarray]:
    """Return the memory of a host."""
    memory = {name: np.full(SHAPE, FILL, np.float32 if name in ("hurs", "lai") else np.float64) for name in NAMES}
    memory["orog"] += np.arange(20).reshape(SHAPE)
    return memory


def run(
    couple: Couple,
    entries: list[dict[str, object]],
    device: str | None,
    memory: dict[str, np.ndarray],
    steps: range = range(8),
    **sections: object,
) -> list[bytes]:
    """Return the bits of all fields after each step of half an hour, of arrays of the host or of a device."""
    start = f"2001-01-01T{steps[0] // 2:02d}:{steps[0] % 2 * 30:02d}"
    coupler = couple([dict(entry) for entry in entries], cells=None, dt=1800.0, start=start, **sections)
    ids = np.arange(20).reshape(SHAPE) + 1
    ids[1, 3] = 0
    coupler.set_cells(ids, np.zeros(SHAPE), np.linspace(-80.0, 80.0, 20).reshape(SHAPE))
    tensors = {name: torch.from_numpy(values).to(device or "cpu") for name, values in memory.items()}
    for name in NAMES:
        coupler.bind(name, tensors[name] if device else memory[name], "degC" if name == "tas" else None)
    bits = []
    for step in steps:
        memory["tas"][...] = np.linspace(0.0, 30.0, 20).reshape(SHAPE) - step
        memory["tas"][0, 0] = np.nan if step == 3 else 5.0
        memory["tas"][1, 3] = np.nan  # no cell
        memory["hurs"][...] = 50.0 + step
        memory["sfcWind"][...] = 3.0 + 0.1 * step
        for name in NAMES:
            tensors[name].copy_(torch.from_numpy(memory[name]))
        coupler.step()
        for name in NAMES if device else ():
            memory[name][...] = tensors[name].cpu().numpy()
        bits.append(b"".join(values.tobytes() for values in memory.values()))
        assert memory["snw"][1, 3] == memory["lai"][1, 3] == memory["tsl"][1, 3] == FILL
    coupler.finalize()
    return bits


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", ["", "shadow", "lag"])
def test_run_has_the_bits_of_the_host(couple: Couple, tmp_path: Path, device: str, mode: str) -> None:
    entries = emulators(tmp_path)
    if mode == "shadow":
        entries[1] |= {"mode": "shadow", "guard": {"input": "hold"}}
    elif mode == "lag":
        entries[1]["lag"] = 1
    files = [tmp_path / "host.nc", tmp_path / "device.nc"]
    runs = []
    for file, where in zip(files, (None, device), strict=True):
        histories = {"history": {"file": str(file), "fields": ["tas", "lai", "hurs"], "every": "90min"}}
        runs.append(run(couple, entries, where, fields(), report=f"{file}.json", **histories))
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 8
    with netCDF4.Dataset(files[0]) as one, netCDF4.Dataset(files[1]) as other:
        for name in ("tas", "lai", "hurs"):
            np.testing.assert_array_equal(other[name][:], one[name][:])
    found = [json.loads(Path(f"{file}.json").read_text())["emulators"] for file in files]
    for one, other in zip(*found, strict=True):
        assert other.get("shadow") == one.get("shadow")
        assert other["interventions"] == one["interventions"]


@pytest.mark.parametrize("device", DEVICES)
def test_restart_in_the_middle_of_windows(
    couple: Couple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.chdir(tmp_path)
    entries, restart = emulators(tmp_path), {"restart": {"every": "90min", "keep": 9}}
    expected = run(couple, entries, None, fields())
    for first, second in ((device, device), (None, device), (device, None)):  # what one has written, the other reads
        memory = fields()  # which is the host's to keep
        found = run(couple, entries, first, memory, range(3), **restart)
        found += run(couple, entries, second, memory, range(3, 8), **restart)
        assert found == expected


def test_grid_of_its_own_and_record(couple: Couple, tmp_path: Path) -> None:
    found = []
    for kind in (np.asarray, torch.from_numpy):
        file = tmp_path / f"{kind.__name__}.nc"
        model = write(tmp_path / "a.pt", Affine([[2.0]]), [field("tas", "degC")], [field("tsl", "K")], every="2h")
        coupler = couple(
            {"model": model, "grid": {"latlon": 20.0}}, cells=None,
            regrid={"host_grid": {"latlon": 10.0}, "edges": "latitude"}, record={"file": str(file), "every": "2h"},
        )  # fmt: skip
        coupler.set_cells(GRID.ids, GRID.lon, GRID.lat)
        tas, tsl = 280.0 + GRID.lat / 9.0, np.zeros(GRID.n)
        coupler.bind("tas", kind(tas))
        coupler.bind("tsl", kind(tsl))
        for _ in range(4):
            coupler.step()
            tas += 1.0
        coupler.finalize()
        with netCDF4.Dataset(file) as record:
            found.append([tsl, *(np.ma.getdata(record[name][:]) for name in record.variables if name != "history")])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(other, one)
