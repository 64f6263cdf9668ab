# SPDX-License-Identifier: Apache-2.0
"""Small ensembles: forcing with values that a test can compute, emulators with and without dropout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_emulators import field, write, write_carbon
from torch import nn

from coupler_plugin.emulator import manifest as manifests
from tests.driver.conftest import forcing

xarray = pytest.importorskip("xarray")


class Wavering(nn.Module):
    """A network with dropout: leaf area from temperature."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Linear(1, 64)
        self.dropout = nn.Dropout(0.5)
        self.last = nn.Linear(64, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.dropout(torch.relu(self.first(x / 100.0))))


class Anxious(nn.Module):
    """Gives temperature, and raises where it is above 300 K."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert bool((x <= 300.0).all()), "too warm"
        return x.clone()


EMULATORS: dict[str, Callable[[Path], Path]] = {
    "carbon": write_carbon,
    "wavering": lambda path: write(path, Wavering(), [field("tas", "K")], [field("lai", "1")], every="1d"),
    "anxious": lambda path: write(path, Anxious(), [field("tas", "K")], [field("lai", "1")], every="1d"),
}


def write_run(folder: Path, emulator: str, **sections: Any) -> Path:
    """Write an emulator, ten days of forcing and a coupling file `run.yml` on 12 cells, of which 4 fill a block."""
    EMULATORS[emulator](folder / f"{emulator}.pt")
    forcing(0, 10).to_netcdf(folder / "forcing.nc")
    content = {
        "calendar": "360_day",
        "emulators": [{"model": f"{emulator}.pt", "block": 16, "guard": {"input": "off"}}],
        "driver": {"start": "2001-01-01", "end": "2001-01-11", "forcing": [{"files": ["forcing.nc"]}]},
        **sections,
    }
    (folder / "run.yml").write_text(yaml.safe_dump(content))
    return folder / "run.yml"


def write_ensemble(folder: Path, fields: tuple[str, ...] = ("nee", "tas"), **sections: Any) -> Path:
    """Write an ensemble file for `run.yml`."""
    statistics = {"file": "statistics.nc", "fields": list(fields), "every": "2d", **sections.pop("statistics", {})}
    content = {"coupling": "run.yml", "statistics": statistics, "keep": "members.nc", **sections}
    (folder / "ens.yml").write_text(yaml.safe_dump(content))
    return folder / "ens.yml"


def opened(path: Path) -> Any:
    """Return a file as it is on disk, with times as numbers."""
    with xarray.open_dataset(path, decode_times=False) as file:
        return file.load()


def save_frozen(path: Path) -> Path:
    """Write an emulator whose dropout was removed before it was saved."""
    about = {"name": path.stem, "version": "1.0.0", "description": "frozen", "every": "1d"}
    entries = {"inputs": [field("tas", "K")], "outputs": [field("lai", "1")]}
    module = torch.jit.freeze(torch.jit.script(Wavering().eval()))
    manifests.save(module, manifests.Manifest.model_validate({**about, **entries}), path)
    return path
