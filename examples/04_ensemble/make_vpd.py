# SPDX-License-Identifier: Apache-2.0
"""Make `vpd_t31.nc` from `global_forcing_t31.nc`: the vapour pressure deficit of its daily means.

Saturation over water, and over ice below 0 degC, by the Magnus formulas of the WMO's Guide No. 8 (2008, annex 4.B).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

HERE = Path(__file__).resolve().parent


def main() -> None:
    forcing = xr.open_dataset(HERE / "global_forcing_t31.nc", decode_times=False)
    celsius = forcing.air_temperature.values - 273.15
    humidity, pressure = forcing.specific_humidity.values, forcing.surface_air_pressure.values
    vapour = humidity * pressure / (0.622 + 0.378 * humidity)
    water = 611.2 * np.exp(17.62 * celsius / (243.12 + celsius))
    ice = 611.2 * np.exp(22.46 * celsius / (272.62 + celsius))
    deficit = np.maximum(np.where(celsius >= 0.0, water, ice) - vapour, 0.0)
    about = {
        "standard_name": "water_vapor_saturation_deficit_in_air",
        "long_name": "vapour pressure deficit",
        "units": "Pa",
    }
    made = xr.Dataset(
        {"vpd": (("time", "lat", "lon"), deficit.astype(np.float32), about)},
        coords={name: forcing[name] for name in ("time", "lat", "lon")},
        attrs={
            "Conventions": "CF-1.10",
            "title": "Vapour pressure deficit over land on the T31 grid, of the daily means of global_forcing_t31.nc",
            "source": forcing.attrs["source"],
        },
    )
    for variable in made.variables.values():
        variable.encoding = {}
    packing = {"zlib": True, "complevel": 9, "quantize_mode": "BitRound", "significant_digits": 8, "_FillValue": 1e20}
    made.to_netcdf(HERE / "vpd_t31.nc", encoding={"vpd": packing})


if __name__ == "__main__":
    main()
