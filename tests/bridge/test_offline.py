# SPDX-License-Identifier: Apache-2.0
"""One coupling file, run in a Fortran host and by the offline driver on the same fields: the same bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
import yaml
from small_emulators import write_carbon
from small_hosts import Hosts

from coupler_plugin import driver

N, DAYS = 50, 40


def test_fortran_host_and_offline_driver_give_the_same_bits(hosts: Hosts, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    lon, lat = rng.uniform(-180.0, 180.0, N), rng.uniform(-80.0, 80.0, N)
    tas, rsds = 285.0 + 8.0 * rng.normal(size=(DAYS, N)), rng.uniform(5.0, 350.0, (DAYS, N))
    xr.Dataset(
        {"tas": (("time", "site"), tas, {"units": "K"}), "rsds": (("time", "site"), rsds, {"units": "W m-2"})},
        coords={
            "lon": ("site", lon, {"units": "degrees_east"}),
            "lat": ("site", lat, {"units": "degrees_north"}),
            "time": ("time", np.arange(DAYS) + 0.5, {"units": "days since 2001-01-01", "calendar": "noleap"}),
        },
    ).to_netcdf(tmp_path / "weather.nc")
    with (tmp_path / "weather.bin").open("wb") as stream:
        np.array([N, DAYS], np.int32).tofile(stream)
        for values in (lon, lat, *(field for day in zip(tas, rsds, strict=True) for field in day)):
            values.tofile(stream)
    write_carbon(tmp_path / "carbon.pt")
    section = {"start": "2001-01-01", "end": "2001-02-10", "forcing": [{"files": ["weather.nc"]}]}
    content = {
        "calendar": "noleap",
        "emulators": [{"model": "carbon.pt", "block": 16}],
        "history": {"file": "history.nc", "fields": ["gpp", "reco", "nee", "tas max"], "every": "2d"},
        "driver": section,
    }
    path = tmp_path / "run.yml"
    path.write_text(yaml.safe_dump(content))

    driver.run(path)
    offline = (tmp_path / "history.nc").rename(tmp_path / "offline.nc")
    run = hosts.run(hosts.compile("from_file.f90"), path, tmp_path / "weather.bin")
    assert run["rc"] == "0", run.stderr
    with xr.open_dataset(offline) as one, xr.open_dataset(tmp_path / "history.nc") as other:
        assert one.sizes["time"] == DAYS // 2
        assert float(one.nee.std()) > 0
        assert one.drop_vars("cell_area", errors="ignore").equals(other)
