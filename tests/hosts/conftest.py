# SPDX-License-Identifier: Apache-2.0
"""Builds the land model in the variants that the tests need, and runs it on the forcing of the example."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import netCDF4
import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "01_global_land"
FORCING = EXAMPLE / "global_forcing_t31.nc"

VARIANTS = {
    "coupled": ("-DCOUPLER=ON",),
    "alone": ("-DCOUPLER=OFF",),
    "checks": ("-DCOUPLER=OFF", "-DCHECKS=ON", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_Fortran_FLAGS=-Werror"),
}


def load_from_example(name: str) -> ModuleType:
    """Return a module of the example, which is no package."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


host = load_from_example("host")


@dataclass
class Run:
    """What a run of the land model left: its streams, its fields, one value a cell, and its summary."""

    folder: Path
    returncode: int
    stdout: str
    stderr: str

    @property
    def fields(self) -> dict[str, NDArray[Any]]:
        with netCDF4.Dataset(self.folder / "land_model.nc") as file:
            return {name: np.asarray(variable[:]) for name, variable in file.variables.items()}

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "land_model_summary.json").read_text())


@pytest.fixture(scope="session")
def built() -> Callable[[str], Path]:
    """Return a function that gives the folder of a variant; what is up to date is not built again."""
    folders: dict[str, Path] = {}

    def build(variant: str) -> Path:
        if variant not in folders:
            folders[variant] = host.build(ROOT / "build" / f"land_model_{variant}", *VARIANTS[variant]).parent
        return folders[variant]

    return build


@pytest.fixture
def land_model(built: Callable[[str], Path], tmp_path: Path) -> Callable[..., Run]:
    """Return a function that runs a variant, each run in a folder of its own."""
    count = 0

    def run(variant: str, *, ranks: int = 1, check: bool = True, **settings: Any) -> Run:
        nonlocal count
        count += 1
        folder = tmp_path / f"run_{count}"
        folder.mkdir()
        written = {"forcing": str(FORCING), "progress_days": 0, **settings}
        lines = "\n".join(f"  {name} = {_fortran(value)}" for name, value in written.items())
        (folder / "land_model.nml").write_text(f"&land_model\n{lines}\n/\n")
        done = execute(["mpirun", "-n", str(ranks), str(built(variant) / "land_model")], folder)
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return Run(folder, done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def values_of(
    built: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, float]]:
    """Return a function that compiles a program of this folder with the model's modules and reads its name=value."""

    def run(name: str) -> dict[str, float]:
        model, folder = built("checks"), tmp_path_factory.mktemp(name)
        program = folder / name
        flags = ["-std=f2018", "-Wall", "-Wextra", "-Werror", "-fcheck=all", "-ffpe-trap=invalid,zero,overflow"]
        source = Path(__file__).with_name(f"{name}.f90")
        libraries = [str(model / "libland.a"), "-lnetcdff"]
        command = [
            "mpif90",
            *flags,
            f"-I{model / 'modules'}",
            f"-J{folder}",
            str(source),
            *libraries,
            "-o",
            str(program),
        ]
        compiled = execute(command, folder)
        assert compiled.returncode == 0, compiled.stderr
        done = execute([str(program)], folder)
        assert done.returncode == 0, done.stdout + done.stderr
        pairs = (line.split("=") for line in done.stdout.splitlines() if "=" in line)
        return {key.strip(): float(value) for key, value in pairs}

    return run


def execute(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as the example does, without what pytest has put into the environment."""
    environment = {name: value for name, value in host.environment().items() if name != "VIRTUAL_ENV"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def _fortran(value: Any) -> str:
    if isinstance(value, bool):
        return f".{value}.".lower()
    return f"'{value}'" if isinstance(value, str | os.PathLike) else str(value)
