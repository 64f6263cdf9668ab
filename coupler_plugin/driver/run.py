# SPDX-License-Identifier: Apache-2.0
"""An offline run: cells from the forcing, one coupler, and a loop over time."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from coupler_plugin.clock import parse_interval
from coupler_plugin.config import Config, DriverSection, load_config
from coupler_plugin.coupler import Coupler
from coupler_plugin.driver.domain import share
from coupler_plugin.driver.forcing import Forcing
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.exchange import producers
from coupler_plugin.fields import FieldEntry
from coupler_plugin.parallel import rank_of, size_of, together

if TYPE_CHECKING:
    from mpi4py import MPI


def run(path: Path, comm: MPI.Comm | None = None, overwrite: bool = False, dry: bool = False) -> Coupler:
    """Run a coupling file that has a section `driver:`; a collective call.

    Parameters
    ----------
    path : Path
        The coupling file.
    comm : mpi4py.MPI.Comm, optional
    overwrite : bool
        Whether a history file that exists may be replaced.
    dry : bool
        Stop before the first step, after everything is checked.

    Returns
    -------
    Coupler
        finalized, unless `dry`.

    Raises
    ------
    CouplerError
        with a status and a sentence, on every rank.
    KeyboardInterrupt
        after an interrupt, when the step is finished and the restart, if there is one, is written.
    """
    config, _ = load_config(path, comm)
    section = together(comm, lambda: _driver_section(config, path))
    coupler = Coupler(path, comm=comm, start=section.start, dt=parse_interval(section.dt).micro / 1e6)
    end = coupler.clock.parse(section.end)
    forcings = together(comm, lambda: _open(coupler, section, end))
    domain = forcings[0].domain
    own = share(together(comm, lambda: _choose_places(forcings[0], section)), rank_of(comm), size_of(comm))
    coupler.set_cells(own + 1, domain.lon[own], domain.lat[own], None if domain.area is None else domain.area[own])
    inputs = _bind(coupler, forcings, own.size)
    together(comm, lambda: _check_history(config, coupler, overwrite))
    if dry:
        return coupler
    with _Interrupt() as interrupt, _Progress(coupler, end) as progress:
        while coupler.clock.now < end and not interrupt.came(comm):
            middle = coupler.clock.now + coupler.clock.dt // 2
            together(comm, lambda middle=middle: _fill(inputs, middle, own))  # type: ignore[misc]
            coupler.step()
            progress.show()
    if interrupt.came(comm) and config.restart:
        coupler.write_restart()
    coupler.finalize()
    if interrupt.came(comm):
        raise KeyboardInterrupt
    return coupler


Inputs = list[tuple[str, NDArray[np.float64], Forcing]]


def _driver_section(config: Config, path: Path) -> DriverSection:
    if config.driver is None:
        raise CouplerError(
            Status.CONFIG, f"'{path}' has no section 'driver:', which names the forcing and the time of an offline run."
        )
    return config.driver


def _open(coupler: Coupler, section: DriverSection, end: int) -> list[Forcing]:
    """Open the forcing and check that it lies on one set of cells."""
    wanted = _wanted(coupler)
    forcings = []
    for entry in section.forcing:
        forcings.append(Forcing(entry, wanted, coupler.fields, coupler.clock, end))
        wanted = [field for field in wanted if field.name not in forcings[-1].units]
    first = forcings[0].domain
    for entry, forcing in zip(section.forcing, forcings, strict=True):
        if not (np.array_equal(forcing.domain.lon, first.lon) and np.array_equal(forcing.domain.lat, first.lat)):
            raise CouplerError(
                Status.CELLS,
                f"the forcing '{entry.files[0]}' has other cells than '{section.forcing[0].files[0]}'; bring them to "
                "one grid before the run.",
            )
    return forcings


def _wanted(coupler: Coupler) -> list[FieldEntry]:
    """Return the fields that the run can use and that no emulator computes."""
    names = [e.name for column in coupler.emulators for e in (*column.manifest.inputs, *column.manifest.static)]
    names += [name for history in coupler.config.history for name in history.names]
    computed = producers(coupler.fields, coupler.emulators)
    entries = {coupler.fields[name].name: coupler.fields[name] for name in names}
    return [entry for name, entry in entries.items() if name not in computed]


def _choose_places(forcing: Forcing, section: DriverSection) -> NDArray[np.intp]:
    """Return the places of the cells: those that the mask names and at which the forcing has values."""
    chosen = forcing.has_values()
    if section.mask:
        values = forcing.variable(section.mask.variable)
        chosen &= (values >= section.mask.min) & (values <= section.mask.max)
    places = np.flatnonzero(chosen)
    if not places.size:
        raise CouplerError(Status.CELLS, "no cell of the forcing has values within 'driver: mask'.")
    return places


def _bind(coupler: Coupler, forcings: Sequence[Forcing], n: int) -> Inputs:
    inputs: Inputs = []
    for forcing in forcings:
        for name, units in forcing.units.items():
            inputs.append((name, np.zeros(n), forcing))
            coupler.bind(name, inputs[-1][1], units)
    return inputs


def _fill(inputs: Inputs, middle: int, own: NDArray[np.intp]) -> None:
    for name, array, forcing in inputs:
        array[:] = forcing.values(name, middle, own)


def _check_history(config: Config, coupler: Coupler, overwrite: bool) -> None:
    files = [("history", history.file) for history in config.history]
    files += [("record", config.record.file)] if config.record else []
    found = [f"{what} file '{file}'" for what, file in files if file.exists()]
    if found and not overwrite and not coupler.has_restart():
        raise CouplerError(Status.IO, f"the {found[0]} exists; move it away or allow its replacement with --overwrite.")


class _Interrupt:
    """Notes an interrupt, so that the step is finished before the run ends."""

    def __enter__(self) -> _Interrupt:
        self._came = False
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: object) -> None:
        self._came = True

    def came(self, comm: MPI.Comm | None) -> bool:
        """Return whether any rank was interrupted; a collective call."""
        return self._came if comm is None else any(comm.allgather(self._came))


class _Progress:
    """A line on standard error, on rank 0: share done, date, simulated years per day, time left."""

    def __init__(self, coupler: Coupler, end: int) -> None:
        self._clock = coupler.clock
        self._began = perf_counter()
        self._bar = Progress(
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[date]}  {task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=rank_of(coupler.comm) != 0,
        )
        self._task = self._bar.add_task("", total=(end - self._clock.now) / self._clock.dt, date="", rate="")

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def show(self) -> None:
        """Count a step."""
        years = (self._clock.now - self._clock.start) / (365.25 * 86_400e6)
        rate = years / (perf_counter() - self._began) * 86_400
        date = self._clock.stamp(self._clock.now)[:10]
        self._bar.update(self._task, advance=1, date=date, rate=f"{rate:,.0f} simulated years per day")
