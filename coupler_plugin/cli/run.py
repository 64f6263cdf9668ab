# SPDX-License-Identifier: Apache-2.0
"""`coupler-plugin run FILE`: an offline run, with fields from files instead of a host."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.table import Table

from coupler_plugin.coupler import Coupler
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.report import terminal

if TYPE_CHECKING:
    from mpi4py import MPI

#: what MPI launchers tell their processes
_LAUNCHED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "SLURM_STEP_NUM_TASKS")


#: what a shell calls the end by Ctrl-C
INTERRUPTED: Final = 130


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-n", "--ranks", default=1, show_default=True, help="Start this many MPI ranks.")
@click.option("--overwrite", is_flag=True, help="Replace history files that exist.")
@click.option("--resume", is_flag=True, help="Go on from the newest restart.")
@click.option("--dry-run", is_flag=True, help="Check everything, print the plan and stop.")
def run(file: Path, ranks: int, overwrite: bool, resume: bool, dry_run: bool) -> None:
    """Run the coupling FILE offline, as its section 'driver:' says; also under mpirun or srun.

    Ctrl-C, or the signal USR1, finishes the step, writes a restart if the file has a section 'restart:', and ends with
    the status 130.
    """
    if ranks > 1:
        sys.exit(launch(ranks))
    from coupler_plugin import driver

    comm = world()
    is_root = comm is None or comm.Get_rank() == 0
    tables: list[Table] = []
    try:
        if dry_run:
            tables = driver.plan(driver.prepare(file, comm, overwrite, resume))
        else:
            coupler = driver.run(file, comm, overwrite, resume)
            tables = [_result(coupler), *(terminal.tables(coupler.report) if coupler.report else [])]
    except KeyboardInterrupt:
        if is_root:
            click.echo("interrupted; the step was finished and what the coupling file asks for is written", err=True)
        sys.exit(INTERRUPTED)
    except CouplerError as error:
        if comm is None:
            raise
        stop(comm, error)
    if is_root:
        console = Console()
        for table in tables:
            console.print(table)


def stop(comm: MPI.Comm, error: CouplerError) -> None:
    """Say what went wrong and stop all ranks; where all fail alike, rank 0 has stopped them before the others speak."""
    if comm.Get_rank() > 0:
        sleep(0.5)
    click.echo(f"error: {error}", err=True)
    sys.stderr.flush()
    comm.Abort(int(error.status))


def launch(ranks: int) -> int:
    """Start this command again on several ranks."""
    launcher = shutil.which("mpirun") or shutil.which("mpiexec")
    if launcher is None:
        raise CouplerError(Status.MPI, "there is no mpirun on the path; install Open MPI or MPICH, or run without -n.")
    words = sys.argv[1:]
    place = next(i for i, word in enumerate(words) if word.startswith(("-n", "--ranks")))
    del words[place : place + (2 if words[place] in ("-n", "--ranks") else 1)]
    command = [launcher, "-n", str(ranks), sys.executable, "-m", "coupler_plugin", *words]
    # In a session of its own, mpirun does not see a Ctrl-C, at which it would kill the ranks; they get USR1 instead.
    process = subprocess.Popen(command, start_new_session=True)
    interrupted = False
    while True:
        try:
            code = process.wait()
            return INTERRUPTED if interrupted and code else code  # the run may have ended well just before
        except KeyboardInterrupt:
            interrupted = True
            process.send_signal(signal.SIGUSR1)


def world() -> MPI.Comm | None:
    """Return the communicator of all ranks where a launcher started this process."""
    if not any(name in os.environ for name in _LAUNCHED):
        return None
    from mpi4py import MPI

    return MPI.COMM_WORLD


def _result(coupler: Coupler) -> Table:
    """Return where the results of a run are."""
    config = coupler.config
    table = Table(show_header=False)
    table.add_row("simulated until", str(coupler.clock.date(coupler.clock.now)))
    for history in config.history:
        table.add_row("history", str(history.file))
    if config.report:
        for name in ("file", "html", "trace"):
            if path := getattr(config.report, name):
                table.add_row("report" if name == "file" else name, str(path))
    return table
