# SPDX-License-Identifier: Apache-2.0
"""`coupler-plugin ensemble FILE`: the members of an ensemble, and statistics over them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from coupler_plugin.cli.run import INTERRUPTED, launch, stop, world
from coupler_plugin.errors import CouplerError

if TYPE_CHECKING:
    from coupler_plugin.ensemble.run import Result


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-n", "--ranks", default=1, show_default=True, help="Start this many MPI ranks.")
@click.option("--overwrite", is_flag=True, help="Replace files of another ensemble.")
def ensemble(file: Path, ranks: int, overwrite: bool) -> None:
    """Run the members of the ensemble FILE and write statistics; also under mpirun or srun.

    Ctrl-C, or the signal USR1, finishes the step, writes restarts, and ends with the status 130. The same command goes
    on from there, as after a kill from the newest restarts, of the last ten minutes.
    """
    if ranks > 1:
        sys.exit(launch(ranks))
    from coupler_plugin.ensemble import run_ensemble

    comm = world()
    try:
        result = run_ensemble(file, comm, overwrite)
    except KeyboardInterrupt:
        if comm is None or comm.Get_rank() == 0:
            click.echo("interrupted; the step was finished, and the same command goes on from there", err=True)
        sys.exit(INTERRUPTED)
    except CouplerError as error:
        if comm is None:
            raise
        stop(comm, error)
    if comm is None or comm.Get_rank() == 0:
        _print(result)


def _print(result: Result) -> None:
    if result.was_complete:
        click.echo(f"all {len(result.members)} members are complete already; there is nothing to do")
        return
    left_out = {number: text for number, text in result.status.items() if text != "complete"}
    table = Table(show_header=False)
    table.add_row("members", f"{len(result.members) - len(left_out)} of {len(result.members)}")
    if result.kept:
        table.add_row("kept by an earlier run", str(result.kept))
    for number, text in left_out.items():
        table.add_row(f"member {number}", text)
    for name, score in result.scores.items():
        table.add_row(
            name,
            f"CRPS {score.mean('crps'):.4g}, absolute error of the mean {score.mean('error'):.4g}, "
            f"spread {score.mean('spread'):.4g}",
        )
    Console().print(table)
