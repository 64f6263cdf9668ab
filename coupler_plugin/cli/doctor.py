# SPDX-License-Identifier: Apache-2.0
"""`coupler-plugin doctor`: what the machine has, what will be used, and what is wrong with the set-up."""

from __future__ import annotations

import sys

import click
from rich.console import Console
from rich.table import Column, Table

from coupler_plugin import doctor as checks
from coupler_plugin.errors import Status


@click.command()
def doctor() -> None:
    """Look at this machine: versions, MPI, GPUs, threads, libraries; the status is 1 where something must be mended."""
    facts = checks.look()
    console = Console()
    table = Table(*(Column(name, overflow="fold") for name in ("what", "found", "use")))
    for row in checks.rows(facts):
        table.add_row(*row)
    console.print(table)
    found = list(checks.judge(facts))
    for finding in found:
        label = "[red]problem[/red]" if finding.stops else "[yellow]note[/yellow]"
        console.print(f"{label}: {finding.sentence}", highlight=False, soft_wrap=True)
    if not found:
        console.print("Nothing stands in the way.")
    sys.exit(int(Status.STARTUP) if any(finding.stops for finding in found) else 0)
