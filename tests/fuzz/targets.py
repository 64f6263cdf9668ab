# SPDX-License-Identifier: Apache-2.0
"""What reads files: for each kind, a sound one, and a function that uses a damaged one as a run would.

A target fails when a file was used wrongly; CouplerError is the one other way out.
"""

from __future__ import annotations

import hashlib
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import small_emulators as small
import torch
import yaml
from fuzz.mutate import of_bytes, of_content

from coupler_plugin import Coupler
from coupler_plugin.emulator import manifest as manifests
from coupler_plugin.regrid import latlon, weights_file
from coupler_plugin.regrid.weight_files import WeightFile

CELLS = 20
TAS = small.field("tas", "degC", valid_range=[-90, 60], statistics={"mean": 5, "std": 9, "min": -30, "max": 40})
RSDS = small.field("rsds", "W m-2", aggregate="sum")
LAI = small.field("lai", "1", valid_range=[0, 12], description="leaves")
COUPLING: dict[str, Any] = {
    "calendar": "noleap",
    "on_error": "return",
    "threads": 1,
    "timeout": "10min",
    "emulators": [
        {
            "model": "store.pt",
            "every": "2h",
            "block": 16,
            "guard": {"range": "clip", "outputs": {"lai": {"max_change": 1}}},
        },
        {"model": "column.pt", "block": "exact", "outputs": ["snw"], "from": "2001-01-01", "where": "tas > 0 degC"},
    ],
    "constants": {"co2": "370 ppm"},
    "fields": [{"name": "mine", "long_name": "my own", "units": "1", "valid_range": [0, 1]}],
    "history": {"file": "history.nc", "fields": ["lai", "tas"], "every": "3h"},
    "restart": {"every": "2h", "keep": 2},
    "report": "report.json",
}


class Kind(ABC):
    """A kind of file that is damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        state = [{"name": "store", "size": 2}]
        more = {"state": state, "distribution": {"correlation": [[1, 0.3], [0.3, 1]]}, "scores": {"rmse": {"lai": 1.5}}}
        self.model = small.write(folder / "store.pt", Store(), [TAS, RSDS], [LAI], **more)
        small.write(folder / "column.pt", small.Affine([[0.1]]), [TAS], [small.field("snw", "kg m-2")])
        self.coupling = folder / "coupling.yml"
        self.coupling.write_text(yaml.safe_dump(COUPLING, sort_keys=False))
        self.sound = self.run()

    def run(self, hour: int = 0, steps: int = 4) -> np.ndarray:
        """Run the coupling file and return the answers."""
        coupler = Coupler(self.coupling, start=f"2001-01-01T{hour:02d}:00", dt=3600.0)
        ids = np.arange(1, CELLS + 1)
        coupler.set_cells(ids, ids * 1.0, ids * 1.0)
        arrays = {name: np.zeros(CELLS) for name in ("tas", "rsds", "lai", "snw")}
        for name, array in arrays.items():
            coupler.bind(name, array)
        for step in range(hour, hour + steps):
            arrays["tas"][:] = 275.0 + (ids * 7 + step) % 20
            arrays["rsds"][:] = 10.0 * ids
            coupler.step()
        coupler.finalize()
        return np.stack([arrays["lai"], arrays["snw"]])

    @abstractmethod
    def use(self, chance: random.Random) -> None:
        """Damage the file and use it."""

    def restore(self) -> None:
        """Make all files sound again, and remove what runs wrote."""
        for path in [*self.folder.glob("restart/*"), *self.folder.glob("*.nc")]:
            path.unlink()


class Store(torch.nn.Module):
    """A network with a state of two numbers."""

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = 0.5 * state + 0.01 * x
        return state.sum(1, keepdim=True), state


class CouplingFile(Kind):
    """The YAML file, changed in its bytes or in what it says."""

    def use(self, chance: random.Random) -> None:
        if chance.random() < 0.3:
            self.coupling.write_bytes(of_bytes(yaml.safe_dump(COUPLING).encode(), chance))
        else:
            self.coupling.write_text(yaml.safe_dump(of_content(COUPLING, chance), sort_keys=False))
        self.run()


class Manifest(Kind):
    """The manifest in an emulator file that is whole."""

    def use(self, chance: random.Random) -> None:
        extra = {manifests.ENTRY: ""}
        module = torch.jit.load(str(self.model), _extra_files=extra)
        if chance.random() < 0.2:
            text: str | bytes = of_bytes(extra[manifests.ENTRY], chance)  # type: ignore[arg-type]
        else:
            text = json.dumps(of_content(json.loads(extra[manifests.ENTRY]), chance))
        whole = self.model.read_bytes()
        try:
            torch.jit.save(module, str(self.model), _extra_files={manifests.ENTRY: text})
            self.run()
        finally:
            self.model.write_bytes(whole)


class EmulatorFile(Kind):
    """The bytes of an emulator file."""

    def use(self, chance: random.Random) -> None:
        whole = self.model.read_bytes()
        try:
            self.model.write_bytes(of_bytes(whole, chance))
            assert np.array_equal(self.run(), self.sound)
        finally:
            self.model.write_bytes(whole)


class WeightFileBytes(Kind):
    """The bytes of a file of regridding weights."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.grids = latlon(30.0), latlon(45.0)
        self.file = weights_file(folder / "cache", *self.grids, "bilinear", engine="builtin")
        self.whole = self.file.read_bytes()
        self.links = self.read()

    def read(self) -> list[tuple[bytes, ...]]:
        """Return all links."""
        with WeightFile(self.file) as weights:
            weights.check_grids(*self.grids)
            slabs = []
            for links in weights.slabs():
                weights.check_places(links, *self.grids)
                slabs.append((links.rows.tobytes(), links.cols.tobytes(), links.values.tobytes()))
        return slabs

    def use(self, chance: random.Random) -> None:
        self.file.write_bytes(of_bytes(self.whole, chance))
        assert self.read() == self.links


class Restart(Kind):
    """A restart, its pointer, or what a restart says while its hash is right."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.restarts = {path: path.read_bytes() for path in (folder / "restart").iterdir()}
        self.sound = self.run(2, 2)

    def use(self, chance: random.Random) -> None:
        for path, content in self.restarts.items():
            path.write_bytes(content)
        file = self.folder / "restart/coupler.r.2001-01-01-07200.nc"
        pointer = self.folder / "restart/rpointer.coupler.2001-01-01-07200"
        match chance.randrange(4):
            case 0:
                file.write_bytes(of_bytes(file.read_bytes(), chance))
            case 1:
                pointer.write_bytes(of_bytes(pointer.read_bytes(), chance))
            case _:
                with netCDF4.Dataset(str(file), "a") as content:
                    if chance.random() < 0.3:
                        content.facts = of_bytes(content.facts.encode(), chance).decode(errors="replace")
                    elif chance.random() < 0.3:
                        content.renameVariable(chance.choice(list(content.variables)), "other")
                    else:
                        content.facts = json.dumps(of_content(json.loads(content.facts), chance))
                pointer.write_text(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n")
                self.run(2, 2)
                assert np.array_equal(self.run(2, 2), self.sound)


KINDS: dict[str, Callable[[Path], Kind]] = {
    "coupling file": CouplingFile,
    "manifest": Manifest,
    "emulator file": EmulatorFile,
    "weight file": WeightFileBytes,
    "restart": Restart,
}
