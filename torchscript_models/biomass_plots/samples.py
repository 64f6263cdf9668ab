# SPDX-License-Identifier: Apache-2.0
"""The forest plots, each with the climate and the elevation of its place, and the regions that they lie in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import KDTree

from torchscript_models.cubes import open_cube
from torchscript_models.data import DataError, read_table

REGION: Final = 5  #: degrees of a region
SUSPECT: Final = 1000.0  #: biomass [t ha-1] above which a plot is an outlier: 22 plots, up to 6809
FARTHEST_KM: Final = 60.0  #: distance to the next cell of a map with a value: one cell of half a degree
NORMALS: Final = [f"tas_{month}" for month in range(1, 13)]
_EARTH_RADIUS_KM: Final = 6371.0


def read_plots(folder: Path) -> pd.DataFrame:
    """Read the plots: lat, lon, agb [t ha-1], continent, region, tas_1 to tas_12 [degC], elevation [m].

    Plots above `SUSPECT` are left out; plots at one place are one plot with their mean.

    Raises
    ------
    DataError
        When a file is missing, a value is not a number or negative, or a plot lies far from all land of the maps.
    """
    table = read_table(folder / "biomass_plots.csv.gz")
    table = table.rename(columns={"POINT_X": "lon", "POINT_Y": "lat", "AGB_T_HA": "agb"})
    if not (table["agb"] >= 0).all():
        row = int(np.flatnonzero(~(table["agb"] >= 0).to_numpy())[0])
        raise DataError(f"biomass_plots.csv.gz: plot {table['PLOT_ID'].iloc[row]} has no biomass, or a negative one.")
    table = table[table["agb"] <= SUSPECT]
    table["continent"] = table["PLOT_ID"].str.extract(r"^([A-Z]+)", expand=False)
    plots = table.groupby(["lat", "lon"], as_index=False).agg(agb=("agb", "mean"), continent=("continent", "first"))
    corner = (plots[["lat", "lon"]] // REGION * REGION).astype(int)
    plots["region"] = [f"{lat:+03d}{lon:+04d}" for lat, lon in corner.itertuples(index=False)]
    normals = open_cube(folder / "cru_tas_normals_0p5.nc")["tas"]
    plots[NORMALS] = _at(plots, normals["lat"], normals["lon"], np.moveaxis(normals.to_numpy(), 0, -1))
    elevation = open_cube(folder / "elevation_0p25.nc")["elevation"]
    plots["elevation"] = _at(plots, elevation["lat"], elevation["lon"], elevation.to_numpy()[..., None])[:, 0]
    return plots


def regions(plots: pd.DataFrame) -> pd.DataFrame:
    """Return the regions: lat, lon of their plots' middle, and the continent under the name of the class, igbp."""
    return plots.groupby("region").agg(lat=("lat", "mean"), lon=("lon", "mean"), igbp=("continent", "first"))


def far_from(plots: pd.DataFrame, others: pd.DataFrame, km: float) -> pd.DataFrame:
    """Return the plots that are farther than `km` from all others."""
    if others.empty:
        return plots
    distance, _ = KDTree(_sphere(others["lat"], others["lon"])).query(_sphere(plots["lat"], plots["lon"]))
    return plots[_EARTH_RADIUS_KM * distance > km]


def _at(
    plots: pd.DataFrame, lat: Iterable[float], lon: Iterable[float], values: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return the values (lat, lon, n) of the nearest cell that has some, shape (plots, n)."""
    lats, lons = np.meshgrid(np.asarray(lat), np.asarray(lon), indexing="ij")
    has_value = np.isfinite(values).all(axis=-1)
    tree = KDTree(_sphere(lats[has_value], lons[has_value]))
    distance, nearest = tree.query(_sphere(plots["lat"], plots["lon"]))
    if _EARTH_RADIUS_KM * distance.max() > FARTHEST_KM:
        worst = plots.iloc[int(distance.argmax())]
        raise DataError(
            f"The plot at {worst['lat']:.2f} N {worst['lon']:.2f} E is {_EARTH_RADIUS_KM * distance.max():.0f} km from "
            "all land of the maps."
        )
    return values[has_value][nearest].astype(np.float32)


def _sphere(lat: object, lon: object) -> NDArray[np.float64]:
    phi, theta = np.deg2rad(np.asarray(lat, float)), np.deg2rad(np.asarray(lon, float))
    return np.column_stack([np.cos(phi) * np.cos(theta), np.cos(phi) * np.sin(theta), np.sin(phi)])
