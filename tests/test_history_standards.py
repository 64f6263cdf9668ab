# SPDX-License-Identifier: Apache-2.0
"""History files as other tools see them: the checker of the CF conventions, and CDO; each skips where it is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_emulators import write_carbon

from coupler_plugin import Coupler

KINDS = ("list", "grid", "now")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write three days of histories as a list of cells, on their grid, and of points in time."""
    path = tmp_path_factory.mktemp("histories")
    write_carbon(path / "carbon.pt")
    histories = [
        {"file": "list.nc", "fields": ["gpp", "reco", "nee", "tas", "tas max"]},
        {"file": "grid.nc", "fields": ["gpp", "nee", "tas min"], "grid": True},
        {"file": "now.nc", "fields": ["tas point"], "every": "12h"},
    ]
    content = {"emulators": [{"model": "carbon.pt"}], "history": histories, "constants": {"rsds": "200 W m-2"}}
    (path / "run.yml").write_text(yaml.safe_dump(content))
    coupler = Coupler(path / "run.yml", start="2001-01-01", dt=21_600.0)
    lon, lat = (values.ravel() for values in np.meshgrid(np.arange(0.0, 360.0, 30.0), np.arange(-75.0, 90.0, 30.0)))
    coupler.set_cells(np.arange(1, lon.size + 1), lon, lat, np.full(lon.size, 1e10))
    tas = np.zeros(lon.size)
    coupler.bind("tas", tas)
    for step in range(12):
        tas[:] = 280.0 + step
        coupler.step()
    coupler.finalize()
    return path


def test_checker_of_cf_finds_nothing(folder: Path) -> None:
    pytest.importorskip("compliance_checker", reason="compliance-checker is not installed")
    checker = Path(sys.executable).with_name("compliance-checker")
    files = [str(folder / f"{kind}.nc") for kind in KINDS]
    done = subprocess.run([checker, "-t", "cf:1.11", "--criteria", "strict", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "Corrective Actions" not in done.stdout, done.stdout
    assert "Deprecated" not in done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_cdo_reads_fields_grid_and_times(folder: Path, kind: str) -> None:
    if shutil.which("cdo") is None:
        pytest.skip("CDO is not installed")
    done = subprocess.run(["cdo", "-s", "sinfo", folder / f"{kind}.nc"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "Calendar = standard" in done.stdout
    assert ("lonlat" if kind == "grid" else "unstructured") in done.stdout
    last = "2001-01-04 00:00:00" if kind == "now" else "2001-01-03 12:00:00"
    assert last in done.stdout
    means = subprocess.run(
        ["cdo", "-s", "output", "-fldmean", f"-selname,{'tas' if kind == 'now' else 'gpp'}", folder / f"{kind}.nc"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    values = np.array(means.stdout.split(), float)
    assert values.size == (6 if kind == "now" else 3)
    if kind == "now":
        np.testing.assert_allclose(values, 281.0 + 2.0 * np.arange(6), rtol=1e-5)
