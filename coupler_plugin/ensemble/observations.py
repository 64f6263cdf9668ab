# SPDX-License-Identifier: Apache-2.0
"""Observations for an ensemble: the mean of what was observed in an interval, at the cells of the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from coupler_plugin.cells import Cells, Values
from coupler_plugin.clock import Clock
from coupler_plugin.driver.domain import read_domain
from coupler_plugin.driver.records import expand_pattern, open_forcing, read_intervals
from coupler_plugin.ensemble.section import ObservationsSection
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.fields import Conversion, Fields
from coupler_plugin.parallel import allgather

if TYPE_CHECKING:
    from mpi4py import MPI

#: places that are nearer than this are the same [degrees]
_NEAR: Final = 1e-3


class Observations:
    """Observed fields.

    Parameters
    ----------
    section : ObservationsSection
    fields : Fields
    cells : Cells
        Of this rank.
    clock : Clock

    Raises
    ------
    CouplerError
        IO or CONFIG for files that do not fit.
    """

    def __init__(self, section: ObservationsSection, fields: Fields, cells: Cells, clock: Clock) -> None:
        paths = [path for pattern in section.files for path in expand_pattern(pattern)]
        self._files = [open_forcing(path) for path in paths]
        self._intervals = [read_intervals(file, path, clock) for file, path in zip(self._files, paths, strict=True)]
        self._variables = {fields[name].name: variable for name, variable in section.fields.items()}
        self._conversions: dict[str, Conversion] = {}
        for name, variable in self._variables.items():
            if variable not in self._files[0]:
                raise CouplerError(Status.CONFIG, f"'{paths[0]}' has no variable '{variable}' of observations.")
            units = str(self._files[0][variable].attrs.get("units", fields[name].units))
            self._conversions[name] = fields.conversion(name, units, fields[name].units)
        self._domain = read_domain(self._files[0], next(iter(self._variables.values())), str(paths[0]))
        observed = _places(self._domain.lon, self._domain.lat)
        rows = {place: row for row, place in enumerate(observed)}
        found = [rows.get(place, -1) for place in _places(cells.lon, cells.lat)]
        self._rows: NDArray[np.intp] = np.array(found, dtype=np.intp)

    def check(self, comm: MPI.Comm | None) -> None:
        """Check that some observed place is a cell of the run; a collective call.

        Raises
        ------
        CouplerError
            CELLS, when none is.
        """
        if not sum(allgather(comm, int((self._rows >= 0).sum()))):
            lon, lat = self._domain.lon[0], self._domain.lat[0]
            raise CouplerError(
                Status.CELLS,
                f"none of the {self._domain.lon.size} observed places, the first at longitude {lon:g}, latitude "
                f"{lat:g}, is a cell of the run; bring the observations to its cells.",
            )

    @property
    def names(self) -> list[str]:
        """The fields that are observed."""
        return list(self._variables)

    def mean(self, name: str, begin: int, end: int) -> Values:
        """Return the mean over an interval, shape (n,), in canonical units; NaN where nothing was observed."""
        total, count = np.zeros(self._rows.size), np.zeros(self._rows.size)
        for file, intervals in zip(self._files, self._intervals, strict=True):
            for index in _within(intervals, begin, end):
                values = self._read(file, self._variables[name], index)
                seen = np.isfinite(values)
                total[seen] += values[seen]
                count[seen] += 1
        mean: Values = np.full(total.size, np.nan)
        np.divide(total, count, out=mean, where=count > 0)
        self._conversions[name].apply(mean, mean)
        return mean

    def _read(self, file: xr.Dataset, variable: str, index: int) -> Values:
        record = self._domain.lay_out(file[variable].isel(time=index))
        values = np.append(np.asarray(record.values, np.float64).reshape(-1), np.nan)
        return np.asarray(values[self._rows])  # place -1 is the NaN


def _places(lon: Values, lat: Values) -> list[tuple[int, int]]:
    """Return coordinates as whole numbers that can be compared."""
    places = np.stack([np.rint(np.mod(lon, 360.0) / _NEAR) % round(360 / _NEAR), np.rint(lat / _NEAR)], axis=1)
    return [(int(x), int(y)) for x, y in places]


def _within(intervals: Sequence[tuple[int, int]], begin: int, end: int) -> list[int]:
    """Return the records whose middle lies in an interval."""
    return [index for index, (first, last) in enumerate(intervals) if begin <= (first + last) // 2 < end]
