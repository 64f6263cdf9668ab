# SPDX-License-Identifier: Apache-2.0
"""Small ensembles: forcing with values that a test can compute, emulators with and without dropout."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from small_emulators import field, write, write_carbon
from torch import nn

from coupler_plugin.emulator import manifest as manifests
from coupler_plugin.ensemble import run_ensemble
from tests.driver.conftest import LAT, LON, forcing

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
    with xarray.open_dataset(path, decode_times=False, engine="zarr" if path.suffix == ".zarr" else None) as file:
        return file.load()


def save_frozen(path: Path) -> Path:
    """Write an emulator whose dropout was removed before it was saved."""
    about = {"name": path.stem, "version": "1.0.0", "description": "frozen", "every": "1d"}
    entries = {"inputs": [field("tas", "K")], "outputs": [field("lai", "1")]}
    module = torch.jit.freeze(torch.jit.script(Wavering().eval()))
    manifests.save(module, manifests.Manifest.model_validate({**about, **entries}), path)
    return path


NOISE = [{"field": "tas", "add": 2.0, "time": "3d"}, {"field": "rsds", "multiply": 0.2}]


def write_observations(path: Path, seed: int = 5, lon: np.ndarray = LON) -> None:
    """Write daily leaf area and carbon exchange on the cells, with gaps."""
    file = forcing(0, 10)[["time_bnds"]]
    random = np.random.default_rng(seed)
    for name, units, size in (("nee", "kg m-2 s-1", 1e-7), ("tas", "degC", 3.0)):
        values = random.normal(0.0 if name == "nee" else 2.0, size, (10, LAT.size, LON.size))
        values[2:4, 1, 1] = np.nan
        values[5, :, 2] = np.nan
        file[f"{name}_observed"] = (("time", "lat", "lon"), values, {"units": units})
    file = file.assign_coords(lat=("lat", LAT, {"units": "degrees_north"}), lon=("lon", lon, {"units": "degrees_east"}))
    file.to_netcdf(path)


OBSERVATIONS = {"files": ["observed.nc"], "fields": {"nee": "nee_observed", "tas": "tas_observed"}}


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "OMPI_MCA_mpi_yield_when_idle": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


def write_two(folder: Path) -> Path:
    """Write two ensembles, one of noise, parameters and observations and one of dropout."""
    for name, emulator in (("noise", "carbon"), ("dropout", "wavering")):
        (folder / name).mkdir()
        write_run(folder / name, emulator)
    forcing_of_many_cells(folder / "dropout" / "forcing.nc")
    write_observations(folder / "noise" / "observed.nc")
    parameters = {"values": [{"field": "rsds", "multiply": [0.9, 1.1]}]}
    statistics = {"observations": OBSERVATIONS}
    write_ensemble(folder / "noise", members=3, perturb=NOISE, parameters=parameters, statistics=statistics)
    write_ensemble(folder / "dropout", ("lai",), members=2, dropout=["wavering"])
    return folder


@pytest.fixture(scope="session")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run those two in one go on one rank."""
    folder = write_two(tmp_path_factory.mktemp("serial"))
    for name in ("noise", "dropout"):
        run_ensemble(folder / name / "ens.yml")
    return folder


def forcing_of_many_cells(path: Path) -> None:
    """Write forcing on 60 cells: three whole blocks of 16, and one that is not."""
    parts = [forcing(0, 10).assign_coords(lon=("lon", LON + shift)) for shift in (0.0, 10.0, 20.0, 30.0, 40.0)]
    joined = xarray.concat(parts, "lon", data_vars="minimal", coords="minimal", compat="override")
    joined["lon"].attrs["units"] = "degrees_east"
    joined.to_netcdf(path)


def warm_member(folder: Path, shifts: list[float], **more: object) -> Path:
    """Write an ensemble of shifts of the temperature, which reaches 279.11 K; the emulator fails above 300 K."""
    return write_ensemble(folder, ("lai", "tas"), parameters={"values": [{"field": "tas", "add": shifts}]}, **more)
