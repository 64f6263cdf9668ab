# SPDX-License-Identifier: Apache-2.0
"""The land as the plugin recorded it in a run of our own land model, and which of its cells are held out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from torchscript_models.cubes import open_cube
from torchscript_models.data import Array, DataError
from torchscript_models.land_state.network import DIAGNOSTICS, FORCING, STATES

RECORD, POINTS = "land_record.nc", "land_states.nc"
BLOCK: Final = 15.0  #: degrees of the blocks of cells that are held out together
FOLDS: Final = 5
SECONDS: Final = 86400.0


@dataclass(frozen=True)
class Land:
    """A year of days at the cells of a run.

    Attributes
    ----------
    forcing : array, shape (days, cells, 8)
        Means of the days, units of the manifest (rain in kg m-2 d-1).
    states : array, shape (days + 1, cells, 5)
        At the beginning of the first day and at the end of each.
    diagnostics : array, shape (days, cells, 4)
        Means of the days.
    fold : array, shape (cells,)
        Of the block that a cell lies in.
    """

    lat: Array
    lon: Array
    forcing: Array
    states: Array
    diagnostics: Array
    fold: NDArray[np.int64]


def read_land(folder: Path) -> Land:
    """Read the record and the states that `examples/05_land_state` writes.

    Raises
    ------
    DataError
        When a file is missing, or the two do not fit together.
    """
    record, points = open_cube(folder / RECORD), open_cube(folder / POINTS)
    if not np.array_equal(record["id"], points["id"]):
        raise DataError(f"{RECORD} and {POINTS} have other cells: they come from two runs.")
    if len(points["time"]) != len(record["time"]) + 1:
        raise DataError(
            f"{POINTS} has {len(points['time'])} days and {RECORD} {len(record['time'])}: the states must begin one "
            "day before the record."
        )
    daily = {name: SECONDS if name in ("pr", "evspsbl", "mrro") else 1.0 for name in (*FORCING, *DIAGNOSTICS)}
    lat, lon = record["lat"].to_numpy().astype(np.float32), record["lon"].to_numpy().astype(np.float32)
    return Land(
        lat=lat,
        lon=lon,
        forcing=_stacked(record, FORCING, daily),
        states=_stacked(points, STATES, dict.fromkeys(STATES, 1.0)),
        diagnostics=_stacked(record, DIAGNOSTICS, daily),
        fold=block_fold(lat, lon),
    )


def block_fold(lat: NDArray[np.floating], lon: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the fold of each place: blocks of `BLOCK` degrees are dealt out whole, by a fixed seed."""
    row, column = (np.asarray(lat) + 90.0) // BLOCK, (np.asarray(lon) % 360.0) // BLOCK
    columns = int(360.0 / BLOCK)
    dealt = np.random.default_rng(0).permutation(np.arange(int(180.0 / BLOCK + 1) * columns) % FOLDS)
    return dealt[(row * columns + column).astype(int)]


def _stacked(cube: xr.Dataset, names: tuple[str, ...], factors: dict[str, float]) -> Array:
    values = [factors[name] * cube[name].to_numpy() for name in names]
    return np.stack(values, axis=-1).astype(np.float32)
