# SPDX-License-Identifier: Apache-2.0
"""A history file as pictures need it: fields over time and cells, whatever the layout of the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cf_units
import cftime
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from coupler_plugin.errors import CouplerError, Status, nearest

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Field:
    """A field over time and cells, in `units`; missing values are NaN."""

    name: str
    label: str
    units: str
    values: Values

    def mean(self) -> Values:
        """Return the mean over the times at which a cell has a value; shape (cells,)."""
        return np.asarray(np.ma.masked_invalid(self.values).mean(axis=0).filled(np.nan))

    def to(self, units: str | None) -> Field:
        """Return the field in other units.

        Raises
        ------
        CouplerError
            UNITS, when they measure something else.
        """
        if units is None:
            return self
        try:
            factor = cf_units.Unit(self.units)
            values = np.asarray(factor.convert(self.values, cf_units.Unit(units)))
        except ValueError as error:
            raise CouplerError(
                Status.UNITS, f"'{self.name}' is in '{self.units}', which cannot be shown in '{units}'."
            ) from error
        return Field(self.name, self.label, units, values)


@dataclass(frozen=True)
class Results:
    """A history file.

    Attributes
    ----------
    path : Path
    ids : int64 array, shape (cells,)
    lon, lat : float64 arrays, shape (cells,)
    area : float64 array, shape (cells,), or None
    dates : array of cftime.datetime, shape (times,)
        Middle of each interval.
    bounds : float64 array, shape (times, 2)
        Begin and end of each interval, in `units` of `calendar`.
    """

    path: Path
    file: xr.Dataset
    ids: NDArray[np.int64]
    lon: Values
    lat: Values
    area: Values | None
    dates: NDArray[Any]
    bounds: Values
    units: str
    calendar: str

    def field(self, name: str, units: str | None = None) -> Field:
        """Return a field.

        Raises
        ------
        CouplerError
            FIELD, when the file does not have it, with the nearest that it has.
        """
        if name not in self.names:
            raise CouplerError(
                Status.FIELD,
                f"'{self.path}' has no field '{name}'.{nearest(name, self.names)} It has {', '.join(self.names)}.",
            )
        variable = self.file[name]
        values = _cells(self.file, variable)
        found = Field(name, str(variable.attrs.get("long_name", name)), str(variable.attrs.get("units", "1")), values)
        return found.to(units)

    @property
    def names(self) -> list[str]:
        """Fields of one level."""
        places = {"cell"} if "cell" in self.file.dims else {"lat", "lon"}
        listed = [str(n) for n, v in self.file.data_vars.items() if set(v.dims) == {"time", *places}]
        return [name for name in listed if not name.endswith("_flag")]

    def years(self) -> Values:
        """Return the middle of each interval in years."""
        days = 360 if self.calendar == "360_day" else 366
        return np.array([date.year + (date.dayofyr - 1 + date.hour / 24) / days for date in self.dates])

    def mean(self, values: Values) -> Values:
        """Return the mean over cells, weighted by area where there is one; shape (times,)."""
        weights = np.ones(self.lon.size) if self.area is None else self.area
        known = np.isfinite(values)
        return np.asarray((np.where(known, values, 0.0) @ weights) / (known @ weights))


def read(path: Path) -> Results:
    """Read a history file, NetCDF or Zarr.

    Raises
    ------
    CouplerError
        IO, when it cannot be read or is no history.
    """
    try:
        file = xr.open_dataset(path, decode_times=False, engine="zarr" if path.suffix == ".zarr" else None)
        time = file["time"]
        units, calendar = str(time.attrs["units"]), str(time.attrs["calendar"])
        bounds = file["time_bounds"].values if "time_bounds" in file else np.repeat(time.values[:, None], 2, axis=1)
        ids = file["id"].values.reshape(-1)
    except (OSError, RuntimeError, KeyError, ValueError, ImportError) as error:
        raise CouplerError(Status.IO, f"cannot read '{path}' as the history of a run: {error}.") from error
    if time.size == 0:
        raise CouplerError(Status.IO, f"the history '{path}' has no records.")
    lon, lat = (np.asarray(file[name].values, np.float64) for name in ("lon", "lat"))
    if "cell" not in file.dims:
        lat, lon = (array.reshape(-1) for array in np.meshgrid(lat, lon, indexing="ij"))
    area = file["cell_area"].values.reshape(-1)[ids > 0] if "cell_area" in file else None
    dates = np.asarray(cftime.num2date(time.values, units, calendar))
    return Results(
        path, file, ids[ids > 0], lon[ids > 0], lat[ids > 0], area, np.atleast_1d(dates), np.asarray(bounds), units,
        calendar,
    )  # fmt: skip


def _cells(file: xr.Dataset, variable: xr.DataArray) -> Values:
    """Return a variable over time and cells."""
    values = np.asarray(variable.transpose("time", ...).values, np.float64).reshape(variable.sizes["time"], -1)
    return values[:, file["id"].values.reshape(-1) > 0]
