# SPDX-License-Identifier: Apache-2.0
"""Write simulated_weather.nc: the weather of the global example's simulation in the land cells nearest to four towers.

It lets this example run where no observations are: simulated weather, of no year that ever was.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "01_global_land" / "global_forcing_t31.nc"
#: latitude and longitude [degrees] of the towers that carbon_flux_unseen.pt has not seen
TOWERS = {
    "IT-Col": (41.849, 13.588),
    "IT-Tor": (45.844, 7.578),
    "US-CRT": (41.628, -83.347),
    "US-Los": (46.083, -89.979),
}
GAS_RATIO = 0.622  #: molar mass of water over that of dry air


def main() -> None:
    file = xr.open_dataset(SOURCE, decode_times=xr.coders.CFDatetimeCoder(use_cftime=True))
    places = [nearest_land(file, *place) for place in TOWERS.values()]
    rows, columns = (xr.DataArray(list(index), dims="site") for index in zip(*places, strict=True))
    at = file.isel(lat=rows, lon=columns)
    tas, pressure, humidity = at.air_temperature, at.surface_air_pressure, at.specific_humidity
    vapour = humidity * pressure / (GAS_RATIO + (1 - GAS_RATIO) * humidity)
    celsius = tas - 273.15
    saturation = 610.94 * np.exp(17.625 * celsius / (celsius + 243.04))  # Alduchov and Eskridge 1996
    about = {
        "tas": ("air_temperature", "K", tas),
        "rsds": ("surface_downwelling_shortwave_flux_in_air", "W m-2", at.surface_downwelling_shortwave_flux),
        "vpd": ("water_vapor_saturation_deficit_in_air", "Pa", np.maximum(saturation - vapour, 10.0)),
        "pr": ("precipitation_flux", "kg m-2 s-1", np.maximum(at.precipitation_flux, 0.0)),
    }
    lat, lon = np.array(list(TOWERS.values())).T
    days = 2 * file.sizes["time"]
    weather = xr.Dataset(
        {
            name: (("time", "site"), np.tile(values.transpose("time", "site").values, (2, 1)).astype(np.float32),
                   {"standard_name": standard_name, "units": units, "cell_methods": "time: mean"})
            for name, (standard_name, units, values) in about.items()
        },
        coords={
            "site": ("site", list(TOWERS), {"cf_role": "timeseries_id", "long_name": "tower"}),
            "lat": ("site", lat, {"standard_name": "latitude", "units": "degrees_north"}),
            "lon": ("site", lon, {"standard_name": "longitude", "units": "degrees_east"}),
            "time": ("time", np.arange(days) + 0.5, {"standard_name": "time", "units": "days since 2001-01-01",
                                                     "calendar": "360_day"}),
        },
        attrs={
            "Conventions": "CF-1.11",
            "title": "Simulated weather at four flux towers: the same year twice",
            "source": file.attrs["source"],
            "comment": "Simulated; nearest land cell of the T31 grid, no correction for altitude.",
        },
    )  # fmt: skip
    packed = {name: {"zlib": True, "complevel": 4} for name in about}
    weather.to_netcdf(HERE / "simulated_weather.nc", encoding=packed)


def nearest_land(file: xr.Dataset, lat: float, lon: float) -> tuple[int, int]:
    """Return row and column of the land cell whose centre is nearest to a place."""
    rows, columns = np.meshgrid(np.deg2rad(file.lat), np.deg2rad(file.lon), indexing="ij")
    here, there = np.deg2rad(lat), np.deg2rad(lon)
    cosine = np.sin(rows) * np.sin(here) + np.cos(rows) * np.cos(here) * np.cos(columns - there)
    is_land = np.isfinite(file.air_temperature[0]) & (file.land_ice_area_fraction < 0.5)
    row, column = np.unravel_index(np.argmax(np.where(is_land, cosine, -1.0)), cosine.shape)
    return int(row), int(column)


if __name__ == "__main__":
    main()
