# SPDX-License-Identifier: Apache-2.0
"""Measure an offline run of many sites over many years from a Zarr store: its memory and where its time goes.

python benchmarks/long_run.py [--sites 1000] [--years 30]

The weather is synthetic: sines of the year with noise. The carbon emulator of the zoo runs on it.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import xarray as xr
import yaml
from rich.console import Console

from coupler_plugin.driver import run
from coupler_plugin.report import terminal

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "out" / "long_run"
DAYS = 365  # of the year, in the calendar noleap


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sites", type=int, default=1000)
    parser.add_argument("--years", type=int, default=30)
    options = parser.parse_args()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    write_weather(OUT / "weather.zarr", options.sites, options.years)
    coupler = run(write_coupling_file(OUT / "run.yml", options.years))
    console = Console()
    for table in terminal.tables(coupler.report):
        console.print(table)


def write_weather(path: Path, sites: int, years: int) -> None:
    """Write the weather of all sites, a year at a time."""
    rng = np.random.default_rng(1)
    lat, lon = np.degrees(np.arcsin(rng.uniform(-0.8, 0.95, sites))), rng.uniform(-180.0, 180.0, sites)
    for year in range(years):
        season = -np.cos(2 * np.pi * (np.arange(DAYS) + 0.5) / DAYS)[:, None] * np.sign(lat)
        noise = rng.normal(size=(4, DAYS, sites))
        tas = 27.0 - 0.4 * np.abs(lat) + 0.25 * np.abs(lat) * season + 3.0 * noise[0]
        rsds = np.clip(180.0 + 1.5 * np.abs(lat) * season + 50.0 * noise[1], 2.0, 400.0)
        vpd = np.clip(6.0 + 3.0 * season + 3.0 * noise[2], 0.1, 60.0)
        pr = np.where(noise[3] > 0.7, 8.0 * (noise[3] - 0.7), 0.0)
        values = {"tas": (tas, "degC"), "rsds": (rsds, "W m-2"), "vpd": (vpd, "hPa"), "pr": (pr, "kg m-2 d-1")}
        part = xr.Dataset(
            {name: (("time", "site"), v.astype(np.float32), {"units": units}) for name, (v, units) in values.items()},
            coords={
                "lat": ("site", lat, {"units": "degrees_north"}),
                "lon": ("site", lon, {"units": "degrees_east"}),
                "time": ("time", year * DAYS + np.arange(DAYS) + 0.5,
                         {"units": "days since 1991-01-01", "calendar": "noleap"}),
            },
        )  # fmt: skip
        part.to_zarr(path, zarr_format=2, **({"append_dim": "time"} if year else {"mode": "w"}))


def write_coupling_file(path: Path, years: int) -> Path:
    """Write the coupling file of the run and return its path."""
    content = {
        "calendar": "noleap",
        "emulators": [{"model": str(ROOT / "torchscript_models" / "zoo" / "carbon_flux.pt"), "block": 512}],
        "driver": {"start": "1991-01-01", "end": f"{1991 + years}-01-01", "forcing": [{"files": ["weather.zarr"]}]},
        "history": {"file": "history.zarr", "fields": ["gpp", "reco", "nee"]},
        "report": "report.json",
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


if __name__ == "__main__":
    main()
