# SPDX-License-Identifier: Apache-2.0
"""What a run amounts to: global numbers from the history, budgets and timings from the two reports."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

Values = NDArray[np.float64]

SECONDS_PER_YEAR = 360 * 86400  # of the 360-day calendar
KG_PER_PG = 1.0e12
BANDS = ((60, 90), (30, 60), (0, 30), (-30, 0), (-60, -30))  # degrees north


@dataclass(frozen=True)
class Result:
    """What the run has left.

    Attributes
    ----------
    lon, lat, area : arrays of shape (cell,)
        Coupled cells [degrees], [m2].
    fields : mapping of name to array of shape (time, cell)
        Daily means in canonical units.
    land_lon, land_lat : arrays of shape (land cell,)
        All land, ice included.
    host, plugin : dict
        `land_model_summary.json` and `report.json`.
    period : tuple of str
        First and last day.
    """

    lon: Values
    lat: Values
    area: Values
    fields: dict[str, Values]
    land_lon: Values
    land_lat: Values
    host: dict[str, Any]
    plugin: dict[str, Any]
    period: tuple[str, str]

    def annual_mean(self, name: str) -> Values:
        """Return the mean over the period, shape (cell,)."""
        return self.fields[name].mean(axis=0)

    def mean(self, name: str, where: NDArray[np.bool_] | None = None) -> Values:
        """Return the daily area-weighted mean over cells, shape (time,)."""
        weights = self.area if where is None else self.area * where
        return np.asarray(self.fields[name] @ weights / weights.sum())

    def total(self, name: str, where: NDArray[np.bool_] | None = None) -> Values:
        """Return the daily area integral of a flux [kg s-1], shape (time,)."""
        return np.asarray(self.fields[name] @ (self.area if where is None else self.area * where))

    def band(self, south: float, north: float) -> NDArray[np.bool_]:
        """Return which cells lie in a band of latitudes."""
        return (self.lat >= south) & (self.lat < north)


def read(folder: Path) -> Result:
    """Read what the plugin and the host have written to `folder`."""
    with netCDF4.Dataset(folder / "history.nc") as file:
        file.set_auto_maskandscale(True)
        time = file["time_bounds"][:].data if "time_bounds" in file.variables else None
        units, calendar = file["time"].units, file["time"].calendar
        first, last = netCDF4.num2date([time[0, 0], time[-1, 1] - 1], units, calendar)
        fields = {
            name: np.ma.filled(variable[:].astype(float), np.nan)
            for name, variable in file.variables.items()
            if variable.dimensions == ("time", "cell")
        }
        lon, lat, area = (np.asarray(file[name][:], dtype=float) for name in ("lon", "lat", "cell_area"))
    with netCDF4.Dataset(folder / "land_model.nc") as file:
        land_lon, land_lat = (np.asarray(file[name][:], dtype=float) for name in ("lon", "lat"))
    host, plugin = (json.loads((folder / name).read_text()) for name in ("land_model_summary.json", "report.json"))
    period = (first.strftime("%Y-%m-%d"), last.strftime("%Y-%m-%d"))
    return Result(lon, lat, area, fields, land_lon, land_lat, host, plugin, period)


def summarise(result: Result) -> dict[str, Any]:
    """Return the numbers of `summary.json`; the unit of each is the end of its name."""
    host, plugin = result.host, result.plugin
    carbon = {name: float(result.total(name).mean()) * SECONDS_PER_YEAR / KG_PER_PG for name in ("gpp", "reco", "nee")}
    wall = host["seconds_total"] + host["seconds_coupling_start"]
    return {
        "period": list(result.period),
        "gpp_PgC_per_year": carbon["gpp"],
        "reco_PgC_per_year": carbon["reco"],
        "nee_PgC_per_year": carbon["nee"],
        "lai_mean": float(result.mean("lai").mean()),
        "evapotranspiration_km3_per_year": float(result.total("evspsbl").mean()) * SECONDS_PER_YEAR / KG_PER_PG,
        "bowen_ratio": float(result.mean("hfss").mean() / result.mean("hfls").mean()),
        "land_area_without_ice_m2": float(result.area.sum()),
        "water_residual_relative": host["water_residual_relative"],
        "energy_residual_relative": host["energy_residual_relative"],
        "simulated_years_per_day": host["days"] / 360 * 86400 / wall,
        "seconds": {
            "total": wall,
            "host": host["seconds_total"] - host["seconds_coupling"],
            "plugin": host["seconds_coupling"],
            "of which inference": plugin["seconds"]["infer"]["mean"],
            "plugin start": host["seconds_coupling_start"],
        },
        "ranks": host["ranks"],
        "cells": {"land": host["cells"], "coupled": int(result.area.size)},
        "steps": host["steps"],
        "emulators": {emulator["name"]: emulator["version"] for emulator in plugin["emulators"]},
        "versions": {**plugin["versions"], "compiler": host["compiler"], "mpi": host["mpi"], "netcdf": host["netcdf"]},
    }


def write(summary: dict[str, Any], path: Path) -> None:
    """Write the summary as JSON."""
    path.write_text(json.dumps(summary, indent=1) + "\n")


def show(summary: dict[str, Any]) -> None:
    """Print the summary as a table."""
    seconds, cells = summary["seconds"], summary["cells"]
    plugin = f"{seconds['plugin']:.1f} s, {seconds['of which inference']:.1f} s of it in the emulators"
    rows: list[tuple[str, str] | None] = [
        ("gross primary production", f"{summary['gpp_PgC_per_year']:.1f} PgC yr⁻¹"),
        ("ecosystem respiration", f"{summary['reco_PgC_per_year']:.1f} PgC yr⁻¹"),
        ("net ecosystem exchange, upward", f"{summary['nee_PgC_per_year']:+.1f} PgC yr⁻¹"),
        ("leaf area index", f"{summary['lai_mean']:.2f} m² m⁻²"),
        ("evapotranspiration", f"{summary['evapotranspiration_km3_per_year'] / 1e3:.1f} · 10³ km³ yr⁻¹"),
        ("Bowen ratio", f"{summary['bowen_ratio']:.2f}"),
        None,
        ("water budget, relative residual", f"{summary['water_residual_relative']:.1e}"),
        ("energy budget, relative residual", f"{summary['energy_residual_relative']:.1e}"),
        None,
        ("speed", f"{summary['simulated_years_per_day']:,.0f} simulated years per day"),
        ("host", f"{seconds['host']:.1f} s"),
        ("plugin", plugin),
        ("plugin start", f"{seconds['plugin start']:.1f} s"),
        ("ranks, steps", f"{summary['ranks']}, {summary['steps']:,}"),
        ("cells", f"{cells['land']:,} of land, {cells['coupled']:,} of them without ice and coupled"),
        None,
        ("emulators", ", ".join(f"{name} {version}" for name, version in summary["emulators"].items())),
        ("versions", ", ".join(f"{name} {version}" for name, version in summary["versions"].items())),
    ]
    table = Table(title=f"Land without ice, {summary['period'][0]} to {summary['period'][1]}", show_header=False)
    for row in rows:
        if row is None:
            table.add_section()
        else:
            table.add_row(*row)
    Console().print(table)
