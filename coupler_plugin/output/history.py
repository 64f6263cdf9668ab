# SPDX-License-Identifier: Apache-2.0
"""A history file: CF NetCDF or Zarr, the cells ordered by id or on their grid, one record per interval.

Rank 0 writes. A host that stops without finalize keeps what was written: each record is brought to the disk at once,
or, where the caller closes the file whatever happens, some seconds of records together, which is many times cheaper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.cells import Cells, Values
from coupler_plugin.clock import Clock
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.fields import FieldEntry
from coupler_plugin.output import cf, history_files
from coupler_plugin.output.cf import DAY
from coupler_plugin.output.history_files import Contents, HistoryFile, Variable
from coupler_plugin.parallel import Gather, broadcast, together
from coupler_plugin.storage import cannot_write

if TYPE_CHECKING:
    from mpi4py import MPI

_FILL: Final = np.float32(1.0e20)
_EARTH_RADIUS: Final = 6.371e6  # m
#: the attribute `status` of a history, before and after finalize
RUNNING: Final = "running"
FINALIZED: Final = "finalized"
#: bytes of records that wait in memory at most
_PENDING: Final = 2**25


@dataclass(frozen=True)
class Column:
    """A variable of the history: a field, its levels, and how its values come from an interval, as CF says it."""

    name: str
    entry: FieldEntry
    levels: int
    method: str


class History:
    """Writes fields over intervals.

    Parameters
    ----------
    path : Path
    columns : sequence of Column
    flags : mapping of field name to attributes
        Of the fields that have flags, which are written beside them as ``<name>_flag``.
    cells : Cells
    clock : Clock
    provenance : mapping of str to str
        Global attributes: what made the file.
    comm : mpi4py.MPI.Comm or None
    grid : bool
        As latitude by longitude instead of as a list of cells.
    resume : bool
        Go on with a file that an earlier part of the run wrote, after the last record that ended by the clock's start.
    patience : float
        Seconds that records may wait in memory [s].

    Raises
    ------
    CouplerError
        IO on every rank, when the file cannot be created; CELLS, when the cells are on no grid.
    """

    def __init__(
        self,
        path: Path,
        columns: Sequence[Column],
        flags: Mapping[str, Mapping[str, Any]],
        cells: Cells,
        clock: Clock,
        provenance: Mapping[str, str],
        comm: MPI.Comm | None,
        *,
        grid: bool = False,
        resume: bool = False,
        patience: float = 0.0,
    ) -> None:
        self._path = path
        self._columns = columns
        self._flags = flags
        self._clock = clock
        self._comm = comm
        self._gather = Gather(comm, cells.ids)
        self._is_instant = all(column.method == "point" for column in columns)
        self._patience = patience
        #: begin and end of intervals that wait [days since the epoch], and all values of each: (cells, width)
        self._pending: list[tuple[tuple[float, float], Values]] = []
        self._written = perf_counter()
        self._stored = 0  # records in the file
        coordinates = {"lon": cells.lon, "lat": cells.lat} | ({} if cells.area is None else {"cell_area": cells.area})
        gathered = {name: self._gather(values) for name, values in coordinates.items()}
        self._grid = together(comm, lambda: _Grid(gathered, path) if grid and self._gather.is_root else None)
        self._epoch = clock.start // DAY
        names = [*(column.name for column in columns), *(f"{name}_flag" for name in flags)]
        self._file: HistoryFile | None
        if resume and broadcast(comm, path.exists()):
            self._file = together(comm, lambda: self._reopen(names, provenance))
        else:
            self._file = together(comm, lambda: self._create(gathered, provenance))

    def write(self, begin: int, end: int, record: Values) -> None:
        """Append one interval; a collective call.

        Parameters
        ----------
        begin, end : int
            The interval [microseconds since 0001-01-01].
        record : array, shape (n, columns)
            Values of this rank's cells, in canonical units: the fields with their levels, then the flags.
        """
        # In one message: on many ranks, waiting for each other costs more than the numbers do.
        whole = self._gather(record)
        together(self._comm, lambda: self._append(begin, end, whole))

    def flush(self) -> None:
        """Bring the records that wait to the disk; rank 0 has some, the others do nothing."""
        if self._file is None or not self._pending:
            return
        pending, self._pending = self._pending, []
        try:
            self._file.append(self._stored, self._records(pending))
        except (OSError, RuntimeError) as error:
            moment = self._clock.date(self._clock.now)
            remedy = f"its first {self._stored} records, of before {moment}, are whole"
            raise cannot_write("history file", self._path, error, remedy) from error
        self._stored += len(pending)
        self._written = perf_counter()

    def finalize(self) -> None:
        """Note in the file that the host called finalize; on rank 0."""
        if self._file is None:
            return
        try:
            self._file.note("status", FINALIZED)
        except (OSError, RuntimeError) as error:
            raise cannot_write("history file", self._path, error) from error

    def close(self) -> None:
        """Finish the file."""
        if self._file is None:
            return
        try:
            self.flush()
        finally:
            file, self._file = self._file, None
            try:
                file.close()
            except (OSError, RuntimeError) as error:
                raise cannot_write("history file", self._path, error) from error

    def _append(self, begin: int, end: int, record: Values) -> None:
        if self._file is None:
            return
        begin, end = begin - self._epoch * DAY, end - self._epoch * DAY  # whole numbers first: days since 0001 round
        self._pending.append(((begin / DAY, end / DAY), record))
        if perf_counter() - self._written >= self._patience or len(self._pending) * record.nbytes > _PENDING:
            self.flush()

    def _records(self, pending: Sequence[tuple[tuple[float, float], Values]]) -> dict[str, NDArray[Any]]:
        """Return the variables of the intervals that wait, each over (records, places, levels)."""
        bounds = np.array([interval for interval, _ in pending])
        found: dict[str, NDArray[Any]] = {"time": bounds[:, 1] if self._is_instant else bounds.mean(axis=1)}
        if not self._is_instant:
            found["time_bounds"] = bounds
        whole = np.stack([record for _, record in pending])
        place = 0
        for column in self._columns:
            values = whole[..., place : place + column.levels]
            place += column.levels
            kept = np.where(np.isfinite(values), values, _FILL).astype(np.float32)
            # Levels stand before the places, as CF recommends it and CDO needs it.
            found[column.name] = (
                np.moveaxis(self._laid_out(kept, _FILL), -1, 1)
                if column.levels > 1
                else self._laid_out(kept[..., 0], _FILL)
            )
        for name in self._flags:
            found[f"{name}_flag"] = self._laid_out(whole[..., place].astype(np.int8), np.int8(0))
            place += 1
        return found

    def _laid_out(self, values: NDArray[Any], fill: Any) -> NDArray[Any]:
        """Return values over (records, cells, ...) as the file lays places out."""
        return values if self._grid is None else self._grid.spread(values, fill)

    # --- creating -----------------------------------------------------------------------------------------------

    def _reopen(self, names: Sequence[str], provenance: Mapping[str, str]) -> HistoryFile | None:
        if not self._gather.is_root:
            return None
        try:
            file = history_files.reopen(self._path)
            ids = file.read("id").reshape(-1)
            fits = np.array_equal(np.sort(ids[ids > 0]), self._gather.ids) and file.names() >= set(names)
            ends = file.read("time") if self._is_instant else file.read("time_bounds")[:, 1]
            origin = self._clock.parse(file.attributes("time")["units"].removeprefix("days since ").split()[0])
            before = file.attributes().get("history", "")
        except (OSError, RuntimeError, LookupError, AttributeError, ValueError) as error:
            raise CouplerError(
                Status.IO, f"cannot go on with the history file '{self._path}': {error}; move it away."
            ) from error
        if not fits:
            file.close()
            raise CouplerError(
                Status.IO, f"the history file '{self._path}' has other cells or fields than this run; move it away."
            )
        file.note("history", f"{before}\n{provenance['history']}, from {self._clock.date(self._clock.start)} on")
        file.note("status", RUNNING)
        self._epoch = origin // DAY
        self._stored = int(np.count_nonzero(ends <= (self._clock.start - self._epoch * DAY) / DAY + 1e-9))
        return file

    def _create(self, coordinates: Mapping[str, Values], provenance: Mapping[str, str]) -> HistoryFile | None:
        if not self._gather.is_root:
            return None
        try:
            return history_files.create(self._path, self._contents(coordinates, provenance))
        except ImportError as error:
            raise CouplerError(
                Status.IO, f"'{self._path}' needs zarr: pip install 'coupler_plugin[zarr]', or write NetCDF."
            ) from error
        except (OSError, RuntimeError) as error:
            raise cannot_write("history file", self._path, error) from error

    def _contents(self, coordinates: Mapping[str, Values], provenance: Mapping[str, str]) -> Contents:
        """Return dimensions, variables and attributes of a new file."""
        grid = self._grid
        places = ("cell",) if grid is None else ("lat", "lon")
        sizes = {"bounds": 2} | ({"cell": self._gather.ids.size} if grid is None else grid.sizes)
        if self._is_instant:
            del sizes["bounds"]
        variables = cf.time(self._clock, self._epoch, is_instant=self._is_instant)
        ids = self._gather.ids
        variables += cf.cells(ids, coordinates) if grid is None else grid.variables(ids, coordinates)
        shared = cf.on_cells(coordinates)
        if grid is not None:
            shared["grid_mapping"] = "crs"
            del shared["coordinates"]
        for column in self._columns:
            levels: tuple[str, ...] = ()
            if column.levels > 1:
                levels = (f"level_{column.levels}",)
                sizes[levels[0]] = column.levels
            about = {**cf.quantity(column.entry), "cell_methods": f"time: {column.method}", **shared}
            if column.entry.name in self._flags:
                about["ancillary_variables"] = f"{column.entry.name}_flag"
            variables.append(Variable(column.name, "f4", ("time", *levels, *places), about, fill=_FILL))
        for name, flags in self._flags.items():
            variables.append(Variable(f"{name}_flag", "i1", ("time", *places), {**flags, **shared}))
        return Contents(sizes, variables, {"Conventions": cf.CONVENTIONS, **provenance})


def stamp() -> str:
    """Return the present time as the attribute `history` has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Grid:
    """Where the cells lie on the grid of their latitudes and longitudes; on rank 0."""

    def __init__(self, coordinates: Mapping[str, Values], path: Path) -> None:
        self._lat, rows = np.unique(np.round(coordinates["lat"], 6), return_inverse=True)
        self._lon, columns = np.unique(np.round(coordinates["lon"], 6), return_inverse=True)
        self._places = rows * self._lon.size + columns
        self.sizes = {"lat": self._lat.size, "lon": self._lon.size}
        if np.unique(self._places).size < self._places.size or self._lat.size * self._lon.size > 64 * rows.size:
            raise CouplerError(
                Status.CELLS,
                f"the cells are not those of a grid of latitudes by longitudes, as which '{path}' is to be written; "
                "leave 'grid: true' out.",
            )

    def spread(self, values: NDArray[Any], fill: Any) -> NDArray[Any]:
        """Return values over (records, cells, ...) on the grid: (records, lat, lon, ...)."""
        n, _, *levels = values.shape
        laid = np.full((n, self._lat.size * self._lon.size, *levels), fill, values.dtype)
        laid[:, self._places] = values
        return laid.reshape(n, self._lat.size, self._lon.size, *levels)

    def variables(self, ids: NDArray[np.int64], coordinates: Mapping[str, Values]) -> list[Variable]:
        """Return the coordinates, the grid mapping, and the ids and areas of the cells."""
        about = {"grid_mapping_name": "latitude_longitude", "earth_radius": _EARTH_RADIUS}
        mapped = {"grid_mapping": "crs"}
        found = [
            Variable("lat", "f8", ("lat",), {**cf.COORDINATES["lat"], "axis": "Y"}, self._lat),
            Variable("lon", "f8", ("lon",), {**cf.COORDINATES["lon"], "axis": "X"}, self._lon),
            Variable("crs", "i4", (), about, np.array(0, np.int32)),
            Variable("id", "i8", ("lat", "lon"), {**cf.ID, **mapped}, self.spread(ids[None], 0)[0]),
        ]
        if "cell_area" in coordinates:
            area = self.spread(coordinates["cell_area"][None], 0.0)[0]
            found.append(Variable("cell_area", "f8", ("lat", "lon"), {**cf.COORDINATES["cell_area"], **mapped}, area))
        return found
