# SPDX-License-Identifier: Apache-2.0
"""What an earlier run of an ensemble left: whether it is complete, which members are kept, what must not be lost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from coupler_plugin.cells import Values
from coupler_plugin.ensemble.section import EnsembleFile
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.parallel import broadcast, rank_of, together

if TYPE_CHECKING:
    from mpi4py import MPI

#: the status of a member that came to the end
COMPLETE: Final = "complete"


class Kept:
    """Members that an earlier run kept."""

    def __init__(self, path: Path, rows: Mapping[int, int], ids: NDArray[np.int64]) -> None:
        self._file = xr.open_dataset(path, decode_times=False)
        self.rows = rows  #: by number of the member: its row in the file
        order = {int(i): place for place, i in enumerate(self._file["id"].values)}
        self._cells = np.array([order[int(i)] for i in ids], dtype=np.intp)

    def values(self, name: str, interval: int, member: int) -> Values:
        """Return a field of a member in an interval, shape (n, levels)."""
        row = np.asarray(self._file[name][interval, self.rows[member]].values, np.float64)[..., self._cells]
        return row.reshape(-1, self._cells.size).T

    def close(self) -> None:
        """Let the file go."""
        self._file.close()


def look_back(
    ensemble: EnsembleFile,
    attributes: Mapping[str, str],
    keys: Mapping[int, str],
    comm: MPI.Comm | None,
    overwrite: bool,
) -> tuple[dict[int, int], dict[int, str] | None]:
    """Return the members that an earlier run kept, by number with their row; and its status, if it left nothing to do.

    Raises
    ------
    CouplerError
        IO, when the files are those of another ensemble.
    """

    def on_root() -> tuple[dict[int, int], dict[int, str] | None]:
        if rank_of(comm) > 0 or overwrite:
            return {}, None
        old = {path: read_attributes(path) for path in (ensemble.statistics.file, ensemble.keep) if path}
        statistics, kept = old[ensemble.statistics.file], old[ensemble.keep] if ensemble.keep else {}
        complete = _complete(kept) if kept else {}
        is_same_file = statistics is not None and statistics.get("ensemble_file") == attributes["ensemble_file"]
        for path, found in old.items():
            same = ("coupling_file", "model_sha256", "what")
            differs = found is not None and any(found.get(name) != attributes[name] for name in same)
            # Without kept members, other members would take the place of those that the statistics are of.
            loses = not set(keys.values()) >= complete.keys() if kept else found is not None and not is_same_file
            if differs or loses:
                raise CouplerError(
                    Status.IO,
                    f"'{path}' exists and is of {'another ensemble' if differs else 'other members'}; move it away or "
                    "allow its replacement with --overwrite.",
                )
        if statistics and kept is not None and is_same_file:
            status = {int(number): text for number, text in json.loads(statistics["status"]).items()}
            if status and set(status.values()) == {COMPLETE}:
                return {}, status
        rows = {number: complete[key] for number, key in keys.items() if key in complete}
        if len(rows) == len(keys):  # something has to step, to say when an interval is over
            rows.popitem()
        return rows, None

    return broadcast(comm, together(comm, on_root))


def _complete(kept: Mapping[str, str]) -> dict[str, int]:
    """Return the rows of complete members in the file that an earlier run kept, by their keys."""
    status = json.loads(kept.get("status", "{}"))
    entries = enumerate(json.loads(kept.get("realizations", "{}")).items())
    return {key: row for row, (number, (key, _)) in entries if status.get(number) == COMPLETE}


def read_attributes(path: Path) -> dict[str, str] | None:
    """Return the attributes of a file of an ensemble; None where there is no file."""
    if not path.exists():
        return None
    try:
        with xr.open_dataset(path, decode_times=False, engine="zarr" if path.suffix == ".zarr" else None) as file:
            return {str(name): str(value) for name, value in file.attrs.items()}
    except (OSError, RuntimeError, ValueError) as error:
        raise CouplerError(
            Status.IO,
            f"'{path}' exists and is no file of an ensemble: {error}; move it away or replace it with --overwrite.",
        ) from error
