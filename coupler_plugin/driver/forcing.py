# SPDX-License-Identifier: Apache-2.0
"""Forcing from files: the fields that they give, whether they fit the run, and the values of a step."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from coupler_plugin.clock import Clock
from coupler_plugin.config.offline import ForcingSection
from coupler_plugin.driver.domain import read_domain
from coupler_plugin.driver.records import expand_pattern, open_forcing, read_records
from coupler_plugin.driver.slabs import Files, Slabs
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.fields import FieldEntry, Fields


class Forcing:
    """The fields that one set of files gives.

    Parameters
    ----------
    section : ForcingSection
    wanted : sequence of FieldEntry
        Fields that the run can use; those that the files have are taken.
    fields : Fields
    clock : Clock
        Start and step of the run, and its calendar.
    end : int
        End of the run [microseconds since 0001-01-01].

    Attributes
    ----------
    variables : dict of str to name
        Variable of each field that the files give.
    units : dict of str to str
        Its units.
    domain : Domain

    Raises
    ------
    CouplerError
        CONFIG or IO, for files that cannot be read, do not cover the run, or have gaps, overlaps or another calendar.
    """

    def __init__(
        self, section: ForcingSection, wanted: Sequence[FieldEntry], fields: Fields, clock: Clock, end: int
    ) -> None:
        self._clock = clock
        self._linear = section.interpolate == "linear"
        self._holds = section.missing == "hold"
        self._paths = [Path(path) for pattern in section.files for path in expand_pattern(pattern)]
        self._files = [open_forcing(path) for path in self._paths]
        self.variables = self._match(section, wanted, fields)
        first = next(iter(self.variables.values()))
        self.domain = read_domain(self._files[0], first, str(self._paths[0]))
        self.units = {
            name: str(self._files[0][variable].attrs.get("units", fields[name].units))
            for name, variable in self.variables.items()
        }
        self._check_files()
        self._records = read_records(self._files, self._paths, clock)
        self._linear &= len(self._records) > 1
        self._check_coverage(end)
        self._set = Files(self._paths, self._files, self.variables, self._records, self.domain)
        self._slabs: Slabs | None = None
        self._middles = np.array([record.middle for record in self._records])
        self._ends = np.array([record.end for record in self._records])
        #: the record that held last, and its time
        self._number, self._begin_of_record, self._end_of_record = 0, 0, 0

    def settle(self, places: NDArray[np.intp]) -> None:
        """Say on which places fields are read."""
        self._slabs = Slabs(self._set, places, self._clock, self._holds)

    @property
    def held(self) -> dict[str, int]:
        """Missing values that an earlier one stood for, by field."""
        return self._slabs.held if self._slabs else {}

    @property
    def covers(self) -> str:
        """What files these are and which time they cover."""
        first, last = self._records[0].begin, self._records[-1].end
        more = f" and {len(self._paths) - 1} more" if len(self._paths) > 1 else ""
        days = f"{self._clock.date(first).strftime('%Y-%m-%d')} to {self._clock.date(last).strftime('%Y-%m-%d')}"
        return f"{self._paths[0]}{more}: {len(self._records):,} records, {days}"

    @property
    def between(self) -> str:
        """What is done between the times of the files, and about missing values."""
        return ("interpolated" if self._linear else "held") + ("; gaps are held" if self._holds else "")

    def slab_bytes(self, n: int) -> int:
        """Return the bytes that are read ahead for `n` places."""
        count = min(len(self._records), self._set.count)
        return 8 * count * (self.domain.lon.size + 2 * n * len(self.variables))

    def fill(self, values: NDArray[np.float64], middle: int) -> None:
        """Write all fields of the step whose middle is `middle` [microseconds] into `values`, shape (fields, n).

        Raises
        ------
        CouplerError
            RUN, for a missing value, with its file, time and place.
        """
        assert self._slabs is not None
        if not self._linear:
            if not self._begin_of_record <= middle < self._end_of_record:
                self._number = int(np.searchsorted(self._ends, middle, side="right"))
                record = self._records[self._number]
                self._begin_of_record, self._end_of_record = record.begin, record.end
            values[...] = self._slabs.record(self._number)
            return
        after = int(np.clip(np.searchsorted(self._middles, middle), 1, len(self._middles) - 1))
        before = after - 1
        weight = (middle - self._middles[before]) / (self._middles[after] - self._middles[before])
        weight = float(np.clip(weight, 0.0, 1.0))
        first, second = self._slabs.record(before), self._slabs.record(after)
        np.add((1.0 - weight) * first, weight * second, out=values)

    def has_values(self) -> NDArray[np.bool_]:
        """Return at which places every field has a value in the first record, shape (places,)."""
        first = self._records[0]
        present = np.ones(self.domain.lon.size, bool)
        for name in self.variables:
            present &= np.isfinite(self._set.read(name, first, 1)[0])
        return present

    def variable(self, name: str) -> NDArray[np.float64]:
        """Return a variable of the first file without time, flattened over the places.

        Raises
        ------
        CouplerError
            CONFIG, when the file does not have it on the places.
        """
        file = self._files[0]
        if name not in file.variables or "time" in file[name].dims or not self.domain.fits(file[name]):
            raise CouplerError(
                Status.CONFIG, f"'{self._paths[0]}' has no variable '{name}' on the cells, which 'driver: mask' names."
            )
        return np.asarray(self.domain.lay_out(file[name]).values, np.float64).reshape(-1)

    # --- files --------------------------------------------------------------------------------------------------

    def _match(self, section: ForcingSection, wanted: Sequence[FieldEntry], fields: Fields) -> dict[str, Hashable]:
        """Return the variable of each field: as named, or by name, alias or standard name."""
        named = {fields[name].name: variable for name, variable in section.fields.items()}
        file = self._files[0]
        found: dict[str, Hashable] = {}
        for entry in wanted:
            if entry.name in named:
                if named[entry.name] not in file.data_vars:
                    raise CouplerError(
                        Status.CONFIG,
                        f"'{self._paths[0]}' has no variable '{named[entry.name]}'; it has {_list(file)}.",
                    )
                found[entry.name] = named[entry.name]
            else:
                names = {entry.name.lower(), *(alias.lower() for alias in entry.aliases)}
                variables = [v for v in file.data_vars if str(v).lower() in names] or [
                    v for v in file.data_vars if entry.standard_name == file[v].attrs.get("standard_name", "")
                ]
                if len(variables) == 1:
                    found[entry.name] = variables[0]
        if not found:
            raise CouplerError(
                Status.CONFIG,
                f"'{self._paths[0]}' gives none of the fields that the run needs; it has {_list(file)}: name them "
                "under 'fields:'.",
            )
        return found

    def _check_coverage(self, end: int) -> None:
        first, last = self._records[0].begin, self._records[-1].end
        if first > self._clock.start or last < end:
            raise CouplerError(
                Status.CONFIG,
                f"the forcing '{self._paths[0]}' covers {self._clock.date(first)} to {self._clock.date(last)}, the run "
                f"needs {self._clock.date(self._clock.start)} to {self._clock.date(end)}.",
            )

    def _check_files(self) -> None:
        """Check that all files have the variables of the first, in its units and on its places."""
        for file, path in zip(self._files, self._paths, strict=True):
            for name, variable in self.variables.items():
                if variable not in file.data_vars:
                    raise CouplerError(
                        Status.CONFIG, f"'{path}' has no variable '{variable}', which '{self._paths[0]}' has."
                    )
                if not self.domain.fits(file[variable]):
                    raise CouplerError(
                        Status.CONFIG,
                        f"'{variable}' lies on the dimensions {_joined(file[variable].dims)} in '{path}', the cells on "
                        f"{_joined(self.domain.dims)}; bring it to them.",
                    )
                units = str(file[variable].attrs.get("units", self.units[name]))
                if units != self.units[name]:
                    raise CouplerError(
                        Status.UNITS,
                        f"'{variable}' has the units '{units}' in '{path}' and '{self.units[name]}' in "
                        f"'{self._paths[0]}'; bring the files to one.",
                    )
            domain = read_domain(file, next(iter(self.variables.values())), str(path))
            if not (np.array_equal(domain.lon, self.domain.lon) and np.array_equal(domain.lat, self.domain.lat)):
                raise CouplerError(
                    Status.CELLS, f"'{path}' has other cells than '{self._paths[0]}'; bring the files to one grid."
                )


def _list(file: xr.Dataset) -> str:
    return _joined(file.data_vars)


def _joined(names: Iterable[Hashable]) -> str:
    return ", ".join(str(name) for name in names)
