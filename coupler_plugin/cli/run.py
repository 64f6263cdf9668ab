# SPDX-License-Identifier: Apache-2.0
"""`coupler-plugin run FILE`: an offline run, with fields from files instead of a host."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from coupler_plugin.coupler import Coupler
from coupler_plugin.errors import CouplerError, Status

if TYPE_CHECKING:
    from mpi4py import MPI

#: what MPI launchers tell their processes
_LAUNCHED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "SLURM_STEP_NUM_TASKS")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-n", "--ranks", default=1, show_default=True, help="Start this many MPI ranks.")
@click.option("--overwrite", is_flag=True, help="Replace a history file that exists.")
@click.option("--dry-run", is_flag=True, help="Check everything, print the plan and stop.")
def run(file: Path, ranks: int, overwrite: bool, dry_run: bool) -> None:
    """Run the coupling FILE offline, as its section 'driver:' says; also under mpirun or srun."""
    if ranks > 1:
        sys.exit(_launch(ranks))
    from coupler_plugin.driver import run as run_offline

    comm = _world()
    try:
        coupler = run_offline(file, comm, overwrite, dry_run)
    except KeyboardInterrupt:
        click.echo("interrupted; the step was finished and what the coupling file asks for is written", err=True)
        sys.exit(130)
    except CouplerError as error:
        if comm is None:
            raise
        _stop(comm, error)
    if comm is None or comm.Get_rank() == 0:
        _print(coupler, dry_run)


def _stop(comm: MPI.Comm, error: CouplerError) -> None:
    """Say what went wrong and stop all ranks; where all fail alike, rank 0 has stopped them before the others speak."""
    if comm.Get_rank() > 0:
        sleep(0.5)
    click.echo(f"error: {error}", err=True)
    sys.stderr.flush()
    comm.Abort(int(error.status))


def _launch(ranks: int) -> int:
    """Start this command again on several ranks."""
    launcher = shutil.which("mpirun") or shutil.which("mpiexec")
    if launcher is None:
        raise CouplerError(Status.MPI, "there is no mpirun on the path; install Open MPI or MPICH, or run without -n.")
    words = sys.argv[1:]
    place = next(i for i, word in enumerate(words) if word.startswith(("-n", "--ranks")))
    del words[place : place + (2 if words[place] in ("-n", "--ranks") else 1)]
    return subprocess.run([launcher, "-n", str(ranks), sys.executable, "-m", "coupler_plugin", *words]).returncode


def _world() -> MPI.Comm | None:
    """Return the communicator of all ranks where a launcher started this process."""
    if not any(name in os.environ for name in _LAUNCHED):
        return None
    from mpi4py import MPI

    return MPI.COMM_WORLD


def _print(coupler: Coupler, dry: bool) -> None:
    clock = coupler.clock
    table = Table(show_header=False)
    table.add_row("emulators", ", ".join(f"{e.name} {e.manifest.version} every {e.every}" for e in coupler.emulators))
    if coupler.cells:
        table.add_row("cells of rank 0", str(coupler.cells.n))
    if not dry:
        seconds = coupler.timers.seconds
        table.add_row("simulated until", str(clock.date(clock.now)))
        table.add_row("steps", str(clock.steps))
        table.add_row("seconds in steps", f"{seconds['step']:.2f}")
        table.add_row("seconds in emulators", f"{seconds['infer']:.2f}")
    for history in coupler.config.history:
        table.add_row("history", str(history.file))
    if coupler.config.report and not dry:
        table.add_row("report", str(coupler.config.report.file))
    Console().print(table)
