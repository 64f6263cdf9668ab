# SPDX-License-Identifier: Apache-2.0
"""Forcing files with values that a test can compute, and coupling files that use them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cftime
import numpy as np
import pytest
import xarray as xr
import yaml

from tests.small_emulators import field, write_carbon, write_echo

LAT = np.array([60.0, 0.0, -30.0])
LON = np.array([0.0, 90.0, 180.0, 270.0])


def forcing(first_day: int, days: int, calendar: str = "360_day", bounds: bool = True) -> xr.Dataset:
    """Return daily means from a day of the year 2001: temperature of day d in place p is 270 + d + p / 100 [K]."""
    day = np.arange(first_day, first_day + days)
    origin = "days since 2001-01-01"
    place = np.arange(LAT.size * LON.size).reshape(LAT.size, LON.size)
    tas = 270.0 + day[:, None, None] + place / 100.0
    file = xr.Dataset(
        {
            "air_temperature": (("time", "lat", "lon"), tas, {"standard_name": "air_temperature", "units": "K"}),
            "swdown": (("time", "lat", "lon"), np.full_like(tas, 200.0), {"units": "W m-2"}),
            "land": (("lat", "lon"), np.where(place % 2 == 0, 1.0, 0.0)),
        },
        coords={
            "time": ("time", cftime.num2date(day + 0.5, origin, calendar), {"standard_name": "time"}),
            "lat": ("lat", LAT, {"units": "degrees_north"}),
            "lon": ("lon", LON, {"units": "degrees_east"}),
        },
    )
    if bounds:
        file["time"].attrs["bounds"] = "time_bnds"
        edges = np.stack([cftime.num2date(day, origin, calendar), cftime.num2date(day + 1, origin, calendar)], axis=1)
        file["time_bnds"] = (("time", "bnds"), edges)
    file["time"].encoding = {"units": origin, "calendar": calendar, "dtype": "float64"}
    if bounds:
        file["time_bnds"].encoding = {"units": origin, "calendar": calendar, "dtype": "float64"}
    return file


@pytest.fixture
def offline(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a coupling file for an offline run of an emulator that echoes temperature."""

    def write(files: list[str], emulator: str = "echo", **sections: Any) -> Path:
        if emulator == "echo":
            write_echo(tmp_path / "echo.pt", field("tas", "degC"), field("lai", "1"), every="1d")
        else:
            write_carbon(tmp_path / "carbon.pt")
        driver = {"start": "2001-01-01", "end": "2001-01-11", "forcing": [{"files": files}]} | sections.pop(
            "driver", {}
        )
        outputs = ["lai"] if emulator == "echo" else ["gpp", "reco", "nee"]
        history = {"file": "history.nc", "fields": [*outputs, "tas"]}
        content = {
            "calendar": "360_day",
            "emulators": [{"model": f"{emulator}.pt", "block": 16}],
            "history": history,
            "driver": driver,
            **sections,
        }
        path = tmp_path / "run.yml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write
