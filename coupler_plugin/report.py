# SPDX-License-Identifier: Apache-2.0
"""The report of a run: where the time went and what was computed, as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from coupler_plugin.cells import Cells
from coupler_plugin.clock import Clock
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.guard import shadow
from coupler_plugin.parallel import Gather, allgather, rank_of, size_of, together
from coupler_plugin.storage import cannot_write, write_text
from coupler_plugin.timers import Timers

if TYPE_CHECKING:
    from mpi4py import MPI


def summarise(
    comm: MPI.Comm | None, clock: Clock, cells: Cells | None, emulators: Sequence[ColumnEmulator], timers: Timers
) -> dict[str, Any]:
    """Return the report of a run, with times as means and maxima over ranks; a collective call."""
    ranks = allgather(comm, timers.so_far())
    return {
        "simulated_seconds": (clock.now - clock.start) / 1e6,
        "steps": clock.steps,
        "ranks": size_of(comm),
        "cells": sum(allgather(comm, cells.n if cells else 0)),
        "seconds": {
            phase: {"mean": float(np.mean([rank[phase] for rank in ranks])), "max": max(rank[phase] for rank in ranks)}
            for phase in ranks[0]
        },
        "emulators": [
            {
                "name": column.manifest.name,
                "version": column.manifest.version,
                "sha256": column.file.sha256,
                "calls": column.calls,
                "columns": sum(allgather(comm, column.calls * (cells.n if cells else 0))),
                "blocks": allgather(comm, column.block_sizes),
                "keeps_bits": all(allgather(comm, column.keeps_bits)),
                **_guarded(column, cells, comm),
            }
            for column in emulators
        ],
        "versions": versions(),
    }


def _guarded(column: ColumnEmulator, cells: Cells | None, comm: MPI.Comm | None) -> dict[str, Any]:
    """Return how often the guards of an emulator intervened, by kind and field, and what a shadow found."""
    found: dict[str, dict[str, int]] = {}
    for counts in allgather(comm, column.interventions()):
        for kind, fields in counts.items():
            for name, count in fields.items():
                if count:
                    found.setdefault(kind, {})
                    found[kind][name] = found[kind].get(name, 0) + count
    if not column.comparing or cells is None:
        return {"interventions": found}
    gather = Gather(comm, cells.ids)
    area = None if cells.area is None else gather(cells.area)
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
            write_text(path, json.dumps(report, indent=1) + "\n")
        except OSError as error:
            raise cannot_write("report", path, error) from error

    together(comm, on_root)
