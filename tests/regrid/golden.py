# SPDX-License-Identifier: Apache-2.0
"""The golden set: grids, weights and fields that xESMF made, where the data are at hand."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from coupler_plugin.regrid import Grid, curvilinear, latlon, mesh

_DATA = Path(os.environ.get("COUPLER_PLUGIN_DATA", Path(__file__).parents[3] / "shared" / "data"))
FOLDER = _DATA.parent / "golden_regrid"
IS_HERE = (FOLDER / "cases.json").exists()
REASON = "the golden regridding set is not at hand ($COUPLER_PLUGIN_DATA names the folder beside it)"


@cache
def formulas() -> Any:
    """Return the module that defines grids, masks and fields of the set."""
    found = importlib.util.spec_from_file_location("golden_grids", FOLDER / "golden_grids.py")
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def grid(name: str) -> Grid:
    """Return a grid of the set by its name, such as ll0p5."""
    if name.startswith("ll"):
        return latlon(float(name[2:].replace("p", ".")))
    if name == "rot1":
        found = formulas().rotated(1.0)
        return curvilinear(name, found["lon"], found["lat"], found["lon_b"], found["lat_b"])
    found = formulas().cubed(24)
    return mesh(name, found["node_lon"], found["node_lat"], found["quads"], found["lon"], found["lat"])


def masked(whole: Grid) -> Grid:
    """Return a grid with the mask of the set."""
    return whole.masked(formulas().mask(whole.lon, whole.lat))


@dataclass(frozen=True)
class Case:
    """A case of the set; `entry` is its line of cases.json."""

    entry: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.entry["case"])

    @property
    def method(self) -> str:
        return str(self.entry["method"])

    def grids(self) -> tuple[Grid, Grid]:
        """Return the source and the destination with their masks."""
        src, dst = (grid(self.entry[side]) for side in ("src", "dst"))
        src = masked(src) if self.entry["src_mask"] else src
        dst = masked(dst) if self.entry["dst_mask"] else dst
        # For the cubed sphere ESMF was asked directly, with a grid that goes round.
        is_periodic = self.entry["options"].get("periodic", self.entry["dst"] == "cs24")
        return replace(src, periodic=bool(is_periodic)), dst

    @property
    def marks_unmapped(self) -> bool:
        """Whether xESMF was told to mark destination cells without a value."""
        return bool(self.entry["dst_mask"] or self.entry["options"].get("unmapped_to_nan"))

    def weights(self) -> tuple[scipy.sparse.csr_array, NDArray[np.bool_]]:
        """Return xESMF's weights and which rows of them are stored."""
        with netCDF4.Dataset(FOLDER / f"w_{self.name}.nc") as data:
            data.set_auto_mask(False)
            row, col, values, step = data["row"][:] - 1, data["col"][:] - 1, data["S"][:], int(data.row_step)
        kept = np.isfinite(values)
        shape = (self.entry["n_dst"], self.entry["n_src"])
        matrix = scipy.sparse.csr_array((values[kept], (row[kept], col[kept])), shape=shape)
        return matrix, np.arange(shape[0]) % step == 0

    def field(self) -> tuple[NDArray[np.float64], int]:
        """Return the field that xESMF regridded, every so many rows of the grid, and this number."""
        with netCDF4.Dataset(FOLDER / "fields.nc") as data:
            data.set_auto_mask(False)
            found = data[f"{self.name}__f"]
            return found[:], int(found.row_step)


def cases() -> list[Case]:
    """Return all cases; none when the set is not at hand."""
    if not IS_HERE:
        return []
    return [Case(entry) for entry in json.loads((FOLDER / "cases.json").read_text())]
