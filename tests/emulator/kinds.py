# SPDX-License-Identifier: Apache-2.0
"""One emulator of each kind on a globe of 10 degrees, for tests of where and how exactly they run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from small_emulators import Gru, field, write, write_carbon, write_mlp, write_tiled

from coupler_plugin import Coupler
from coupler_plugin.regrid import latlon

GRID = latlon(10.0)
#: kind -> the output that is looked at
KINDS = {"column": "lai", "window": "gpp", "state": "snw", "tile": "tsl"}


def lstm_runs_in_bfloat16() -> bool:
    """Return whether this processor has what torch's LSTM needs for it."""
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        try:
            torch.nn.LSTM(2, 4, batch_first=True).eval()(torch.zeros(3, 5, 2))
        except RuntimeError:
            return False
    return True


def section(folder: Path, kind: str) -> dict[str, Any]:
    """Write an emulator of a kind and return its section of the coupling file."""
    path, state = folder / f"{kind}.pt", [{"name": "hidden", "size": 5, "initial": 0.1}]
    if kind == "column":
        write_mlp(path)
    elif kind == "window":
        write_carbon(path, every="1h")
    elif kind == "state":
        write(path, Gru(1, 5), [field("tas", "degC")], [field("snw", "mm")], state=state)
    else:
        write_tiled(path, field("tsl", "K"))
    return {"model": path, "outputs": [KINDS[kind]], **({"grid": {"latlon": 10.0}} if kind == "tile" else {})}


def answers(couple: Callable[..., Coupler], kind: str, emulator: dict[str, Any]) -> np.ndarray:
    """Return the answers after three steps, shape (cells,)."""
    coupler = couple(dict(emulator), cells=None, regrid={"host_grid": {"latlon": 10.0}, "edges": "latitude"})
    coupler.set_cells(GRID.ids, GRID.lon, GRID.lat)
    weather = {"tas": 280.0 + GRID.lat / 9.0, "rsds": 200.0 + GRID.lon / 3.0, "hurs": 50.0 + GRID.lat / 3.0}
    arrays = {name: np.array(values) for name, values in weather.items()}
    arrays |= {"sfcWind": np.full(GRID.n, 3.0), "orog": np.full(GRID.n, 9.0), KINDS[kind]: np.zeros(GRID.n)}
    for name, array in arrays.items():
        coupler.bind(name, array)
    for _ in range(3):
        coupler.step()
    return arrays[KINDS[kind]]
