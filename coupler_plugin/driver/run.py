# SPDX-License-Identifier: Apache-2.0
"""An offline run: cells from the forcing, one coupler, and a loop over time."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.clock import Clock, parse_interval
from coupler_plugin.config import Config, load_config
from coupler_plugin.config.offline import DriverSection
from coupler_plugin.coupler import Coupler
from coupler_plugin.driver.domain import share
from coupler_plugin.driver.forcing import Forcing
from coupler_plugin.driver.interrupt import Interrupt
from coupler_plugin.driver.progress import ProgressLine
from coupler_plugin.driver.sites import nearest, read_sites
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.exchange import producers
from coupler_plugin.fields import FieldEntry
from coupler_plugin.parallel import allgather, any_of, broadcast, rank_of, size_of, together
from coupler_plugin.restart.files import begin, newest, progress_file

if TYPE_CHECKING:
    from mpi4py import MPI

logger = logging.getLogger("coupler_plugin")

#: seconds that records of the histories may wait in memory: the driver closes the files whatever happens
_PATIENCE: Final = 5.0


@dataclass(frozen=True)
class Run:
    """An offline run that is checked and ready to step.

    Attributes
    ----------
    coupler : Coupler
    forcings : sequence of Forcing
        One for each entry of `driver: forcing:`.
    places : intp array, shape (n,)
        Where this rank's cells are in the forcing.
    inputs : list of (Forcing, array)
        What is read at each step, and into which array of shape (fields, n).
    end : int
        End of the run [microseconds since 0001-01-01].
    farthest : float or None
        Greatest distance from a site to its forcing, over all sites [m].
    """

    coupler: Coupler
    forcings: Sequence[Forcing]
    places: NDArray[np.intp]
    inputs: list[tuple[Forcing, NDArray[np.float64]]]
    end: int
    farthest: float | None

    def fill(self) -> None:
        """Read the fields of the step that comes next."""
        clock = self.coupler.clock
        middle = clock.now + clock.dt // 2
        for forcing, values in self.inputs:
            forcing.fill(values, middle)


def run(path: Path, comm: MPI.Comm | None = None, overwrite: bool = False, resume: bool = False) -> Coupler:
    """Run a coupling file that has a section `driver:`; a collective call.

    Parameters
    ----------
    path : Path
        The coupling file.
    comm : mpi4py.MPI.Comm, optional
    overwrite : bool
        Whether history files that exist may be replaced.
    resume : bool
        Whether to go on from the newest restart instead of the start that the file names.

    Returns
    -------
    Coupler
        finalized.

    Raises
    ------
    CouplerError
        with a status and a sentence, on every rank.
    KeyboardInterrupt
        after an interrupt, when the step is finished and the restart, if there is one, is written.
    """
    ready = prepare(path, comm, overwrite, resume)
    coupler = ready.coupler
    coupler.writers.patience = _PATIENCE
    clock, timers = coupler.clock, coupler.timers
    if restart := coupler.config.restart:
        stamp = clock.stamp(clock.start)
        together(comm, lambda: begin(restart.dir, restart.name, stamp) if rank_of(comm) == 0 else None)
    try:
        with Interrupt() as interrupt, ProgressLine(clock, ready.end, rank_of(comm) == 0) as progress:
            was_interrupted = False
            while clock.now < ready.end and not was_interrupted:
                since = perf_counter()
                _read(ready)
                timers.add("read", since)
                coupler.step()
                progress.show()
                was_interrupted = any_of(comm, interrupt.came)
        if was_interrupted and coupler.config.restart:
            coupler.write_restart()
    except CouplerError:  # on all ranks
        coupler.close_writers()
        raise
    coupler.finalize()
    _tell_what_was_held(ready)
    if was_interrupted:
        raise KeyboardInterrupt
    return coupler


def _read(ready: Run) -> None:
    """Read the fields of a step; where that fails, a restart lets the run go on once the forcing is mended."""
    coupler = ready.coupler
    try:
        together(coupler.comm, ready.fill)
    except CouplerError:
        if coupler.config.restart and coupler.clock.steps:
            coupler.write_restart()
        raise


def _tell_what_was_held(ready: Run) -> None:
    """Say on rank 0 how many missing values an earlier one stood for; a collective call."""
    held = Counter({name: count for forcing in ready.forcings for name, count in forcing.held.items() if count})
    total = sum(allgather(ready.coupler.comm, held), Counter())
    if total and rank_of(ready.coupler.comm) == 0:
        listed = ", ".join(f"{count:,} of '{name}'" for name, count in total.items())
        logger.warning("values were missing in the forcing and the last ones before them were taken: %s", listed)


def prepare(path: Path, comm: MPI.Comm | None = None, overwrite: bool = False, resume: bool = False) -> Run:
    """Check all of an offline run and return it, ready to step; a collective call."""
    config = load_config(path, comm)
    return prepare_config(config, path, comm, overwrite, resume)


def prepare_config(
    config: Config,
    path: Path,
    comm: MPI.Comm | None = None,
    overwrite: bool = False,
    resume: bool = False,
    grain: int = 1,
) -> Run:
    """Check all of an offline run that `path` describes, with ranks that own whole grains of cells."""
    section = together(comm, lambda: _driver_section(config, path))
    dt = parse_interval(section.dt).micro / 1e6
    start = broadcast(comm, together(comm, lambda: _start(config, section, resume) if rank_of(comm) == 0 else ""))
    coupler = Coupler(config, comm=comm, start=start, dt=dt)
    end = coupler.clock.parse(section.end)
    forcings = together(comm, lambda: _open(coupler, section, end))
    domain = forcings[0].domain
    places = together(comm, lambda: _choose_places(forcings[0], section))
    farthest = None
    if section.sites is None:
        places = share(places, rank_of(comm), size_of(comm), grain)
        area = None if domain.area is None else domain.area[places]
        coupler.set_cells(places + 1, domain.lon[places], domain.lat[places], area)
    else:
        file = section.sites
        sites = together(comm, lambda: read_sites(file))
        places, distance = nearest(sites, domain, places)
        own = share(np.arange(places.size), rank_of(comm), size_of(comm), grain)
        coupler.set_cells(own + 1, sites.lon[own], sites.lat[own])
        places, farthest = places[own], float(distance.max())
    inputs = []
    for forcing in forcings:
        forcing.settle(places)
        inputs.append((forcing, np.zeros((len(forcing.units), places.size))))
        for (name, units), row in zip(forcing.units.items(), inputs[-1][1], strict=True):
            coupler.bind(name, row, units)
    together(comm, lambda: _check_outputs(config, coupler, overwrite))
    return Run(coupler, forcings, places, inputs, end, farthest)


def _driver_section(config: Config, path: Path) -> DriverSection:
    if config.driver is None:
        raise CouplerError(
            Status.CONFIG, f"'{path}' has no section 'driver:', which names the forcing and the time of an offline run."
        )
    return config.driver


def _start(config: Config, section: DriverSection, resume: bool) -> str:
    """Return the time at which a run begins: the newest restart's, if it is to go on."""
    if not resume:
        return section.start
    if config.restart is None:
        where = "named by the coupling file: it has no 'restart:'"
        raise CouplerError(Status.CONFIG, f"there is no restart {where}, from which to go on; run without --resume.")
    found = newest(config.restart.dir, config.restart.name)
    clock = Clock(section.start, 1.0, config.calendar)
    if not found or clock.parse(found) < clock.now:
        progress = progress_file(config.restart.dir, config.restart.name)
        earlier = f", or remove '{progress}' to go on from one of an earlier run" if progress.exists() else ""
        raise CouplerError(
            Status.CONFIG,
            f"there is no restart of this run in '{config.restart.dir}', from which to go on; run without --resume"
            f"{earlier}.",
        )
    if clock.parse(found) >= clock.parse(section.end):
        raise CouplerError(Status.CONFIG, f"the newest restart is of {found}, and the run ends at {section.end}.")
    return found


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
    names += [name for column in coupler.emulators for name in column.asks]
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


def _check_outputs(config: Config, coupler: Coupler, overwrite: bool) -> None:
    """Check before the first step that all that the run is to write can be written."""
    files = [("history", history.file) for history in config.history]
    files += [("record", config.record.file)] if config.record else []
    found = [f"{what} file '{file}'" for what, file in files if file.exists()]
    if found and not overwrite and not coupler.has_restart():
        raise CouplerError(Status.IO, f"the {found[0]} exists; move it away or allow its replacement with --overwrite.")
    paths = [file for _, file in files]
    paths += [config.restart.dir / "restart"] if config.restart else []
    paths += [f for f in (config.report.file, config.report.html, config.report.trace) if f] if config.report else []
    if rank_of(coupler.comm) == 0:
        for path in paths:
            check_writable(path)


def check_writable(file: Path) -> None:
    """Check that a file can be made or replaced; folders that lack are made only when it is written."""
    folder = file.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise CouplerError(Status.IO, f"'{file}' cannot be written: '{folder}' is no folder that you may write to.")
    if file.exists() and not os.access(file, os.W_OK):
        raise CouplerError(Status.IO, f"'{file}' cannot be written: it exists, and you may not change it.")
