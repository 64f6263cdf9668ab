# SPDX-License-Identifier: Apache-2.0
"""The report of a run: where the time went and what was computed, as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.guard import shadow
from coupler_plugin.parallel import Gather, allgather, rank_of, size_of, together

if TYPE_CHECKING:
    from mpi4py import MPI

    from coupler_plugin.coupler import Coupler
    from coupler_plugin.emulator.column import ColumnEmulator

#: the parts of a step that are timed
PHASES = ("step", "accumulate", "import", "infer", "export", "history")


class Timers:
    """Seconds spent in each phase of the step, on this rank."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.begin = perf_counter()

    def add(self, phase: str, since: float) -> float:
        """Add the time since `since` to a phase, and return the time now."""
        now = perf_counter()
        self.seconds[phase] += now - since
        return now


def summarise(coupler: Coupler) -> dict[str, Any]:
    """Return the report of a coupler, with times as means and maxima over ranks; a collective call."""
    comm = coupler.comm
    local = {**coupler.timers.seconds, "wall": perf_counter() - coupler.timers.begin}
    ranks = allgather(comm, local)
    simulated = (coupler.clock.now - coupler.clock.start) / 1e6
    return {
        "simulated_seconds": simulated,
        "steps": coupler.clock.steps,
        "ranks": size_of(comm),
        "cells": sum(allgather(comm, coupler.cells.n if coupler.cells else 0)),
        "seconds": {
            phase: {"mean": float(np.mean([r[phase] for r in ranks])), "max": max(r[phase] for r in ranks)}
            for phase in (*PHASES, "wall")
        },
        "emulators": [
            {
                "name": column.manifest.name,
                "version": column.manifest.version,
                "sha256": column.file.sha256,
                "calls": column.calls,
                "columns": sum(allgather(comm, column.calls * (coupler.cells.n if coupler.cells else 0))),
                "blocks": allgather(comm, column.block_sizes),
                "keeps_bits": all(allgather(comm, column.keeps_bits)),
                **_guarded(column, coupler),
            }
            for column in coupler.emulators
        ],
        "versions": versions(),
    }


def _guarded(column: ColumnEmulator, coupler: Coupler) -> dict[str, Any]:
    """Return how often the guards of an emulator intervened, by kind and field, and what a shadow found."""
    found: dict[str, dict[str, int]] = {}
    for counts in allgather(coupler.comm, column.interventions()):
        for kind, fields in counts.items():
            for name, count in fields.items():
                if count:
                    found.setdefault(kind, {})
                    found[kind][name] = found[kind].get(name, 0) + count
    if not column.comparing or coupler.cells is None:
        return {"interventions": found}
    gather = Gather(coupler.comm, coupler.cells.ids)
    area = None if coupler.cells.area is None else gather(coupler.cells.area)
    differences = {one.name: shadow.summary(one.units, gather(one.sums), area) for one in column.comparing}
    return {"interventions": found, "shadow": differences}


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    from coupler_plugin import __version__

    return {
        "coupler_plugin": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def write(report: Mapping[str, Any], path: Path, comm: MPI.Comm | None) -> None:
    """Write a report as JSON on rank 0; a collective call."""

    def on_root() -> None:
        if rank_of(comm) != 0:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise CouplerError(Status.IO, f"cannot write the report '{path}': {error.strerror}.") from error

    together(comm, on_root)
