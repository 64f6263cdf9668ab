# SPDX-License-Identifier: Apache-2.0
"""The history file: CF NetCDF on the cells, ordered by id, one record per averaging interval.

Rank 0 writes, and holds one record at a time. Each record is synced to disk: a host that stops without finalize keeps
what was written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import netCDF4
import numpy as np

from coupler_plugin.cells import Cells, Values
from coupler_plugin.clock import Clock
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.fields import FieldEntry
from coupler_plugin.parallel import Gather, broadcast, together

if TYPE_CHECKING:
    from mpi4py import MPI

_DAY = 86_400_000_000  # microseconds
_FILL = np.float32(1.0e20)


class History:
    """Writes means of fields over intervals.

    Parameters
    ----------
    path : Path
    fields : mapping of name to (FieldEntry, int)
        The dictionary's entry and the number of levels of each field.
    flags : mapping of name to attributes
        Of the fields that have flags, which are written beside them as ``<name>_flag``.
    cells : Cells
    clock : Clock
    provenance : mapping of str to str
        Global attributes: what made the file.
    comm : mpi4py.MPI.Comm or None
    resume : bool
        Go on with a file that an earlier part of the run wrote, after the last record that ended by the clock's start.

    Raises
    ------
    CouplerError
        IO on every rank, when the file cannot be created.
    """

    def __init__(
        self,
        path: Path,
        fields: Mapping[str, tuple[FieldEntry, int]],
        flags: Mapping[str, Mapping[str, Any]],
        cells: Cells,
        clock: Clock,
        provenance: Mapping[str, str],
        comm: MPI.Comm | None,
        resume: bool = False,
    ) -> None:
        self._path = path
        self._clock = clock
        self._comm = comm
        self._gather = Gather(comm, cells.ids)
        self.records = 0
        coordinates = {"lon": cells.lon, "lat": cells.lat} | ({} if cells.area is None else {"cell_area": cells.area})
        gathered = {name: self._gather(values) for name, values in coordinates.items()}
        self._epoch = clock.start // _DAY
        if resume and broadcast(comm, path.exists()):
            self._file = together(comm, lambda: self._reopen([*fields, *(f"{name}_flag" for name in flags)]))
            self.records = broadcast(comm, self.records)
        else:
            self._file = together(comm, lambda: self._create(fields, flags, gathered, provenance))

    def write(self, begin: int, end: int, values: Mapping[str, Values]) -> None:
        """Append the means of one interval; a collective call.

        Parameters
        ----------
        begin, end : int
            The interval [microseconds since 0001-01-01].
        values : mapping of name to array, shape (n, levels)
            Means of this rank's cells, in canonical units.
        """
        # In one message: on many ranks, waiting for each other costs more than the numbers do.
        record = self._gather(np.concatenate(list(values.values()), axis=1))
        columns = np.split(record, np.cumsum([field.shape[1] for field in values.values()])[:-1], axis=1)
        gathered = dict(zip(values, columns, strict=True))
        together(self._comm, lambda: self._append(begin, end, gathered))
        self.records += 1

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, begin: int, end: int, gathered: Mapping[str, Values]) -> None:
        if self._file is None:
            return
        try:
            record = self.records
            bounds = [begin / _DAY - self._epoch, end / _DAY - self._epoch]
            self._file["time"][record] = sum(bounds) / 2
            self._file["time_bounds"][record] = bounds
            for name, field in gathered.items():
                variable = self._file[name]
                values = np.ma.masked_invalid(field)  # such as an answer that has not come yet
                variable[record] = values if variable.ndim == 3 else values[:, 0]
            self._file.sync()
        except (OSError, RuntimeError) as error:
            raise CouplerError(
                Status.IO,
                f"cannot write to the history file '{self._path}' at {self._clock.date(end)}: {error}.",
            ) from error

    def _reopen(self, fields: Sequence[str]) -> netCDF4.Dataset | None:
        if not self._gather.is_root:
            return None
        try:
            file = netCDF4.Dataset(str(self._path), "a")
            fits = np.array_equal(file["id"][:], self._gather.ids) and all(name in file.variables for name in fields)
            origin = self._clock.parse(file["time"].units.removeprefix("days since ").split()[0])
        except (OSError, IndexError, AttributeError) as error:
            raise CouplerError(
                Status.IO, f"cannot go on with the history file '{self._path}': {error}; move it away."
            ) from error
        if not fits:
            file.close()
            raise CouplerError(
                Status.IO, f"the history file '{self._path}' has other cells or fields than this run; move it away."
            )
        self._epoch = origin // _DAY
        ends = np.asarray(file["time_bounds"][:, 1])
        self.records = int(np.count_nonzero(ends <= self._clock.start / _DAY - self._epoch + 1e-6))
        return file

    def _create(
        self,
        fields: Mapping[str, tuple[FieldEntry, int]],
        flags: Mapping[str, Mapping[str, Any]],
        coordinates: Mapping[str, Values],
        provenance: Mapping[str, str],
    ) -> netCDF4.Dataset | None:
        if not self._gather.is_root:
            return None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = netCDF4.Dataset(str(self._path), "w")
        except OSError as error:
            raise CouplerError(
                Status.IO, f"cannot create the history file '{self._path}': {error.strerror or error}."
            ) from error
        file.setncatts({"Conventions": "CF-1.11", **provenance})
        file.createDimension("time", None)
        file.createDimension("bounds", 2)
        file.createDimension("cell", self._gather.ids.size)
        origin = self._clock.date(self._epoch * _DAY).strftime("%Y-%m-%d")
        _variable(
            file, "time", "f8", ("time",), standard_name="time", units=f"days since {origin}",
            calendar=self._clock.calendar, axis="T", bounds="time_bounds",
        )  # fmt: skip
        _variable(file, "time_bounds", "f8", ("time", "bounds"))
        _variable(file, "id", "i8", ("cell",), long_name="global id of the cell")[:] = self._gather.ids
        for name, values in coordinates.items():
            _variable(file, name, "f8", ("cell",), **_COORDINATES[name])[:] = values
        for name, (entry, levels) in fields.items():
            dimensions: tuple[str, ...] = ("time", "cell")
            if levels > 1:
                level = f"level_{levels}"
                if level not in file.dimensions:
                    file.createDimension(level, levels)
                dimensions += (level,)
            attributes = {"long_name": entry.long_name, "units": entry.units, "cell_methods": "time: mean"}
            if entry.standard_name:
                attributes["standard_name"] = entry.standard_name
            if entry.positive:
                attributes["comment"] = f"positive {entry.positive}ward"
            if "cell_area" in coordinates:
                attributes["cell_measures"] = "area: cell_area"
            if name in flags:
                attributes["ancillary_variables"] = f"{name}_flag"
            _variable(file, name, "f4", dimensions, coordinates="lon lat", **attributes)
        for name, about in flags.items():
            _variable(file, f"{name}_flag", "i1", ("time", "cell"), coordinates="lon lat", **about)
        return file


_COORDINATES: dict[str, dict[str, str]] = {
    "lon": {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east"},
    "lat": {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north"},
    "cell_area": {"standard_name": "cell_area", "long_name": "area of the cell", "units": "m2"},
}


def _variable(file: netCDF4.Dataset, name: str, kind: Any, dimensions: tuple[str, ...], **attributes: Any) -> Any:
    packing: dict[str, Any] = {"zlib": True, "complevel": 1} if kind in ("f4", "i1") else {}
    if kind == "f4":
        packing["fill_value"] = _FILL
    variable = file.createVariable(name, kind, dimensions, **packing)
    variable.setncatts(attributes)
    return variable
