# SPDX-License-Identifier: Apache-2.0
"""A host on a Gaussian grid whose emulators run on grids of their own; a part of ``coupled_run.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import yaml
from small_emulators import Store, field, write, write_echo, write_mlp, write_tiled

from coupler_plugin import Coupler
from coupler_plugin.regrid import gaussian

STEPS = 8  # hourly
WEATHER = ("tas", "hurs", "sfcWind", "pr", "veg", "orog")
ANSWERS = ("lai", "evspsbl", "snw", "biome", "tsl", "tasmax")
OWN = ("lai", "evspsbl")  #: what the host has a scheme for
GRID = gaussian(16)
LAND = GRID.ids[np.sin(0.37 * GRID.ids) > -0.4]


def prepare(folder: Path) -> None:
    """Write emulators and coupling files."""
    cells = {"grid": {"latlon": 9.0}, "block": 64}
    emulators = [
        {"model": str(write_mlp(folder / "bilinear.pt")), **cells, "where": "tas > 280 K"},
        {"model": str(write_echo(folder / "conservative.pt", field("pr", "mm d-1"), field("evspsbl", "mm d-1")))},
        {"model": str(write_store(folder / "memory.pt")), **cells, "every": "2h", "share": "gather"},
        {"model": str(write_echo(folder / "classes.pt", field("veg", "1"), field("biome", "1"))), **cells},
        {"model": str(write_tiled(folder / "tiles.pt", field("tsl", "K"))), **cells, "static": "orog.nc"},
        {
            "model": str(write_tiled(folder / "finer.pt", field("tasmax", "K"), 2, blend="core")),
            **cells,
            "block": 512,
            "share": "gather",
        },
    ]
    write_height(folder / "orog.nc")
    emulators[1] |= {
        "grid": {"latlon": 3.0},
        "guard": {"range": "fallback", "outputs": {"evspsbl": {"valid_range": [0, 7]}}},
    }
    for emulator in emulators:
        emulator.setdefault("guard", {"range": "off"})
    classes = [{"name": name, "long_name": name, "units": "1", "nature": "class"} for name in ("veg", "biome")]
    content = {
        "emulators": emulators,
        "fields": classes,
        "regrid": {"host_grid": {"gaussian": 16}, "edges": "latitude", "check": "conservation"},
        "restart": {},
    }
    for name in ("whole", "parts"):
        own = {"history": {"file": f"grids_{name}.nc", "fields": [*ANSWERS, "tas"], "every": "4h"}}
        own["report"] = f"grids_{name}.json"
        (folder / f"grids_{name}.yml").write_text(yaml.safe_dump({**content, **own, "restart": {"dir": f"{name}.r"}}))


def write_height(path: Path) -> None:
    """Write a static field on the emulators' grid."""
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("lat", 20)
        file.createDimension("lon", 40)
        height = file.createVariable("topo", "f4", ("lat", "lon"))
        height.units = "km"
        height[:] = 0.3 + 0.3 * np.sin(np.arange(800)).reshape(20, 40)


def write_store(path: Path) -> Path:
    """Write an emulator with a state."""
    state = [{"name": "store", "size": 1, "initial": 2.0}]
    return write(path, Store(0.9), [field("lai", "1")], [field("snw", "mm")], state=state)


def own_cells(rank: int, size: int) -> np.ndarray:
    """Return the ids of a rank: shuffled, in ragged parts, and none for the last of several ranks but two."""
    ids = np.random.default_rng(7).permutation(LAND)
    owners = size - 1 if size > 2 else size
    return (
        np.array_split(ids, np.linspace(0, LAND.size, owners + 1).astype(int)[1:-1])[rank] if rank < owners else ids[:0]
    )


def weather(ids: np.ndarray, step: int) -> dict[str, np.ndarray]:
    """Return the fields of cells at a step, which depend on nothing else."""
    lon, lat = np.deg2rad(GRID.lon[ids - 1]), np.deg2rad(GRID.lat[ids - 1])
    phase = lon + 0.26 * step
    return {
        "tas": 285.0 + 20.0 * np.cos(lat) * np.sin(phase),
        "hurs": 60.0 + 30.0 * np.sin(2.0 * phase),
        "sfcWind": 5.0 + 4.0 * np.cos(3.0 * phase),
        "pr": 5e-5 * (1.0 + np.sin(phase + lat)),
        "orog": 500.0 + 400.0 * np.cos(2.0 * lon),
        "veg": np.rint(2.0 + 2.0 * np.sin(3.0 * lon)),
    }


class Host:
    """A host whose last place holds no cell."""

    def __init__(self, file: Path, comm: Any, start: int = 0) -> None:
        self.ids = own_cells(*(comm.Get_rank(), comm.Get_size()) if comm else (0, 1))
        self.coupler = Coupler(file, comm=comm, start=f"2001-01-01T{start:02d}:00:00", dt=3600.0)
        self.coupler.set_cells(
            np.append(self.ids, 0), *(np.append(part[self.ids - 1], 0.0) for part in (GRID.lon, GRID.lat))
        )
        self.arrays = {name: np.full(self.ids.size + 1, -1.0) for name in (*WEATHER, *ANSWERS)}
        for name, array in self.arrays.items():
            self.coupler.bind(name, array)
        self.steps = start

    def run(self, steps: int) -> dict[str, list[Any]]:
        """Take steps and return the bits of the answers after each, by id."""
        answers: dict[str, list[Any]] = {str(i): [] for i in self.ids}
        for _ in range(steps):
            for name, values in weather(self.ids, self.steps).items():
                self.arrays[name][:-1] = values
            for name in OWN:
                self.arrays[name][:-1] = 0.001 * self.ids
            self.steps += 1
            self.coupler.step()
            for place, i in enumerate(self.ids):
                answers[str(i)].append([float(self.arrays[name][place]).hex() for name in ANSWERS])
        return answers


def run(folder: Path, comm: Any = None) -> dict[str, Any]:
    """Run at once, and in two parts joined by a restart; return the answers of both by id."""
    host = Host(folder / "grids_whole.yml", comm)
    whole = host.run(STEPS)
    untouched = all(host.arrays[name][-1] == -1.0 for name in ANSWERS)
    host.coupler.finalize()
    first = Host(folder / "grids_parts.yml", comm)
    answers = first.run(STEPS // 2)
    first.coupler.write_restart()
    first.coupler.finalize()
    second = Host(folder / "grids_parts.yml", comm, STEPS // 2)
    for i, more in second.run(STEPS // 2).items():
        answers[i] += more
    second.coupler.finalize()
    return {"whole": whole, "parts": answers, "untouched": untouched}
