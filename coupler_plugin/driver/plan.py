# SPDX-License-Identifier: Apache-2.0
"""The plan of an offline run, for `run --dry-run`: who reads what, on which cells, what is due when, and memory."""

from __future__ import annotations

import numpy as np
from rich.table import Column, Table

from coupler_plugin.driver.run import Run
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.machine import peak_memory
from coupler_plugin.parallel import allgather


def plan(run: Run) -> list[Table]:
    """Return the plan as tables, once it is sure that the first step could be taken; a collective call.

    Memory is what the process holds by now, and what windows, states and forcing will take in addition.

    Raises
    ------
    CouplerError
        FIELD, when an emulator lacks an input or an output goes nowhere.
    """
    coupler = run.coupler
    assert coupler.cells
    cells = allgather(coupler.comm, coupler.cells.n)
    needs = allgather(coupler.comm, peak_memory() + _to_come(run))
    coupler.check_fields()
    return [_forcing(run), _calls(run), _files(run), _ranks(run, cells, needs)]


def _forcing(run: Run) -> Table:
    columns = _columns_of("field", "variable", "units", "from", "between its times")
    table = Table(*columns, title="reads", title_justify="left")
    for forcing in run.forcings:
        for name, variable in forcing.variables.items():
            table.add_row(name, str(variable), forcing.units[name], forcing.covers, forcing.between)
    return table


def _calls(run: Run) -> Table:
    columns = _columns_of("emulator", "version", "every", "first call", "reads", "gives")
    table = Table(*columns, title="calls", title_justify="left")
    clock = run.coupler.clock
    for emulator in run.coupler.emulators:
        reads = ", ".join(entry.name for entry in (*emulator.manifest.inputs, *emulator.manifest.static))
        gives = ", ".join(entry.name for entry in emulator.outputs)
        first = str(clock.date(run.coupler.first_call(emulator)))
        table.add_row(emulator.name, emulator.manifest.version, emulator.every, first, reads, gives)
    return table


def _files(run: Run) -> Table:
    config = run.coupler.config
    table = Table(*_columns_of("file", "every", "holds"), title="writes, on rank 0", title_justify="left")
    for history in config.history:
        table.add_row(str(history.file), history.every, ", ".join(history.fields))
    if config.record:
        fields = ", ".join(config.record.fields or ["all that emulators take and give"])
        table.add_row(str(config.record.file), config.record.every, fields)
    if config.restart:
        every = config.restart.every or "on an interrupt"
        table.add_row(str(config.restart.dir), every, f"restarts, the newest {config.restart.keep}")
    if config.report:
        table.add_row(str(config.report.file), "at the end", "what the run cost")
    return table


def _ranks(run: Run, cells: list[int], needs: list[int]) -> Table:
    table = Table(title="runs", title_justify="left", show_header=False)
    clock = run.coupler.clock
    steps = (run.end - clock.now) // clock.dt
    table.add_row("time", f"{clock.date(clock.now)} to {clock.date(run.end)}, {steps:,} steps, {clock.calendar}")
    table.add_row("grid", run.forcings[0].domain.describe())
    sites = "" if run.farthest is None else f", sites at most {run.farthest / 1000:.1f} km from their forcing"
    table.add_row("cells", f"{sum(cells):,}{sites}")
    table.add_row("ranks", f"{len(cells):,}")
    share = f"{max(cells):,}" if min(cells) == max(cells) else f"{min(cells):,} to {max(cells):,}"
    table.add_row("cells of a rank", f"{share}; it reads its own")
    table.add_row("memory of a rank", f"{max(needs) / 2**20:,.0f} MiB")
    return table


def _columns_of(*names: str) -> list[Column]:
    """Return columns that break long paths and names instead of cutting them off."""
    return [Column(name, overflow="fold") for name in names]


def _to_come(run: Run) -> int:
    """Return the bytes that the run will take on this rank beyond what it has now."""
    emulators = sum(_columns(emulator, run.places.size) for emulator in run.coupler.emulators)
    return emulators + sum(forcing.slab_bytes(run.places.size) for forcing in run.forcings)


def _columns(emulator: ColumnEmulator, n: int) -> int:
    """Return the bytes of an emulator's columns: windows, state and outputs in float32, and what guards keep."""
    manifest = emulator.manifest
    length = manifest.window.length if manifest.window else 1
    width = length * len(manifest.inputs) + 2 * manifest.n_state + 4 * len(manifest.outputs)
    return int(np.dtype(np.float32).itemsize) * n * width
