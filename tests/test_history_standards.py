# SPDX-License-Identifier: Apache-2.0
"""The files of all kinds as other tools see them: the checker of the CF conventions, and CDO where it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_emulators import Product, field, write, write_carbon

import coupler_plugin
from coupler_plugin import Coupler
from coupler_plugin.ensemble import run_ensemble
from coupler_plugin.fields import read_entries
from tests.driver.conftest import forcing

xarray = pytest.importorskip("xarray")

FIELDS = Path(coupler_plugin.__file__).with_name("fields.yaml")
#: calendars whose days all readers know
CALENDARS = ("standard", "noleap", "360_day")
#: file -> whether CDO finds a grid of latitudes by longitudes in it
KINDS = {
    "list.nc": False,
    "grid.nc": True,
    "now.nc": False,
    "noleap.nc": False,
    "360_day.nc": False,
    "levels.nc": False,
    "level_grid.nc": True,
    "all_fields.nc": False,
    "cube.nc": False,
    "statistics.nc": False,
    "members.nc": False,
}
STORES = ("list.zarr", "cube.zarr", "statistics.zarr")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write three days of every kind of file that a run, a record or an ensemble leaves behind."""
    path = tmp_path_factory.mktemp("files")
    write_carbon(path / "carbon.pt")
    inputs = [field("tas", "K"), field("rsds", "W m-2", aggregate="max"), field("co2", "ppm")]
    static = [field("snw", "mm", size=3)]
    write(path / "product.pt", Product(), inputs, [field("lai", "1", size=3)], static=static, every="1d")
    for calendar in CALENDARS:
        write_histories(path, calendar)
    write_levels(path)
    write_all_fields(path)
    write_statistics(path)
    return path


def couple(folder: Path, dt: float = 21_600.0, **sections: object) -> tuple[Coupler, np.ndarray]:
    """Return a coupler on 12 by 6 cells and its temperature."""
    (folder / "run.yml").write_text(yaml.safe_dump({"constants": {"rsds": "200 W m-2"}, **sections}))
    coupler = Coupler(folder / "run.yml", start="2001-01-01", dt=dt)
    lon, lat = (values.ravel() for values in np.meshgrid(np.arange(0.0, 360.0, 30.0), np.arange(-75.0, 90.0, 30.0)))
    coupler.set_cells(np.arange(1, lon.size + 1), lon, lat, np.full(lon.size, 1e10))
    tas = np.zeros(lon.size)
    coupler.bind("tas", tas)
    return coupler, tas


def take(coupler: Coupler, tas: np.ndarray) -> None:
    """Step three days."""
    for step in range(12):
        tas[:] = 280.0 + step
        coupler.step()
    coupler.finalize()


def write_histories(folder: Path, calendar: str) -> None:
    """Write histories of one calendar: those of the standard one on a list, on their grid, and of points in time."""
    histories = [{"file": f"{calendar}.nc", "fields": ["gpp", "reco", "nee", "tas max"]}]
    if calendar == "standard":
        listed = ["gpp", "reco", "nee", "tas", "tas max"]
        histories = [
            {"file": "list.nc", "fields": listed},
            {"file": "grid.nc", "fields": ["gpp", "nee", "tas min"], "grid": True},
            {"file": "now.nc", "fields": ["tas point"], "every": "12h"},
        ]
        histories += [{"file": "list.zarr", "fields": listed}] if find_spec("zarr") else []
    take(*couple(folder, emulators=[{"model": "carbon.pt"}], history=histories, calendar=calendar))


def write_levels(folder: Path) -> None:
    """Write fields of three levels, and records of an emulator that takes static fields and constants."""
    histories = [
        {"file": "levels.nc", "fields": ["lai", "tas"]},
        {"file": "level_grid.nc", "fields": ["lai"], "grid": True},
    ]
    for suffix in ("nc", "zarr") if find_spec("zarr") else ("nc",):
        sections = {"history": histories if suffix == "nc" else [], "record": {"file": f"cube.{suffix}"}}
        constants = {"rsds": "200 W m-2", "co2": "370 ppm"}
        coupler, tas = couple(folder, emulators=[{"model": "product.pt"}], constants=constants, **sections)
        coupler.bind("snw", np.full((tas.size, 3), 5.0))
        coupler.bind("lai", np.zeros((tas.size, 3)))
        take(coupler, tas)


def write_all_fields(folder: Path) -> None:
    """Write a history of every field of the dictionary: its standard name must be one, of its units."""
    names = [entry.name for entry in read_entries(FIELDS.read_text())]
    coupler, tas = couple(folder, emulators=[], constants={}, history={"file": "all_fields.nc", "fields": names})
    for name in names:
        coupler.bind(name, tas if name == "tas" else np.zeros(tas.size))
    take(coupler, tas)


def write_statistics(folder: Path) -> None:
    """Write statistics of an ensemble with observations, and its members."""
    forcing(0, 6).to_netcdf(folder / "forcing.nc")
    observed = forcing(0, 6)[["air_temperature", "time_bnds"]]
    observed.to_netcdf(folder / "observed.nc")
    content = {
        "calendar": "360_day",
        "emulators": [{"model": "carbon.pt", "guard": {"input": "off"}}],
        "driver": {"start": "2001-01-01", "end": "2001-01-07", "forcing": [{"files": ["forcing.nc"]}]},
    }
    (folder / "run.yml").write_text(yaml.safe_dump(content))
    for suffix in ("nc", "zarr") if find_spec("zarr") else ("nc",):
        statistics = {
            "file": f"statistics.{suffix}",
            "fields": ["nee", "tas", "tas max"],
            "every": "2d",
            "observations": {"files": ["observed.nc"], "fields": {"tas": "air_temperature"}},
        }
        ensemble = {"coupling": "run.yml", "members": 3, "perturb": [{"field": "tas", "add": 1.0}]}
        ensemble |= {"statistics": statistics} | ({"keep": "members.nc"} if suffix == "nc" else {})
        (folder / "ens.yml").write_text(yaml.safe_dump(ensemble))
        run_ensemble(folder / "ens.yml")


@pytest.fixture(scope="module")
def findings(folder: Path) -> dict[str, list[str]]:
    """Let the checker look at all files at once, in its strict mode, where recommendations count."""
    pytest.importorskip("compliance_checker", reason="compliance-checker is not installed")
    stores = [copy_of_store(folder / name) for name in STORES] if find_spec("zarr") else []
    checker, result = Path(sys.executable).with_name("compliance-checker"), folder / "findings.json"
    command = [checker, "-t", "cf:1.11", "--criteria", "strict", "-f", "json_new", "-o", result]
    done = subprocess.run(
        [*command, *KINDS, *(store.name for store in stores)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert "Deprecated" not in done.stderr, done.stderr
    found = {}
    for name, report in json.loads(result.read_text()).items():
        checks = [check for rank in ("high", "medium", "low") for check in report["cf:1.11"][f"{rank}_priorities"]]
        assert len(checks) > 20, done.stderr
        found[name] = [message for one in checks if one["value"][0] < one["value"][1] for message in one["msgs"]]
    assert found.keys() == {*KINDS, *(store.name for store in stores)}
    return found


def copy_of_store(path: Path) -> Path:
    """Copy what a Zarr store holds into a NetCDF file, with attributes of the kind that JSON does not know."""
    copy = path.with_name(f"{path.name}.nc")
    with xarray.open_zarr(path, decode_cf=False) as store:
        for variable in store.variables.values():
            variable.encoding = {} if "_FillValue" in variable.attrs else {"_FillValue": None}
            for name in {"flag_values", "flag_masks"} & variable.attrs.keys():
                variable.attrs[name] = np.array(variable.attrs[name], variable.dtype)
        store.to_netcdf(copy, unlimited_dims=["time"])
    return copy


def unknown(name: str) -> list[str]:
    """Return the one thing that the checker does not know: section 7.3 of CF lets a method name a standard name."""
    if name.partition(".")[0] != "statistics":
        return []
    fields = [f"{field}_{what}" for field in ("nee", "tas", "tas_max") for what in ("mean", "std")]
    text = "cell_methods name component realization does not match a dimension, area or auxiliary coordinate"
    return [f"{field}'s {text}" for field in fields]


@pytest.mark.parametrize("name", KINDS)
def test_checker_of_cf_finds_nothing(findings: dict[str, list[str]], name: str) -> None:
    assert sorted(findings[name]) == sorted(unknown(name))


@pytest.mark.skipif(find_spec("zarr") is None, reason="zarr is not installed")
@pytest.mark.parametrize("name", STORES)
def test_checker_of_cf_finds_nothing_in_what_a_zarr_store_holds(findings: dict[str, list[str]], name: str) -> None:
    assert sorted(findings[f"{name}.nc"]) == sorted(unknown(name))


def cdo(*words: str | Path) -> str:
    """Return what CDO says, which has nothing to complain of."""
    done = subprocess.run(["cdo", "-s", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


needs_cdo = pytest.mark.skipif(shutil.which("cdo") is None, reason="CDO is not installed")


@needs_cdo
@pytest.mark.parametrize("name", KINDS)
def test_cdo_reads_all_fields_on_their_grid_and_times(folder: Path, name: str) -> None:
    with xarray.open_dataset(folder / name, decode_times=False) as file:
        calendar, times = file.time.calendar, file.sizes["time"]
        fields = {str(name) for name, variable in file.data_vars.items() if "time" in variable.dims}
    said = " ".join(cdo("sinfon", folder / name).split())
    assert f"Calendar = {calendar.replace('noleap', '365_day')}" in said
    assert f"time : {times} steps" in said
    assert ("lonlat : points=72 (12x6)" if KINDS[name] else "unstructured : points=") in said
    assert fields - {"time_bounds"} <= set(cdo("showname", folder / name).split())


@needs_cdo
def test_cdo_computes_with_what_it_reads(folder: Path) -> None:
    means = np.array(cdo("output", "-fldmean", "-selname,tas", folder / "now.nc").split(), float)
    np.testing.assert_allclose(means, 281.0 + 2.0 * np.arange(6), rtol=1e-5)
    for name, called in (("list.nc", "tas"), ("noleap.nc", "tas_max"), ("360_day.nc", "tas_max")):
        mean = float(cdo("output", "-yearmean", "-fldmean", f"-selname,{called}", folder / name))
        assert mean == pytest.approx(285.5 if called == "tas" else 287.0, rel=1e-6)
    for called in ("nee_mean", "tas_std", "tas_quantile"):
        mean = cdo("output", "-yearmean", "-fldmean", f"-selname,{called}", folder / "statistics.nc")
        assert np.isfinite(np.array(mean.split(), float)).all()
