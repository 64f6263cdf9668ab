# SPDX-License-Identifier: Apache-2.0
"""The fields that downscaling is trained on, and how fine and coarse ones become pairs.

*Perfect prognosis* makes the coarse field from the fine one, by means over cells; *model output statistics* takes the
coarse field of another model. Both give the same pairs, so that everything after does not ask where they come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from torchscript_models.cubes import open_cube
from torchscript_models.data import DataError

Array = NDArray[np.float32]

SCALE: Final = 4
CRU, ERA5, ELEVATION = "cru_tas_normals_0p5.nc", "era5_t2m_uk_hourly.nc", "elevation_0p25.nc"
CRU_CITATION: Final = "CRU TS 4.06 normals 1991-2020 (Open Government Licence v3)"
ERA5_CITATION: Final = "ERA5 (contains modified Copernicus Climate Change Service information)"
ELEVATION_CITATION: Final = "NASA GLDAS elevation (public domain)"
STATIC: Final = ("orog", "sftlf")  #: elevation [m] and land area fraction [%], on the fine grid


@dataclass(frozen=True)
class Pairs:
    """Fine fields and the coarse ones that belong to them, in time or season.

    Attributes
    ----------
    coarse : array, shape (times, C, rows, columns)
    fine : array, shape (times, rows * scale, columns * scale)
    static : array, shape (S, rows * scale, columns * scale)
    is_known : bool array, shape (rows * scale, columns * scale)
        Where the fine field may be learned from and is scored.
    """

    coarse: Array
    fine: Array
    static: Array
    is_known: NDArray[np.bool_]

    @property
    def scale(self) -> int:
        """Fine cells per coarse cell along each axis."""
        return self.fine.shape[1] // self.coarse.shape[2]


def pair(fine: Array, static: Array, is_known: NDArray[np.bool_], scale: int, coarse: Array | None = None) -> Pairs:
    """Return pairs from fine fields (times, rows, columns), whose unknown values may be NaN.

    Parameters
    ----------
    coarse : array, shape (times, C, rows / scale, columns / scale), optional
        The coarse fields of another model (model output statistics); without it the means of the fine fields over what
        is known of each cell are taken (perfect prognosis). A coarse cell of which nothing is known gets the value of
        the nearest one.

    Raises
    ------
    DataError
        When the fine grid is not `scale` times as fine as the coarse one.
    """
    shape = fine.shape[1:]
    if shape[0] % scale or shape[1] % scale or is_known.shape != shape or static.shape[1:] != shape:
        raise DataError(
            f"{shape[0]} x {shape[1]} fine cells with static fields {static.shape} cannot be coarsened {scale} times."
        )
    if coarse is None:
        coarse = _filled(known_means(fine, is_known, scale))[:, None]
    elif (*coarse.shape[:1], *coarse.shape[2:]) != (len(fine), shape[0] // scale, shape[1] // scale):
        raise DataError(
            f"Coarse fields {coarse.shape} do not belong to fields {fine.shape} that are {scale} times as fine."
        )
    return Pairs(coarse.astype(np.float32), np.where(is_known, fine, 0.0).astype(np.float32), static, is_known)


def known_means(fields: Array, is_known: NDArray[np.bool_], scale: int) -> NDArray[np.float64]:
    """Return the means over the known cells in `scale` x `scale` cells, NaN where there is none."""
    rows, columns = (n // scale for n in is_known.shape)

    def sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(values.reshape(-1, rows, scale, columns, scale).sum(axis=(2, 4)))

    n = sums(is_known[None].astype(np.float64))
    return np.where(n > 0, sums(np.where(is_known, fields, 0.0).astype(np.float64)) / np.maximum(n, 1), np.nan)


def _filled(fields: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return fields (times, rows, columns) whose gaps, the same at all times, have the values of the nearest cells."""
    y, x = distance_transform_edt(np.isnan(fields[0]), return_distances=False, return_indices=True)
    return np.asarray(fields[:, y, x])


def read_normals(folder: Path) -> Pairs:
    """Read monthly normals of temperature [degC] over land, 0.5 degrees, and coarsen them to 2 degrees."""
    tas = open_cube(folder / CRU)["tas"].to_numpy().astype(np.float32)
    is_known = np.isfinite(tas).all(axis=0)
    cube = open_cube(folder / CRU)
    elevation = _elevation(folder, cube["lat"].to_numpy(), cube["lon"].to_numpy(), half_width=0.25)
    return pair(tas, np.stack([elevation, 100.0 * is_known]).astype(np.float32), is_known, SCALE)


def read_hours(folder: Path) -> Pairs:
    """Read hourly temperature [degC] around the British Isles, 0.25 degrees, and coarsen it to 1 degree."""
    cube = open_cube(folder / ERA5)
    rows, columns = (n - n % SCALE for n in (cube.sizes["lat"], cube.sizes["lon"]))
    cube = cube.isel(lat=slice(rows), lon=slice(columns))
    kelvin = cube["t2m"].to_numpy().astype(np.float32)
    if not np.isfinite(kelvin).all():
        raise DataError(f"'{ERA5}' has gaps; hourly fields must be complete.")
    celsius = kelvin - np.float32(273.15) if kelvin.mean() > 150 else kelvin
    elevation = _elevation(folder, cube["lat"].to_numpy(), cube["lon"].to_numpy(), half_width=0.125)
    land = 100.0 * (elevation != 0)
    return pair(celsius, np.stack([elevation, land]).astype(np.float32), np.ones(elevation.shape, bool), SCALE)


def _elevation(folder: Path, lat: NDArray[np.floating], lon: NDArray[np.floating], half_width: float) -> Array:
    """Return the mean elevation [m] within `half_width` degrees of each place, 0 over sea, shape (lat, lon)."""
    field = open_cube(folder / ELEVATION)["elevation"].fillna(0.0)
    steps = np.array([-half_width / 2, half_width / 2])
    at = {"lat": (lat[:, None] + steps).reshape(-1), "lon": (lon[:, None] + steps).reshape(-1)}
    fine = field.interp({name: xr.DataArray(values, dims=name) for name, values in at.items()}, method="nearest")
    values = fine.fillna(0.0).to_numpy().reshape(len(lat), 2, len(lon), 2)
    return values.mean(axis=(1, 3)).astype(np.float32)
