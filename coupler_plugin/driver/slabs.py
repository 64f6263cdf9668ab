# SPDX-License-Identifier: Apache-2.0
"""Forcing read ahead: neighbouring records of all fields on this rank's places, with gaps refused or filled.

A read of a file costs the same for one record as for many, so that records are read by the slab and handed out one by
one.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from coupler_plugin.clock import Clock
from coupler_plugin.driver.domain import Domain
from coupler_plugin.driver.records import Record
from coupler_plugin.errors import CouplerError, Status

#: numbers of a field that are read at a time
_SLAB: Final = 2**20


@dataclass(frozen=True)
class Files:
    """Forcing files that were found to fit together.

    Attributes
    ----------
    variables : mapping of field to name
        The variable of each field.
    """

    paths: Sequence[Path]
    files: Sequence[xr.Dataset]
    variables: Mapping[str, Hashable]
    records: Sequence[Record]
    domain: Domain

    @property
    def count(self) -> int:
        """Records that are read at a time, at most."""
        return max(1, _SLAB // max(1, self.domain.lon.size))

    def neighbours(self, number: int) -> int:
        """Return how many records from `number` on are read at a time: those that follow each other in one file."""
        first = self.records[number]
        for step, record in enumerate(self.records[number : number + self.count]):
            if (record.file, record.index) != (first.file, first.index + step):
                return step
        return min(self.count, len(self.records) - number)

    def read(
        self, name: str, record: Record, count: int, places: NDArray[np.intp] | None = None
    ) -> NDArray[np.float64]:
        """Return `count` records of one file on some places (all, without), shape (records, places).

        Raises
        ------
        CouplerError
            IO, for a file that is damaged or gone.
        """
        variable = self.variables[name]
        try:
            return self._values(self.files[record.file], variable, slice(record.index, record.index + count), places)
        except (OSError, RuntimeError, ValueError) as error:
            path = self.paths[record.file]
            raise CouplerError(
                Status.IO, f"cannot read '{variable}' of the forcing '{path}', record {record.index + 1}: {error}."
            ) from error

    def _values(
        self, file: xr.Dataset, name: Hashable, records: slice, places: NDArray[np.intp] | None
    ) -> NDArray[np.float64]:
        variable = self.domain.lay_out(file[name])
        if "time" not in variable.dims:
            variable = variable.expand_dims(time=file.sizes["time"])
        part = variable.isel(time=records)
        if places is None or not places.size:
            return _flat(part)[:, slice(None) if places is None else places]
        # Of the first dimension, only what the places span: a rank does not read what others own.
        width = int(np.prod([part.sizes[dim] for dim in self.domain.dims[1:]], dtype=int))
        first, last = int(places.min()) // width, int(places.max()) // width
        return _flat(part.isel({self.domain.dims[0]: slice(first, last + 1)}))[:, places - first * width]


@dataclass(frozen=True)
class _Slab:
    """Neighbouring records of all fields on some places.

    Attributes
    ----------
    values : float64 array, shape (records, fields, places)
    missing : int array, shape (records, fields)
        Missing values of each record.
    has_gaps : list of bool
        Whether a record has any.
    """

    first: int
    values: NDArray[np.float64]
    missing: NDArray[np.intp]
    has_gaps: list[bool]


class Slabs:
    """Hands out the records of all fields on some places.

    Parameters
    ----------
    files : Files
    places : intp array, shape (n,)
    clock : Clock
    holds : bool
        Whether the last value stands for a missing one.

    Attributes
    ----------
    held : dict of str to int
        Missing values that an earlier one stood for, by field.
    """

    def __init__(self, files: Files, places: NDArray[np.intp], clock: Clock, holds: bool) -> None:
        self._files = files
        self._names = list(files.variables)
        self._places = places
        self._clock = clock
        self._holds = holds
        #: the two newest: interpolation looks at both sides of where one ends
        self._slabs: list[_Slab] = []
        self.held = dict.fromkeys(self._names, 0)

    def record(self, number: int) -> NDArray[np.float64]:
        """Return all fields in one record, shape (fields, n); the caller does not change it.

        Raises
        ------
        CouplerError
            RUN, for a missing value, with its file, time and place.
        """
        for slab in self._slabs:
            if slab.first <= number < slab.first + len(slab.values):
                break
        else:
            del self._slabs[1:]
            slab = self._load(number)
            self._slabs.insert(0, slab)
        row = number - slab.first
        if slab.has_gaps[row]:
            self._account(number, slab.values[row], slab.missing[row])
        values: NDArray[np.float64] = slab.values[row]
        return values

    def _account(self, number: int, values: NDArray[np.float64], missing: NDArray[np.intp]) -> None:
        """Refuse the missing values of a record, or count them."""
        for place, name in enumerate(self._names):
            if missing[place] and not self._holds:
                self._refuse(name, number, self._places, values[place])
            self.held[name] += int(missing[place])

    def _load(self, number: int) -> _Slab:
        """Read the records from `number` on, as many as are worth a read, and fill gaps if that is asked for."""
        record = self._files.records[number]
        before = next((s.values[-1] for s in self._slabs if s.first + len(s.values) == number), None)
        count = self._files.neighbours(number)
        parts, missing = [], []
        for place, name in enumerate(self._names):
            values = self._files.read(name, record, count, self._places)
            is_missing = ~np.isfinite(values)
            missing.append(np.count_nonzero(is_missing, axis=1))
            if self._holds and missing[-1].any():
                gap = is_missing[0]
                if gap.any():
                    last = self._last_known(name, number, gap) if before is None else before[place, gap]
                    values[0, gap] = last
                # The row of the newest value of each place, up to each record.
                rows = np.where(np.isfinite(values), np.arange(len(values))[:, None], 0)
                values = np.take_along_axis(values, np.maximum.accumulate(rows, axis=0), axis=0)
            parts.append(values)
        counts = np.stack(missing, axis=1)
        return _Slab(number, np.stack(parts, axis=1), counts, [bool(row.any()) for row in counts])

    def _last_known(self, name: str, number: int, gap: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the newest values before a record; a run that begins in a gap has those of one that came there."""
        places = self._places[gap]
        found = np.full(places.size, np.nan)
        for earlier in range(number - 1, -1, -1):
            values = self._files.read(name, self._files.records[earlier], 1, places)[0]
            found = np.where(np.isfinite(found), found, values)
            if np.isfinite(found).all():
                return found
        self._refuse(name, number, places, found)
        return found

    def _refuse(self, name: str, number: int, places: NDArray[np.intp], values: NDArray[np.float64]) -> None:
        place = places[np.flatnonzero(~np.isfinite(values))[0]]
        files, record = self._files, self._files.records[number]
        where = f"longitude {files.domain.lon[place]:g}, latitude {files.domain.lat[place]:g}"
        remedy = "" if self._holds else " go on with the last value by 'missing: hold',"
        raise CouplerError(
            Status.RUN,
            f"'{files.paths[record.file]}' has no value of '{files.variables[name]}' at "
            f"{self._clock.date(record.middle)} in cell {place + 1} ({where}); fill it,{remedy} or leave the cell out "
            "with 'driver: mask'.",
        )


def _flat(part: xr.DataArray) -> NDArray[np.float64]:
    return np.asarray(part.values, np.float64).reshape(part.sizes["time"], -1)
