# SPDX-License-Identifier: Apache-2.0
"""What an ensemble leaves behind: statistics of each interval, and the members themselves where they are kept.

Rank 0 writes one interval at a time, in one message from each rank.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.cells import Cells, Values
from coupler_plugin.clock import Clock
from coupler_plugin.ensemble import statistics
from coupler_plugin.ensemble.members import Member
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.noise import uniform
from coupler_plugin.output import history_files
from coupler_plugin.output.history import Column
from coupler_plugin.output.history_files import Contents, HistoryFile, Variable
from coupler_plugin.parallel import Gather, together

if TYPE_CHECKING:
    from mpi4py import MPI

_DAY: Final = 86_400_000_000  # microseconds
_FILL: Final = 1.0e20
_COORDINATES: Final = {
    "lon": {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east"},
    "lat": {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north"},
    "cell_area": {"standard_name": "cell_area", "long_name": "area of the cell", "units": "m2"},
}


@dataclass
class Score:
    """Sums of an observed field over intervals and cells, weighted by area; on rank 0."""

    weight: float = 0.0
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("crps", "error", "spread"), 0.0))

    def mean(self, name: str) -> float:
        """Return a mean."""
        return self.sums[name] / self.weight if self.weight else np.nan


class Output:
    """The files of an ensemble.

    Parameters
    ----------
    path : Path
        Of the statistics.
    kept : Path or None
        Of the members.
    columns : sequence of Column
    shares : list of float
        Quantiles.
    observed : sequence of str
        Fields with observations.
    members : sequence of Member
    seed : int
    cells : Cells
    clock : Clock
    attributes : mapping of str to str
    comm : mpi4py.MPI.Comm or None
    """

    def __init__(
        self,
        path: Path,
        kept: Path | None,
        columns: Sequence[Column],
        shares: list[float],
        observed: Sequence[str],
        members: Sequence[Member],
        seed: int,
        cells: Cells,
        clock: Clock,
        attributes: Mapping[str, str],
        comm: MPI.Comm | None,
    ) -> None:
        self._columns = columns
        self._shares = shares
        self._keeps = kept is not None
        self._observed = [column.name for column in columns if column.entry.name in observed and column.levels == 1]
        self._members = members
        self._seed = seed
        self._cells = cells
        self._comm = comm
        self._gather = Gather(comm, cells.ids)
        self._epoch = clock.start // _DAY
        self.intervals = 0
        #: the scores so far, by field
        self.scores = {name: Score() for name in self._observed}
        coordinates = {"lon": cells.lon, "lat": cells.lat} | ({} if cells.area is None else {"cell_area": cells.area})
        self._places = {name: self._gather(values) for name, values in coordinates.items()}
        self._files: dict[str, HistoryFile] = {}
        origin = clock.date(self._epoch * _DAY).strftime("%Y-%m-%d")
        self._time = {
            "standard_name": "time", "long_name": "time", "units": f"days since {origin}",
            "calendar": clock.calendar, "axis": "T", "bounds": "time_bounds",
        }  # fmt: skip

        def create() -> None:
            if not self._gather.is_root:
                return
            try:
                self._files["statistics"] = history_files.create(path, self._contents(attributes))
                if kept is not None:
                    self._files["members"] = history_files.create(kept, self._members_contents(attributes))
            except (OSError, ImportError) as error:
                raise CouplerError(Status.IO, f"cannot create '{path}' or '{kept}': {error}.") from error

        together(comm, create)

    def write(
        self,
        begin: int,
        end: int,
        rows: Sequence[int],
        values: Mapping[str, Values],
        observations: Mapping[str, Values],
    ) -> None:
        """Write one interval [microseconds since 0001-01-01]; a collective call.

        Parameters
        ----------
        rows : sequence of int
            Places in the list of members of those that are there.
        values : mapping of column to array, shape (members that are there, n, levels)
        observations : mapping of field to array, shape (n,)
        """
        parts: dict[str, NDArray[Any]] = {}
        for column in self._columns:
            members = values[column.name]
            mean, spread = statistics.mean_and_spread(members)
            ordered = np.sort(members, axis=0)
            parts[f"{column.name}_mean"], parts[f"{column.name}_std"] = mean, spread
            if self._shares:
                found = statistics.quantiles(ordered, self._shares)
                parts[f"{column.name}_quantile"] = np.stack(found, axis=1).reshape(len(mean), -1)
            if column.name in self._observed:
                observed = observations[column.entry.name]
                ties = uniform(self._cells.ids, self._seed, f"ties {column.name}", end // _DAY, end % _DAY)
                parts[f"{column.name}_crps"] = statistics.crps(ordered[..., 0], observed)[:, np.newaxis]
                parts[f"{column.name}_error"] = (mean[:, 0] - observed)[:, np.newaxis]
                parts[f"{column.name}_rank"] = statistics.ranks(members[..., 0], observed, ties)[:, np.newaxis]
            if self._keeps:
                whole = np.full((len(mean), len(self._members), column.levels), np.nan)
                whole[:, rows] = np.swapaxes(members, 0, 1)
                parts[column.name] = whole.reshape(len(mean), -1)
        record = self._gather(np.concatenate(list(parts.values()), axis=1).astype(np.float64))
        edges = np.cumsum([part.shape[1] for part in parts.values()])[:-1]
        whole_parts = dict(zip(parts, np.split(record, edges, axis=1), strict=True))
        together(self._comm, lambda: self._append(begin, end, len(rows), whole_parts))
        self.intervals += 1

    def finish(self, status: Mapping[str, str]) -> None:
        """Note what became of each member and close the files; a collective call."""

        def on_root() -> None:
            for file in self._files.values():
                file.note("status", json.dumps(status))
                file.close()
            self._files.clear()

        together(self._comm, on_root)

    def _append(self, begin: int, end: int, count: int, parts: Mapping[str, Values]) -> None:
        if not self._files:
            return
        bounds = (np.array([begin, end]) - self._epoch * _DAY) / _DAY
        time = {"time": bounds.mean()[np.newaxis], "time_bounds": bounds[np.newaxis]}
        slabs: dict[str, NDArray[Any]] = {**time, "members": np.array([count], np.int32)}
        kept: dict[str, NDArray[Any]] = dict(time)
        for column in self._columns:
            tail = (column.levels,) if column.levels > 1 else ()
            for what in ("mean", "std"):
                slabs[f"{column.name}_{what}"] = _filled(parts[f"{column.name}_{what}"].reshape(1, -1, *tail))
            if self._shares:
                array = parts[f"{column.name}_quantile"].reshape(-1, len(self._shares), *tail)
                slabs[f"{column.name}_quantile"] = _filled(np.swapaxes(array, 0, 1)[np.newaxis])
            if column.name in self._observed:
                for what in ("crps", "error"):
                    slabs[f"{column.name}_{what}"] = _filled(parts[f"{column.name}_{what}"].reshape(1, -1))
                places = parts[f"{column.name}_rank"][:, 0].astype(np.int64)
                counted = np.bincount(places[places >= 0], minlength=len(self._members) + 1)
                slabs[f"{column.name}_rank_histogram"] = counted[np.newaxis].astype(np.int32)
                self._score(column.name, parts)
            if "members" in self._files:
                array = parts[column.name].reshape(-1, len(self._members), *tail)
                kept[column.name] = np.swapaxes(array, 0, 1)[np.newaxis]
        try:
            self._files["statistics"].append(self.intervals, slabs)
            if "members" in self._files:
                self._files["members"].append(self.intervals, kept)
        except (OSError, RuntimeError) as error:
            raise CouplerError(Status.IO, f"cannot write the files of the ensemble: {error}.") from error

    def _score(self, name: str, parts: Mapping[str, Values]) -> None:
        """Add an interval to the scores; rank 0 has all cells in the order of their ids."""
        crps = parts[f"{name}_crps"][:, 0]
        area = self._places.get("cell_area", np.ones(crps.size)) * np.isfinite(crps)
        score = self.scores[name]
        score.weight += float(area.sum())
        for what, values in (
            ("crps", crps),
            ("error", np.abs(parts[f"{name}_error"][:, 0])),
            ("spread", parts[f"{name}_std"][:, 0]),
        ):
            score.sums[what] += float(np.where(area > 0, area * values, 0.0).sum())

    # --- what the files hold ------------------------------------------------------------------------------------

    def _contents(self, attributes: Mapping[str, str]) -> Contents:
        sizes = {"bounds": 2, "cell": self._gather.ids.size}
        variables = self._shared()
        variables.append(
            Variable("members", "i4", ("time",), {"long_name": "number of members in the statistics", "units": "1"})
        )
        if self._shares:
            sizes["quantile"] = len(self._shares)
            about = {"long_name": "share of the members below", "units": "1"}
            variables.append(Variable("quantile", "f8", ("quantile",), about, np.array(self._shares)))
        if self._observed:
            sizes["rank"] = len(self._members) + 1
            about = {"long_name": "number of members below the observation", "units": "1"}
            variables.append(Variable("rank", "i4", ("rank",), about, np.arange(sizes["rank"], dtype=np.int32)))
        for column in self._columns:
            tail: tuple[str, ...] = ()
            if column.levels > 1:
                tail = (f"level_{column.levels}",)
                sizes[tail[0]] = column.levels
            made: list[tuple[str, str, tuple[str, ...]]] = [("mean", "mean", ()), ("std", "standard_deviation", ())]
            made += [("quantile", "", ("quantile",))] if self._shares else []
            for what, method, extra in made:
                name = f"{column.name}_{what}"
                variables.append(
                    Variable(name, "f8", ("time", *extra, "cell", *tail), self._about(column, what, method), fill=_FILL)
                )
            if column.name in self._observed:
                for what in ("crps", "error"):
                    about = self._about(column, what, "")
                    variables.append(Variable(f"{column.name}_{what}", "f8", ("time", "cell"), about, fill=_FILL))
                about = {"long_name": f"rank histogram of {column.entry.long_name}", "units": "1"}
                variables.append(Variable(f"{column.name}_rank_histogram", "i4", ("time", "rank"), about))
        title = {"title": "Statistics over the members of an ensemble"}
        return Contents(sizes, variables, {"Conventions": "CF-1.11", **attributes, **title})

    def _members_contents(self, attributes: Mapping[str, str]) -> Contents:
        sizes = {"bounds": 2, "cell": self._gather.ids.size, "realization": len(self._members)}
        numbers = np.array([member.number for member in self._members], np.int32)
        about = {"standard_name": "realization", "long_name": "number of the member", "units": "1"}
        variables = [*self._shared(), Variable("realization", "i4", ("realization",), about, numbers)]
        for column in self._columns:
            tail: tuple[str, ...] = ()
            if column.levels > 1:
                tail = (f"level_{column.levels}",)
                sizes[tail[0]] = column.levels
            dims = ("time", "realization", "cell", *tail)
            variables.append(Variable(column.name, "f8", dims, self._about(column, "", ""), fill=np.nan))
        title = {"title": "Members of an ensemble"}
        return Contents(sizes, variables, {"Conventions": "CF-1.11", **attributes, **title})

    def _shared(self) -> list[Variable]:
        variables = [
            Variable("time", "f8", ("time",), self._time),
            Variable("time_bounds", "f8", ("time", "bounds"), {}),
            Variable("id", "i8", ("cell",), {"long_name": "global id of the cell"}, self._gather.ids),
        ]
        for name, values in self._places.items():
            variables.append(Variable(name, "f8", ("cell",), _COORDINATES[name], values))
        return variables

    def _about(self, column: Column, what: str, method: str) -> dict[str, str]:
        entry = column.entry
        words = {
            "": "", "mean": "mean over members of ", "std": "standard deviation over members of ",
            "quantile": "quantiles over members of ", "crps": "continuous ranked probability score of ",
            "error": "mean over members minus observation of ",
        }  # fmt: skip
        methods = f"time: {column.method}" + (f" realization: {method}" if method else "")
        about = {"long_name": words[what] + entry.long_name, "units": entry.units, "cell_methods": methods}
        if entry.standard_name and what in ("", "mean", "std", "quantile"):
            about["standard_name"] = entry.standard_name
        if "cell_area" in self._places:
            about["cell_measures"] = "area: cell_area"
        return {**about, "coordinates": "lon lat"}


def _filled(values: Values) -> Values:
    return np.where(np.isfinite(values), values, _FILL)
