# SPDX-License-Identifier: Apache-2.0
"""Observations at sites, brought together with the cells and intervals of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cftime
import numpy as np
import xarray as xr

from coupler_plugin.driver.domain import Domain, read_domain
from coupler_plugin.driver.records import same_calendar
from coupler_plugin.driver.sites import Sites, nearest
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.plot.results import Field, Results, Values


@dataclass(frozen=True)
class Pairs:
    """What was observed and what a run has, at the sites that both know.

    Attributes
    ----------
    names : list of str
        Sites.
    lat, lon : arrays, shape (sites,)
        Where they are [degrees].
    observed, emulated : Field
        Over time and sites, in the same units.
    left_out : list of str
        Sites farther from every cell than is allowed.
    """

    names: list[str]
    lat: Values
    lon: Values
    observed: Field
    emulated: Field
    left_out: list[str]


def pair(
    results: Results, name: str, path: Path, variable: str | None = None, within: float = 100e3,
    units: str | None = None,
) -> Pairs:  # fmt: skip
    """Read observations of a field and pair them with the nearest cells of a run.

    Parameters
    ----------
    results : Results
    name : str
        Field of the run.
    path : Path
        CF file with dimensions time and site, and the sites' latitudes and longitudes.
    variable : str, optional
        Its variable; default: ``NAME_observed`` or ``NAME``.
    within : float
        Farthest that a site may be from the centre of its cell [m].
    units : str, optional
        Default: those of the observations.

    Raises
    ------
    CouplerError
        IO or FIELD, when the file cannot be read or lacks the variable; CELLS or CONFIG, when no site lies near a cell
        or no time in an interval of the run.
    """
    file = _open(path)
    variable = _variable(file, name, variable, path)
    domain = read_domain(file, variable, str(path))
    if len(domain.dims) != 1:
        raise CouplerError(
            Status.CELLS, f"'{variable}' of '{path}' has the dimensions {domain.dims}; one of sites is expected."
        )
    names = _names(file, str(domain.dims[0]))
    cells = Sites(results.lon, results.lat)
    chosen, distance = nearest(Sites(domain.lon, domain.lat), _as_domain(cells), np.arange(results.lon.size))
    near = distance <= within
    if not near.any():
        raise CouplerError(
            Status.CELLS,
            f"no site of '{path}' is within {within / 1000:g} km of a cell of '{results.path}'; the nearest is "
            f"{distance.min() / 1000:.0f} km away.",
        )
    values = np.asarray(domain.lay_out(file[variable]).values, np.float64)[:, near]
    means = _over_intervals(values, file, results, path)
    observed = Field(name, "observed", str(file[variable].attrs.get("units", "1")), means).to(units)
    emulated = results.field(name, observed.units)
    shown = Field(name, emulated.label, observed.units, emulated.values[:, chosen[near]])
    left_out = [site for site, is_near in zip(names, near, strict=True) if not is_near]
    sites = [site for site, is_near in zip(names, near, strict=True) if is_near]
    return Pairs(sites, domain.lat[near], domain.lon[near], observed, shown, left_out)


def _open(path: Path) -> xr.Dataset:
    coder = xr.coders.CFDatetimeCoder(use_cftime=True)
    try:
        return xr.open_dataset(path, decode_times=coder, engine="zarr" if path.suffix == ".zarr" else None)
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        raise CouplerError(Status.IO, f"cannot read the observations '{path}': {error}.") from error


def _variable(file: xr.Dataset, name: str, variable: str | None, path: Path) -> str:
    for candidate in [variable] if variable else [f"{name}_observed", name]:
        if candidate in file.data_vars:
            return candidate
    listed = ", ".join(map(str, file.data_vars))
    raise CouplerError(Status.FIELD, f"'{path}' has no variable '{variable or name}'; it has {listed}.")


def _names(file: xr.Dataset, dim: str) -> list[str]:
    if dim in file.coords:
        return [str(name) for name in file[dim].values]
    return [str(number + 1) for number in range(file.sizes[dim])]


def _as_domain(sites: Sites) -> Domain:
    return Domain(("cell",), sites.lon, sites.lat, None)


def _over_intervals(values: Values, file: xr.Dataset, results: Results, path: Path) -> Values:
    """Return the means of the observations in each interval of the run, shape (times, sites)."""
    dates = file["time"].values
    if not isinstance(dates[0], cftime.datetime):
        raise CouplerError(
            Status.CONFIG, f"the times of '{path}' are no dates; give them units such as 'days since 2001-01-01'."
        )
    calendar = dates[0].calendar
    if not same_calendar(dates[0], results.calendar):
        raise CouplerError(
            Status.CONFIG,
            f"'{path}' has the calendar '{calendar}', '{results.path}' the calendar '{results.calendar}': their days "
            "are not the same days.",
        )
    moments = np.asarray(cftime.date2num(dates, results.units, calendar))
    place = np.searchsorted(results.bounds[:, 0], moments, side="right") - 1
    inside = (place >= 0) & (moments <= results.bounds[np.maximum(place, 0), 1])
    if not inside.any():
        raise CouplerError(Status.CONFIG, f"'{path}' has no time in the intervals of '{results.path}'.")
    known = np.isfinite(values) & inside[:, None]
    total, count = np.zeros((2, len(results.bounds), values.shape[1]))
    np.add.at(total, place[inside], np.where(known, values, 0.0)[inside])
    np.add.at(count, place[inside], known[inside])
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
