# SPDX-License-Identifier: Apache-2.0
"""`coupler-plugin report FILE`: show the report of a run as tables, or as a page."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.report import page, terminal


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(path_type=Path), help="Write one self-contained page with figures.")
def report(file: Path, html: Path | None) -> None:
    """Show what the run cost that wrote the report FILE (JSON)."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        tables = terminal.tables(content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CouplerError(Status.IO, f"'{file}' is no report of a run: {error}.") from error
    if html is None:
        console = Console()
        for table in tables:
            console.print(table)
        return
    try:
        html.write_text(page.page(content), encoding="utf-8")
    except OSError as error:
        raise CouplerError(Status.IO, f"cannot write the page '{html}': {error.strerror}.") from error
    click.echo(html)
