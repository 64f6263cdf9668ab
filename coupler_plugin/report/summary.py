# SPDX-License-Identifier: Apache-2.0
"""The report of a run: how fast it was, where the time went, what it took, what was computed and what guards did.

Numbers follow the metrics of CPMIP (Balaji et al. 2017, doi 10.5194/gmd-10-19-2017): simulated years per day, core
hours and energy per simulated year. Everything else that shows a report, table or page, reads this one.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from coupler_plugin.cells import Cells
from coupler_plugin.clock import Clock
from coupler_plugin.config.files import ReportSection
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.guard import shadow
from coupler_plugin.machine import peak_memory, processor_time
from coupler_plugin.parallel import Gather, allgather, rank_of, size_of, together
from coupler_plugin.report import energy, page
from coupler_plugin.storage import cannot_write, write_text
from coupler_plugin.timers import Event, Timers

if TYPE_CHECKING:
    from mpi4py import MPI


def summarise(
    section: ReportSection,
    comm: MPI.Comm | None,
    clock: Clock,
    cells: Cells | None,
    emulators: Sequence[ColumnEmulator],
    timers: Timers,
    threads: int,
    meter: energy.Meter | None,
) -> dict[str, Any]:
    """Return the report of a run, with times as means and maxima over ranks; a collective call."""
    ranks = allgather(comm, timers.so_far())
    simulated = (clock.now - clock.start) / 1e6
    years = simulated / (clock.days_per_year * 86_400)
    wall = max(rank["wall"] for rank in ranks)
    cores = size_of(comm) * threads
    used = meter.stop() if meter else energy.estimate(cores * wall, section.watts_per_core)
    used["co2_kg"] = used["kwh"] * section.grams_co2_per_kwh / 1000.0
    timelines = allgather(comm, timers.timeline())
    return {
        "simulated_seconds": simulated,
        "steps": clock.steps,
        "ranks": size_of(comm),
        "threads": threads,
        "cells": sum(allgather(comm, cells.n if cells else 0)),
        "speed": {
            "simulated_years_per_day": _per(years, wall / 86_400),
            "core_hours_per_simulated_year": _per(cores * wall / 3600, years),
            "processor_seconds": sum(allgather(comm, processor_time())),
        },
        "energy": {
            **used,
            "kwh_per_simulated_year": _per(used["kwh"], years),
            "co2_kg_per_simulated_year": _per(used["co2_kg"], years),
            "grams_co2_per_kwh": section.grams_co2_per_kwh,
        },
        "seconds": {
            phase: {"mean": float(np.mean([rank[phase] for rank in ranks])), "max": max(rank[phase] for rank in ranks)}
            for phase in ranks[0]
        },
        "load": _load(comm, ranks, cells),
        "memory": {
            "peak_bytes": allgather(comm, peak_memory()),
            "device_peak_bytes": allgather(comm, _device_memory()),
        },
        "emulators": [_emulator(column, cells, comm) for column in emulators],
        "timeline": [_since(timelines, events) for events in timelines] if section.trace or section.html else [],
        "machine": {"node": platform.node(), "processor": _processor(), "processors": os.cpu_count()},
        "versions": versions(),
    }


def _per(value: float, amount: float) -> float | None:
    return value / amount if amount > 0 else None


def _load(comm: MPI.Comm | None, ranks: Sequence[Mapping[str, float]], cells: Cells | None) -> dict[str, Any]:
    """Return what each rank worked, and how much longer the busiest one did than the mean."""
    busy = [rank["step"] + rank["read"] - rank["wait"] for rank in ranks]
    return {
        "cells": allgather(comm, cells.n if cells else 0),
        "busy_seconds": busy,
        "imbalance": max(busy) / float(np.mean(busy)) - 1.0 if max(busy) > 0 else 0.0,
    }


def _emulator(column: ColumnEmulator, cells: Cells | None, comm: MPI.Comm | None) -> dict[str, Any]:
    columns = sum(allgather(comm, column.calls * column.n))
    seconds = allgather(comm, column.seconds)
    return {
        "name": column.manifest.name,
        "version": column.manifest.version,
        "sha256": column.file.sha256,
        "every": column.every,
        "calls": column.calls,
        "columns": columns,
        "seconds": {"mean": float(np.mean(seconds)), "max": max(seconds)},
        "columns_per_second": _per(columns, sum(seconds)),  # of one rank
        "share": column.section.share,
        "precision": column.section.precision,
        "blocks": allgather(comm, column.block_sizes),
        "keeps_bits": all(allgather(comm, column.keeps_bits)),
        **column.on_grid(),
        **_guarded(column, cells, comm),
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


def _device_memory() -> int | None:
    """Return the most bytes that torch has held on this rank's device; None on the CPU."""
    cuda: Any = torch.cuda
    return int(cuda.max_memory_allocated()) if cuda.is_initialized() else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _since(timelines: Sequence[Sequence[Event]], events: Sequence[Event]) -> list[list[Any]]:
    """Return events as name, begin and length [s], counted from the first event of all ranks."""
    first = min((begin for timeline in timelines for _, begin, _ in timeline), default=0.0)
    return [[what, begin - first, end - begin] for what, begin, end in events]


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    from coupler_plugin import __version__

    return {
        "coupler_plugin": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def write(report: Mapping[str, Any], section: ReportSection, comm: MPI.Comm | None) -> None:
    """Write what the section asks for on rank 0; a collective call."""

    def on_root() -> None:
        if rank_of(comm) != 0:
            return
        _write(section.file, lambda: json.dumps(report, indent=1) + "\n")
        if section.html:
            _write(section.html, lambda: page.page(report))
        if section.trace:
            _write(section.trace, lambda: json.dumps(trace(report)) + "\n")

    together(comm, on_root)


def _write(path: Path, text: Callable[[], str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text())
    except OSError as error:
        raise cannot_write("report", path, error) from error


def trace(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the timeline of a step in the Chrome trace format, which chrome://tracing and ui.perfetto.dev show."""
    events: list[dict[str, Any]] = []
    for rank, timeline in enumerate(report["timeline"]):
        events.append({"name": "process_name", "ph": "M", "pid": rank, "args": {"name": f"rank {rank}"}})
        for what, begin, length in timeline:
            phase = what.partition(" ")[0]
            events.append(
                {"name": what, "cat": phase, "ph": "X", "pid": rank, "tid": 0, "ts": begin * 1e6, "dur": length * 1e6}
            )
    return {"traceEvents": events, "displayTimeUnit": "ms"}
