# SPDX-License-Identifier: Apache-2.0
"""Wherever a restart cuts a run, and in whatever order the cells come after it: the bits of one run."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from coupler_plugin import Coupler
from tests.small_emulators import Ends, Store, field, write

STEPS = 20
CELLS = 21
AGGREGATES = ["mean", "sum", "min", "max", "last"]
intervals = st.sampled_from(["1h", "2h", "3h", "5h", "8h", "1d"])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recurrent emulator and one with a window, which takes its answers, for each way to accumulate."""
    folder = tmp_path_factory.mktemp("models")
    state = [{"name": "store", "size": 1}]
    for aggregate in AGGREGATES:
        tas, snw = (field(name, units, aggregate=aggregate) for name, units in (("tas", "K"), ("snw", "kg m-2")))
        write(folder / f"store_{aggregate}.pt", Store(0.7), [tas], [field("snw", "kg m-2")], state=state)
        outputs = [field("lai", "1"), field("mrso", "kg m-2")]
        write(folder / f"ends_{aggregate}.pt", Ends(), [snw], outputs, window={"length": 3})
    return folder


def run(coupling: Path, first: int, last: int, ids: np.ndarray) -> np.ndarray:
    """Take hourly steps, write a restart at the end, and return the answers ordered by id."""
    coupler = Coupler(coupling, start=f"2001-01-01T{first:02d}:00", dt=3600.0)
    coupler.set_cells(ids, ids * 1.0, ids * 1.0)
    arrays = {name: np.zeros(ids.size) for name in ("tas", "snw", "lai", "mrso")}
    for name, array in arrays.items():
        coupler.bind(name, array)
    for step in range(first, last):
        arrays["tas"][:] = 280.0 + np.sin(ids + 0.3 * step)
        coupler.step()
    coupler.write_restart()
    coupler.finalize()
    return np.stack(list(arrays.values()))[:, np.argsort(ids)]


@settings(max_examples=20)
@given(
    cut=st.integers(1, STEPS - 1),
    every=st.tuples(intervals, intervals, intervals),
    aggregates=st.tuples(st.sampled_from(AGGREGATES), st.sampled_from(AGGREGATES)),
    order=st.permutations(range(1, CELLS + 1)),
)
def test_two_runs_have_the_bits_of_one(
    models: Path, cut: int, every: tuple[str, ...], aggregates: tuple[str, ...], order: list[int]
) -> None:
    ids = np.arange(1, CELLS + 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        emulators: list[dict[str, Any]] = [
            {"model": str(models / f"{kind}_{aggregate}.pt"), "every": interval, "block": 16, "guard": {"input": "off"}}
            for kind, aggregate, interval in zip(("store", "ends"), aggregates, every[:2], strict=True)
        ]
        history = {"file": "history.nc", "fields": ["lai", "tas"], "every": every[2]}
        coupling = folder / "coupling.yml"
        coupling.write_text(yaml.safe_dump({"emulators": emulators, "history": history, "restart": {"keep": 9}}))
        whole = run(coupling, 0, STEPS, ids)
        record = _values(folder / "history.nc")
        shutil.rmtree(folder / "restart")
        run(coupling, 0, cut, ids)
        assert run(coupling, cut, STEPS, np.array(order)).tobytes() == whole.tobytes()
        assert _values(folder / "history.nc") == record


def _values(path: Path) -> dict[str, bytes]:
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        return {name: variable[:].tobytes() for name, variable in file.variables.items()}
