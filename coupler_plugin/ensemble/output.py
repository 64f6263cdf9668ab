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
from coupler_plugin.ensemble.resume import Standing
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.noise import uniform
from coupler_plugin.output import cf, history_files
from coupler_plugin.output.cf import DAY
from coupler_plugin.output.history import Column
from coupler_plugin.output.history_files import Contents, HistoryFile, Variable
from coupler_plugin.parallel import Gather, together
from coupler_plugin.storage import cannot_write

if TYPE_CHECKING:
    from mpi4py import MPI

_FILL: Final = 1.0e20


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
    standing : Standing, optional
        How far an interrupted run has come, whose files go on.
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
        standing: Standing | None = None,
    ) -> None:
        self._path = path
        self._columns = columns
        self._shares = shares
        self._keeps = kept is not None
        self._observed = [column.name for column in columns if column.entry.name in observed and column.levels == 1]
        self._members = members
        self._seed = seed
        self._cells = cells
        self._comm = comm
        self._gather = Gather(comm, cells.ids)
        self._epoch = clock.start // DAY
        self.intervals = standing.intervals if standing else 0
        #: the scores so far, by field
        before = standing.scores if standing else {}
        self.scores = {name: Score(**before.get(name, {})) for name in self._observed}
        coordinates = {"lon": cells.lon, "lat": cells.lat} | ({} if cells.area is None else {"cell_area": cells.area})
        self._places = {name: self._gather(values) for name, values in coordinates.items()}
        self._files: dict[str, HistoryFile] = {}
        paths = {"statistics": path} | ({"members": kept} if kept else {})
        self._clock = clock

        def create() -> None:
            if not self._gather.is_root:
                return
            try:
                if self.intervals:
                    self._files |= {name: history_files.reopen(file) for name, file in paths.items()}
                    return
                self._files["statistics"] = history_files.create(path, self._contents(attributes))
                if kept is not None:
                    self._files["members"] = history_files.create(kept, self._members_contents(attributes))
            except (OSError, RuntimeError, ImportError, ValueError) as error:
                what = "go on with" if self.intervals else "create"
                files = " or ".join(f"'{file}'" for file in paths.values())
                raise CouplerError(
                    Status.IO, f"cannot {what} {files}: {error}; begin anew with --overwrite."
                ) from error

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
                ties = uniform(self._cells.ids, self._seed, f"ties {column.name}", end // DAY, end % DAY)
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
        bounds = (np.array([begin, end]) - self._epoch * DAY) / DAY
        time = {"time": bounds.mean()[np.newaxis], "time_bounds": bounds[np.newaxis]}
        slabs: dict[str, NDArray[Any]] = {**time, "members": np.array([count], np.int32)}
        kept: dict[str, NDArray[Any]] = dict(time)
        for column in self._columns:
            levels = (column.levels,) if column.levels > 1 else ()
            for what in ("mean", "std"):
                slabs[f"{column.name}_{what}"] = _filled(_laid_out(parts[f"{column.name}_{what}"], levels))
            if self._shares:
                quantiles = _laid_out(parts[f"{column.name}_quantile"], (len(self._shares), *levels))
                slabs[f"{column.name}_quantile"] = _filled(quantiles)
            if column.name in self._observed:
                for what in ("crps", "error"):
                    slabs[f"{column.name}_{what}"] = _filled(_laid_out(parts[f"{column.name}_{what}"], ()))
                places = parts[f"{column.name}_rank"][:, 0].astype(np.int64)
                counted = np.bincount(places[places >= 0], minlength=len(self._members) + 1)
                slabs[f"{column.name}_rank_histogram"] = counted[np.newaxis].astype(np.int32)
                self._score(column.name, parts)
            if "members" in self._files:
                kept[column.name] = _laid_out(parts[column.name], (len(self._members), *levels))
        try:
            self._files["statistics"].append(self.intervals, slabs)
            if "members" in self._files:
                self._files["members"].append(self.intervals, kept)
        except (OSError, RuntimeError) as error:
            raise cannot_write("files of the ensemble, such as", self._path, error) from error

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
            levels = _levels(column, sizes)
            made: list[tuple[str, str, tuple[str, ...]]] = [("mean", "mean", ()), ("std", "standard_deviation", ())]
            made += [("quantile", "", ("quantile",))] if self._shares else []
            for what, method, extra in made:
                name = f"{column.name}_{what}"
                dims = ("time", *extra, *levels, "cell")
                variables.append(Variable(name, "f8", dims, self._about(column, what, method), fill=_FILL))
            if column.name in self._observed:
                for what in ("crps", "error"):
                    about = self._about(column, what, "")
                    variables.append(Variable(f"{column.name}_{what}", "f8", ("time", "cell"), about, fill=_FILL))
                about = {"long_name": f"rank histogram of {column.entry.long_name}", "units": "1"}
                variables.append(Variable(f"{column.name}_rank_histogram", "i4", ("time", "rank"), about))
        title = {"title": "Statistics over the members of an ensemble"}
        return Contents(sizes, variables, {"Conventions": cf.CONVENTIONS, **attributes, **title})

    def _members_contents(self, attributes: Mapping[str, str]) -> Contents:
        sizes = {"bounds": 2, "cell": self._gather.ids.size, "realization": len(self._members)}
        numbers = np.array([member.number for member in self._members], np.int32)
        about = {"standard_name": "realization", "long_name": "number of the member", "units": "1"}
        variables = [*self._shared(), Variable("realization", "i4", ("realization",), about, numbers)]
        for column in self._columns:
            levels = _levels(column, sizes)
            dims = ("time", "realization", *levels, "cell")
            variables.append(Variable(column.name, "f8", dims, self._about(column, "", ""), fill=np.nan))
        title = {"title": "Members of an ensemble"}
        return Contents(sizes, variables, {"Conventions": cf.CONVENTIONS, **attributes, **title})

    def _shared(self) -> list[Variable]:
        return [*cf.time(self._clock, self._epoch), *cf.cells(self._gather.ids, self._places)]

    def _about(self, column: Column, what: str, method: str) -> dict[str, str]:
        words = {
            "": "", "mean": "mean over members of ", "std": "standard deviation over members of ",
            "quantile": "quantiles over members of ", "crps": "continuous ranked probability score of ",
            "error": "mean over members minus observation of ",
        }  # fmt: skip
        about = cf.quantity(column.entry, is_difference=what in ("std", "crps", "error"))
        about["long_name"] = words[what] + about["long_name"]
        about["cell_methods"] = f"time: {column.method}" + (f" realization: {method}" if method else "")
        if what in ("crps", "error"):  # no quantity that CF has a name for
            about.pop("standard_name", None)
        return {**about, **cf.on_cells(self._places)}


def _levels(column: Column, sizes: dict[str, int]) -> tuple[str, ...]:
    """Return the dimension of a field's levels, if it has some, and note its size."""
    if column.levels == 1:
        return ()
    sizes[f"level_{column.levels}"] = column.levels
    return (f"level_{column.levels}",)


def _laid_out(part: Values, inner: tuple[int, ...]) -> Values:
    """Return what each cell has, shape (cells, numbers), as one record of a file: cells last, as CF recommends it."""
    return np.moveaxis(part.reshape(-1, *inner), 0, -1)[np.newaxis]


def _filled(values: Values) -> Values:
    return np.where(np.isfinite(values), values, _FILL)
