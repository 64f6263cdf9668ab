# SPDX-License-Identifier: Apache-2.0
"""The observations that the emulators are trained on: where they lie, how they are read, what is left out.

Both tables come from eddy-covariance towers. Units stay those of the tables; names become those of the plugin.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from torchscript_models.cubes import open_cube
from torchscript_models.errors import DataError as DataError
from torchscript_models.solar import potential_radiation

Array = NDArray[np.float32]

ENVIRONMENT: Final = "COUPLER_PLUGIN_DATA"
BESIDE_THE_PROJECT: Final = Path(__file__).resolve().parents[2] / "shared" / "data"

TOWER_CITATION: Final = "FLUXNET2015 (Pastorello et al. 2020, doi 10.1038/s41597-020-0534-3), CC-BY-4.0"
MONTHLY_CITATION: Final = "CARDAMOM-FluxVal v1.0, CC-BY-4.0"
BIOMASS_CITATION: Final = "forest plots packaged with Plot2Map (Unlicense)"
NORMALS_CITATION: Final = "temperature normals 1991-2020 of CRU TS 4.06 (Open Government Licence v3)"
ELEVATION_CITATION: Final = "land elevation of NASA GLDAS (public domain)"


def find_data(given: Path | None = None) -> Path:
    """Return the folder of the observations: the one given, else $COUPLER_PLUGIN_DATA, else ../shared/data.

    Raises
    ------
    DataError
        When there is no such folder.
    """
    named = os.environ.get(ENVIRONMENT)
    folder = given or (Path(named) if named else BESIDE_THE_PROJECT)
    if not folder.is_dir():
        raise DataError(
            f"There is no folder '{folder}' with the training data; name one by --data or by the environment "
            f"variable {ENVIRONMENT}."
        )
    return folder


@dataclass(frozen=True)
class Tower:
    """Daily observations of one tower, day by day without gaps.

    Attributes
    ----------
    forcing : array, shape (days, 5)
        tas [degC], rsds [W m-2], vpd [hPa], pr [kg m-2 d-1], rsdt [W m-2].
    fluxes : array, shape (days, 3)
        gpp, reco, nee [g m-2 d-1]; 0 where the quality is 0.
    quality : array, shape (days,)
        Share of the day's half-hours with measured or well-filled NEE; 0 where a flux is missing.
    """

    site: str
    lat: float
    lon: float
    igbp: str
    days: pd.DatetimeIndex
    forcing: Array
    fluxes: Array
    quality: Array


@dataclass(frozen=True)
class MonthlySite:
    """Monthly meteorology of a 0.5 degree cell, and what was observed at the tower or by satellite in it.

    Attributes
    ----------
    months : array, shape (months,)
        Years and months without gaps, 200101 for January 2001.
    forcing : array, shape (months, 5)
        Means of the daily minimum and maximum of tas [degC], rsds [MJ m-2 d-1], the vapour pressure deficit at the
        daily maximum of tas [hPa], pr [kg m-2 d-1].
    co2 : array, shape (months,)
        Mole fraction of carbon dioxide in air [ppm], the same at all sites.
    lai : array, shape (months,)
        Leaf area index [1], NaN where it was not observed.
    fluxes : array, shape (months, 3)
        gpp, reco, nee [g m-2 d-1], NaN where they were not observed.
    """

    site: str
    lat: float
    lon: float
    igbp: str
    months: NDArray[np.int64]
    forcing: Array
    co2: Array
    lai: Array
    fluxes: Array

    def inputs(self) -> Array:
        """Return the forcing and CO2, shape (months, 6)."""
        return np.column_stack([self.forcing, self.co2])


def read_towers(folder: Path) -> dict[str, Tower]:
    """Read the daily towers.

    Fluxes are those of the night-time partitioning. The reference of each flux is selected on its own (Pastorello et
    al. 2020), so that nee = reco - gpp holds for the means of each tower, and for single days only roughly.
    """
    table = read_table(folder / "flux_daily.csv.gz")
    places = read_table(folder / "flux_daily_sites.csv").set_index("site")
    towers = {}
    table["TIMESTAMP"] = pd.to_datetime(table["TIMESTAMP"])
    for site, rows in table.sort_values("TIMESTAMP").groupby("site", sort=True):
        place = places.loc[site]
        days = pd.DatetimeIndex(rows["TIMESTAMP"])
        if (np.diff(days) != np.timedelta64(1, "D")).any():
            raise DataError(f"flux_daily.csv.gz: the days of {site} are not consecutive; a window must not skip a day.")
        met = rows[["TA_F", "SW_IN_F", "VPD_F", "P_F"]].to_numpy(np.float32)
        if not np.isfinite(met).all():
            raise DataError(
                f"flux_daily.csv.gz: the meteorology of {site} has gaps; it must be filled before training."
            )
        rsdt = potential_radiation(place["lat"], (days.day_of_year.to_numpy() - 0.5) / 365.25)
        fluxes = rows[["GPP_NT_VUT_REF", "RECO_NT_VUT_REF", "NEE_VUT_REF"]].to_numpy(np.float32)
        is_observed = np.isfinite(fluxes).all(axis=1)
        quality = np.where(is_observed, rows["NEE_VUT_REF_QC"].fillna(0.0), 0.0).astype(np.float32)
        towers[str(site)] = Tower(
            site=str(site),
            lat=float(place["lat"]),
            lon=float(place["lon"]),
            igbp=str(place["igbp"]),
            days=days,
            forcing=np.column_stack([met, rsdt.astype(np.float32)]),
            fluxes=np.where(is_observed[:, None], fluxes, 0.0).astype(np.float32),
            quality=quality,
        )
    return towers


def read_monthly_sites(folder: Path) -> dict[str, MonthlySite]:
    """Read the monthly sites.

    Months with negative ecosystem respiration (nee + gpp < 0) hold two fluxes that do not fit together; they are
    left out.
    """
    table = read_table(folder / "flux_lai_monthly.csv.gz").sort_values(["site", "Date"])
    sites = {}
    for site, rows in table.groupby("site", sort=True):
        months = rows["Date"].to_numpy(np.int64)
        if (np.diff(months // 100 * 12 + months % 100) != 1).any():
            raise DataError(f"flux_lai_monthly.csv.gz: the months of {site} are not consecutive.")
        names = ["tmin_C", "tmax_C", "srad_MJ_m2_d", "vpd_hPa", "precip_mm_d"]
        forcing = rows[names].to_numpy(np.float32)
        forcing[:, 2:] = np.maximum(forcing[:, 2:], 0.0)  # rounding left a few -1e-15
        gpp, nee = rows["obs_GPP"].to_numpy(np.float32), rows["obs_NEE"].to_numpy(np.float32)
        fluxes = np.column_stack([gpp, nee + gpp, nee])
        fluxes[~(fluxes[:, 1] >= 0.0)] = np.nan
        first = rows.iloc[0]
        sites[str(site)] = MonthlySite(
            site=str(site),
            lat=float(first["lat"]),
            lon=float(first["lon"]),
            igbp=str(first["igbp"]),
            months=months,
            forcing=forcing,
            co2=rows["co2_ppm"].to_numpy(np.float32),
            lai=rows["obs_LAI"].to_numpy(np.float32),
            fluxes=fluxes,
        )
    return sites


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of the training data: a CSV file, or the cube that lies beside or in place of it.

    A cube is a Zarr store `NAME.zarr` or a NetCDF file `NAME.nc` with the columns of `NAME.csv.gz` as variables on the
    dimensions site and time (under the names of their columns); where it holds nothing at all there is no row.

    Raises
    ------
    DataError
        When there is neither.
    """
    name = path.name.partition(".")[0]
    for cube in (path.with_name(f"{name}.zarr"), path.with_name(f"{name}.nc")):
        if cube.exists():
            with open_cube(cube) as opened:
                samples = [variable for variable in opened if len(opened[variable].dims) == len(opened.dims)]
                return opened.to_dataframe().dropna(how="all", subset=samples).reset_index()
    if not path.is_file():
        raise DataError(f"The training data lack '{path.name}' in '{path.parent}', as a table or as a cube.")
    return pd.read_csv(path)
