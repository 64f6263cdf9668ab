# SPDX-License-Identifier: Apache-2.0
"""`coupler-plugin replay CUBE MODEL`: an emulator over recorded fields, compared with what was recorded."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table


@click.command()
@click.argument("cube", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--from", "from_", help="Time from which answers are compared, such as the end of a spin-up.")
@click.option("--sha256", help="Hash that MODEL must have; a compiled package needs it.")
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
def replay(cube: Path, model: Path, from_: str | None, sha256: str | None, as_json: bool) -> None:
    """Run the emulator MODEL over the recorded CUBE and compare its answers with those of the cube."""
    from coupler_plugin.driver.replay import replay as run_over

    differences = run_over(cube, model, from_, sha256)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in differences], indent=1))
        return
    title = f"{model} - {cube}"
    table = Table("output", "units", "numbers", "bias", "RMSE", "largest", "same bits", title=title)
    for one in differences:
        numbers = (f"{one.count:,}", f"{one.bias:.4g}", f"{one.rmse:.4g}", f"{one.largest:.4g}")
        table.add_row(one.name, one.units, *numbers, "yes" if one.is_same else "no")
    Console().print(table)
