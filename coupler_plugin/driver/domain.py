# SPDX-License-Identifier: Apache-2.0
"""The cells of an offline run: the places of a forcing file, and this rank's share of them.

Horizontal dimensions may be (lat, lon), (y, x) with two-dimensional coordinates, or a list of sites: those of longitude
and latitude are flattened, and a cell's id is its place in that order, from 1.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Final

import cf_units
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from coupler_plugin.errors import CouplerError, Status

EARTH_RADIUS: Final = 6.371e6  #: m

_UNITS: Final = {
    "lon": ("degrees_east", "degree_east", "degree_E", "degrees_E", "degreeE", "degreesE"),
    "lat": ("degrees_north", "degree_north", "degree_N", "degrees_N", "degreeN", "degreesN"),
}
_NAMES: Final = {"lon": "longitude", "lat": "latitude"}


@dataclass(frozen=True)
class Domain:
    """The places of a file, flattened.

    Attributes
    ----------
    dims : tuple of str
        Horizontal dimensions, in the order in which they are flattened.
    lon, lat : float64 arrays, shape (places,)
        Centres [degrees_east, degrees_north].
    area : float64 array, shape (places,), or None
        Areas [m2].
    shape : tuple of int
        Sizes of the dimensions.
    """

    dims: tuple[Hashable, ...]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    area: NDArray[np.float64] | None
    shape: tuple[int, ...] = ()

    def fits(self, variable: xr.DataArray) -> bool:
        """Return whether a variable lies on the places, whatever its times and dimensions of one level."""
        return {dim for dim, size in variable.sizes.items() if size > 1 or dim in self.dims} - {"time"} == {*self.dims}

    def lay_out(self, variable: xr.DataArray) -> xr.DataArray:
        """Return a variable that fits without dimensions of one level, those of the places last and in their order."""
        others = [dim for dim in variable.dims if dim not in ("time", *self.dims)]
        return variable.squeeze(others).transpose(..., *self.dims)

    def describe(self) -> str:
        """Return the extent of the places as a person reads it."""
        sizes = " x ".join(f"{size} {dim}" for dim, size in zip(self.dims, self.shape, strict=True))
        lat, lon = (f"{values.min():.2f} to {values.max():.2f}" for values in (self.lat, self.lon))
        return f"{sizes}; latitude {lat}, longitude {lon}"


def read_domain(file: xr.Dataset, variable: Hashable, path: str) -> Domain:
    """Return the places on which a variable lies.

    Raises
    ------
    CouplerError
        CELLS, when the file has no longitudes or latitudes for it; CONFIG, when a cell has several values of it; UNITS,
        when the file's areas of cells are in units of something else.
    """
    dims = tuple(dim for dim in file[variable].dims if dim != "time")
    lon, lat = (_coordinate(file, which, dims, path) for which in ("lon", "lat"))
    for dim in dims:
        if dim not in (*lon.dims, *lat.dims) and file.sizes[dim] > 1:  # one is a height of 2 m
            raise CouplerError(
                Status.CONFIG,
                f"'{variable}' in '{path}' has {file.sizes[dim]} values along '{dim}' in each cell, where a field has "
                "one; select or average them before the run.",
            )
    dims = tuple(dim for dim in dims if dim in (*lon.dims, *lat.dims))
    shape = tuple(file.sizes[dim] for dim in dims)
    area = _given_area(file, dims, path)
    if area is None:
        area = _rectilinear_area(lon, lat, file, dims)
    return Domain(dims, _flat(lon, file, dims), _flat(lat, file, dims), area, shape)


def share(places: NDArray[np.intp], rank: int, size: int, grain: int = 1) -> NDArray[np.intp]:
    """Return the part of the places that a rank owns: a run of neighbours, as long as the others' to within a grain."""
    pieces = np.array_split(np.arange(-(-places.size // grain)), size)[rank]
    return places[pieces[0] * grain : (pieces[-1] + 1) * grain] if pieces.size else places[:0]


def _coordinate(file: xr.Dataset, which: str, dims: tuple[Hashable, ...], path: str) -> xr.Variable:
    for name, variable in file.variables.items():
        attributes = variable.attrs
        is_it = attributes.get("standard_name") == _NAMES[which] or attributes.get("units") in _UNITS[which]
        if (is_it or name in (which, _NAMES[which])) and set(variable.dims) <= set(dims):
            return variable
    raise CouplerError(
        Status.CELLS,
        f"'{path}' has no {_NAMES[which]} on the dimensions {', '.join(map(str, dims))}; give it a coordinate with the "
        f"standard_name '{_NAMES[which]}'.",
    )


def _flat(variable: xr.Variable, file: xr.Dataset, dims: tuple[Hashable, ...]) -> NDArray[np.float64]:
    sizes: Any = {dim: file.sizes[dim] for dim in dims}
    wide = variable.set_dims(sizes)  # type: ignore[no-untyped-call]
    return np.asarray(wide.transpose(*dims).values, np.float64).reshape(-1)


def _given_area(file: xr.Dataset, dims: tuple[Hashable, ...], path: str) -> NDArray[np.float64] | None:
    """Return the areas that a file gives for its cells [m2]."""
    for name, variable in file.variables.items():
        if variable.attrs.get("standard_name") == "cell_area" and set(variable.dims) == set(dims):
            units = str(variable.attrs.get("units", "m2"))
            try:
                return np.asarray(cf_units.Unit(units).convert(_flat(variable, file, dims), "m2"))
            except ValueError as error:
                raise CouplerError(
                    Status.UNITS,
                    f"the areas of cells '{name}' in '{path}' have the units '{units}', which cannot be converted to "
                    "'m2'; correct their attribute 'units'.",
                ) from error
    return None


def _rectilinear_area(
    lon: xr.Variable, lat: xr.Variable, file: xr.Dataset, dims: tuple[Hashable, ...]
) -> NDArray[np.float64] | None:
    """Return the areas between circles of latitude and longitude half-way to the neighbours [m2]."""
    if lon.ndim != 1 or lat.ndim != 1 or lon.dims == lat.dims or min(lon.size, lat.size) < 2:
        return None
    edges = np.sin(np.deg2rad(np.clip(_edges(np.asarray(lat.values, np.float64)), -90.0, 90.0)))
    east = np.unwrap(np.asarray(lon.values, np.float64), period=360.0)  # a region may lie across where they begin
    widths = np.deg2rad(np.abs(np.diff(_edges(east))))
    area = EARTH_RADIUS**2 * np.abs(np.diff(edges))[:, None] * widths[None, :]
    return _flat(xr.Variable((lat.dims[0], lon.dims[0]), area), file, dims)


def _edges(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    middle = (centres[1:] + centres[:-1]) / 2
    first, last = 2 * centres[0] - middle[0], 2 * centres[-1] - middle[-1]
    edges: NDArray[np.float64] = np.concatenate([[first], middle, [last]])
    return edges
