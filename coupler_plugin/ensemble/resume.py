# SPDX-License-Identifier: Apache-2.0
"""Where an interrupted ensemble goes on: a restart of each group of members, and a small file that names them.

The file is written last, in one piece: what it names is whole. It is of use to the same ensemble only, on any number of
ranks, and goes when that is complete.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from coupler_plugin.config.files import RestartSection
from coupler_plugin.ensemble.section import EnsembleFile
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.parallel import any_of, broadcast, rank_of, together
from coupler_plugin.storage import cannot_write, write_text

if TYPE_CHECKING:
    from mpi4py import MPI

#: seconds between two restarts of an ensemble: what a kill can cost
_PATIENCE: Final = 600.0
_NAME: Final = "ensemble.json"


@dataclass(frozen=True)
class Standing:
    """How far an ensemble has come.

    Attributes
    ----------
    time, begin : int
        Of the ensemble, and the beginning of the interval of its statistics [microseconds since 0001-01-01].
    intervals : int
        Whole ones in the files.
    groups : list of list of int
        The numbers of the members that step together.
    status : dict of int to str
        By number of the member.
    scores : dict of str to dict
        Sums so far, by observed field; on rank 0.
    """

    time: int
    begin: int
    intervals: int
    groups: list[list[int]]
    status: dict[int, str]
    scores: dict[str, dict[str, Any]]


class Restarts:
    """The restarts of an ensemble.

    Parameters
    ----------
    ensemble : EnsembleFile
    attributes : mapping of str to str
        Of its files.
    kept : sequence of int
        Members that are read from an earlier run.
    comm : mpi4py.MPI.Comm or None
    """

    def __init__(
        self, ensemble: EnsembleFile, attributes: Mapping[str, str], kept: Sequence[int], comm: MPI.Comm | None
    ) -> None:
        self._folder = folder_of(ensemble)
        self._written = [path for path in (ensemble.statistics.file, ensemble.draft) if path]
        about = ("ensemble_file", "coupling_file", "model_sha256", "what", "realizations")
        identity = [*(attributes[name] for name in about), sorted(kept)]
        self._identity = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        self._comm = comm
        self._since = perf_counter()

    def section(self, members: Sequence[int], *, is_resumed: bool) -> RestartSection:
        """Return the section `restart:` of the coupler of some members."""
        read = "required" if is_resumed else "never"
        return RestartSection.model_validate({"name": f"member_{members[0]:04d}", "dir": self._folder, "read": read})

    def find(self) -> Standing | None:
        """Return where this ensemble was interrupted, if it was; a collective call."""

        def on_root() -> Standing | None:
            file = self._folder / _NAME
            if rank_of(self._comm) > 0 or not file.exists():
                return None
            try:
                found = json.loads(file.read_text(encoding="utf-8"))
                if found.pop("identity") != self._identity or not found["groups"]:
                    return None
                found["status"] = {int(number): text for number, text in found["status"].items()}
                standing = Standing(**found)
            except (OSError, ValueError, TypeError, LookupError) as error:
                raise CouplerError(
                    Status.IO,
                    f"cannot read '{file}', from which the ensemble goes on: {error}; begin anew with --overwrite.",
                ) from error
            is_there = all(path.exists() for path in self._written)
            return standing if is_there or not standing.intervals else None

        return broadcast(self._comm, together(self._comm, on_root))

    def is_due(self) -> bool:
        """Return whether it is time for the next restart; a collective call."""
        return any_of(self._comm, rank_of(self._comm) == 0 and perf_counter() - self._since > _PATIENCE)

    def write(self, standing: Standing) -> None:
        """Note how far the ensemble has come, once its groups have written their restarts; a collective call."""

        def on_root() -> None:
            if rank_of(self._comm) > 0:
                return
            file = self._folder / _NAME
            try:
                write_text(file, json.dumps({"identity": self._identity, **asdict(standing)}))
            except OSError as error:
                raise cannot_write("restart of the ensemble", file, error) from error

        together(self._comm, on_root)
        self._since = perf_counter()

    def remove(self) -> None:
        """Remove all restarts of the ensemble; a collective call."""

        def on_root() -> None:
            if rank_of(self._comm) > 0 or not self._folder.is_dir():
                return
            (self._folder / _NAME).unlink(missing_ok=True)
            for pattern in ("rpointer.member_*", "member_*.r.*"):
                for path in self._folder.glob(pattern):
                    path.unlink()
            if not any(self._folder.iterdir()):
                self._folder.rmdir()

        together(self._comm, on_root)


def folder_of(ensemble: EnsembleFile) -> Path:
    """Return the folder of the restarts, beside the statistics."""
    return ensemble.statistics.file.with_suffix(".restart")
