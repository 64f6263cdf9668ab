# SPDX-License-Identifier: Apache-2.0
"""Write out/towers.nc from the daily table of the flux towers: weather for the driver, fluxes to compare with.

python prepare.py [--data FOLDER]

The table (FLUXNET2015, CC-BY-4.0) is not part of this repository. Outside its own record a tower gets the mean of its
weather by day of the year, so that all share one time axis; its fluxes are missing there, and so never scored.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from torchscript_models.carbon_flux.samples import GOOD
from torchscript_models.data import TOWER_CITATION, Tower, find_data, read_towers

HERE = Path(__file__).resolve().parent
UNSEEN = ("IT-Col", "IT-Tor", "US-CRT", "US-Los")  #: by carbon_flux_unseen.pt
#: the columns of Tower.forcing and Tower.fluxes
WEATHER = {
    "tas": ("air_temperature", "degC"),
    "rsds": ("surface_downwelling_shortwave_flux_in_air", "W m-2"),
    "vpd": ("water_vapor_saturation_deficit_in_air", "hPa"),
    "pr": ("precipitation_flux", "kg m-2 d-1"),
}
FLUXES = {"gpp": "gross primary production", "reco": "ecosystem respiration", "nee": "net ecosystem exchange, upward"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the observations; default: ../shared/data")
    prepare(find_data(parser.parse_args().data), HERE / "out" / "towers.nc")


def prepare(folder: Path, path: Path) -> None:
    """Write the towers of the table in `folder` to the NetCDF file `path`."""
    towers = list(read_towers(folder).values())
    days = pd.date_range(min(t.days[0] for t in towers), max(t.days[-1] for t in towers))
    weather = np.stack([_weather(tower, days) for tower in towers], axis=1)
    fluxes = np.stack([_fluxes(tower, days) for tower in towers], axis=1)
    file = xr.Dataset(
        {
            **{
                name: (("time", "site"), weather[:, :, i], {"standard_name": standard_name, "units": units})
                for i, (name, (standard_name, units)) in enumerate(WEATHER.items())
            },
            **{
                f"{name}_observed": (("time", "site"), fluxes[:, :, i], {"long_name": long_name, "units": "g m-2 d-1"})
                for i, (name, long_name) in enumerate(FLUXES.items())
            },
            "unseen": ("site", np.isin([t.site for t in towers], UNSEEN).astype(np.int8)),
        },
        coords={
            "site": ("site", [t.site for t in towers], {"cf_role": "timeseries_id", "long_name": "tower"}),
            "lat": ("site", [t.lat for t in towers], {"standard_name": "latitude", "units": "degrees_north"}),
            "lon": ("site", [t.lon for t in towers], {"standard_name": "longitude", "units": "degrees_east"}),
            "igbp": ("site", [t.igbp for t in towers], {"long_name": "vegetation class"}),
            "time": ("time", days + pd.Timedelta(hours=12), {"standard_name": "time"}),
        },
        attrs={"Conventions": "CF-1.11", "title": "Daily weather and fluxes of flux towers", "source": TOWER_CITATION},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    file.to_netcdf(path, encoding={"time": {"units": "days since 1996-01-01", "dtype": "float64"}})


def _weather(tower: Tower, days: pd.DatetimeIndex) -> np.ndarray:
    """Return the weather of all days, shape (days, 4): measured, else the tower's mean of that day of the year."""
    table = pd.DataFrame(tower.forcing[:, :4], index=tower.days)
    mean = table.groupby(table.index.day_of_year).mean().reindex(range(1, 367)).ffill().bfill()
    filled = table.reindex(days)
    return np.where(filled.notna(), filled, mean.loc[days.day_of_year]).astype(np.float32)


def _fluxes(tower: Tower, days: pd.DatetimeIndex) -> np.ndarray:
    """Return the fluxes of all days, shape (days, 3): missing outside the record and where their quality is low."""
    good = (tower.quality > GOOD)[:, None]
    return pd.DataFrame(np.where(good, tower.fluxes, np.nan), index=tower.days).reindex(days).to_numpy(np.float32)


if __name__ == "__main__":
    main()
