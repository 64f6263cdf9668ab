# SPDX-License-Identifier: Apache-2.0
"""Every emulator of the zoo runs in a Fortran host, and gives it the bits that it gives to Python."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from zoo import ZOO

from coupler_plugin import Coupler
from coupler_plugin.cli.prefix import native_prefix
from coupler_plugin.derived import DERIVED
from coupler_plugin.emulator.load import EmulatorFile
from coupler_plugin.emulator.manifest import Variable
from coupler_plugin.regrid import latlon

DAYS = 2  #: steps; a large tile without a memory is run once
LON, LAT = np.linspace(-100.0, 100.0, 5), np.linspace(-40.0, 65.0, 5)
GRID = {"latlon": 2.0, "region": [-8.0, 36.0, 8.0, 48.0]}  #: of a host whose emulator sees tiles
UNTOUCHED = -12345.0  #: no emulator gives it; an answer may be 0, such as the trees of a grey photograph


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the host."""
    if shutil.which("gfortran") is None:
        pytest.skip("gfortran is not installed")
    folder, prefix = tmp_path_factory.mktemp("host"), native_prefix()
    flags = [f"-I{prefix / 'include'}", f"-L{prefix / 'lib'}", f"-Wl,-rpath,{prefix / 'lib'}", f"-J{folder}"]
    source = Path(__file__).with_name("any_emulator.f90")
    command = ["gfortran", "-Wall", "-Wextra", "-std=f2018", str(source), "-o", str(folder / "host"), *flags]
    subprocess.run([*command, "-lcoupler_plugin_fortran", "-lcoupler_plugin"], check=True)
    return folder / "host"


def plausible(entry: Variable, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return values of `n` cells around the mean of the training data, or in an entry's range, shape (n, size)."""
    low, high = entry.valid_range
    statistics = getattr(entry, "statistics", None)
    if statistics is not None:
        low, high = statistics.mean - 0.5 * statistics.std, statistics.mean + 0.5 * statistics.std
    return rng.uniform(max(low, 0.0) if low >= 0 else low, high, (n, entry.size))


@pytest.mark.parametrize("name", [path.stem for path in sorted(ZOO.glob("*.pt"))])
def test_host_gets_the_bits_of_python(
    name: str, host: Path, emulator: Callable[[str], EmulatorFile], tmp_path: Path
) -> None:
    file = emulator(name)
    manifest, rng = file.manifest, np.random.default_rng(0)
    lon, lat = LON, LAT
    section = {"model": str(file.path), "every": "1d", "guard": {"input": "off"}}
    coupling = {"calendar": "360_day", "emulators": [section]}
    if manifest.tile:
        grid = latlon(GRID["latlon"], GRID["region"])
        lon, lat = grid.lon, grid.lat
        section["grid"], coupling["regrid"] = GRID, {"host_grid": GRID}
    n = len(lon)
    days = 1 if manifest.tile and not manifest.state else DAYS
    given: dict[str, Variable] = {}
    for entry in (*manifest.inputs, *manifest.static):
        if entry.name not in DERIVED or entry.name == "rsdt":
            given.setdefault(entry.name, entry)
    values = {field: plausible(entry, n, rng) for field, entry in given.items()}
    outputs = {entry.name: entry for entry in manifest.outputs if entry.name not in given}
    config = tmp_path / "coupling.yml"
    config.write_text(yaml.safe_dump(coupling))
    lines = [f"{n} {days} {len(given)} {len(outputs)}", *(" ".join(map(repr, map(float, x))) for x in (lon, lat))]
    for field, entry in given.items():
        lines += [f"'{field}' '{entry.units}' {entry.size}", " ".join(repr(float(v)) for v in values[field].T.ravel())]
    lines += [f"'{field}' '{entry.units}' {entry.size}" for field, entry in outputs.items()]
    (tmp_path / "fields.txt").write_text("\n".join(lines) + "\n")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [str(host), str(config), str(tmp_path / "fields.txt")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    printed = [line.split() for line in done.stdout.splitlines()]

    coupler = Coupler(config, start="2001-01-01", dt=86400.0)
    coupler.set_cells(np.arange(1, n + 1), lon, lat)
    arrays = {field: np.full((n, entry.size), UNTOUCHED) for field, entry in outputs.items()}
    arrays = {field: values[field].copy() for field in values} | arrays
    for field, entry in (given | outputs).items():
        array = arrays[field][:, 0].copy() if entry.size == 1 else arrays[field].T.copy()
        arrays[field] = array
        coupler.bind(field, array, units=entry.units)
    for _ in range(days):
        coupler.step()
        for field in outputs:
            name_in_host, *numbers = printed.pop(0)
            assert name_in_host == field
            np.testing.assert_array_equal(np.array(numbers, float), arrays[field].ravel())
            assert np.isfinite(arrays[field]).all()
    assert all((arrays[field] != UNTOUCHED).all() for field in outputs), "every output was written"
    coupler.finalize()
