# SPDX-License-Identifier: Apache-2.0
"""`coupler-plugin validate FILE`: check a whole set-up without running it, and say what the host has to bind."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from coupler_plugin.config import Config
from coupler_plugin.coupler import Coupler
from coupler_plugin.derived import DERIVED
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.exchange import producers


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--start", default="2001-01-01", show_default=True, help="Start of the run.")
@click.option("--dt", default=3600.0, show_default=True, help="Step of the host [s].")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of coupling files, for editors, and stop.")
def validate(file: Path | None, start: str, dt: float, schema: bool) -> None:
    """Check the coupling FILE: keys, emulator files, fields, units, alarms; and call each emulator once."""
    if schema:
        click.echo(json.dumps(Config.model_json_schema(), indent=1))
        return
    if file is None:
        raise click.UsageError("name a coupling file, or ask for --schema")
    coupler = Coupler(file, start=start, dt=dt)
    for emulator in coupler.emulators:
        emulator.rehearse()
    console = Console()
    console.print(_plan(coupler))
    console.print(_bindings(coupler))
    console.print(f"{file} is valid for a start at {start} with steps of {dt:g} s.", highlight=False, soft_wrap=True)


def _plan(coupler: Coupler) -> Table:
    columns = ("emulator", "version", "every", "inputs", "outputs", "used")
    table = Table(*columns, title="runs, in this order", title_justify="left")
    for emulator in coupler.emulators:
        inputs = ", ".join(f"{entry.name} ({entry.aggregate})" for entry in emulator.manifest.inputs)
        static = ", ".join(f"{entry.name} (static)" for entry in emulator.manifest.static)
        outputs = ", ".join(entry.name for entry in emulator.outputs)
        inputs = ", ".join(filter(None, (inputs, static)))
        table.add_row(emulator.name, emulator.manifest.version, emulator.every, inputs, outputs, _used(emulator))
    return table


def _used(emulator: ColumnEmulator) -> str:
    """Return when and where the answers of an emulator are used."""
    section = emulator.section
    limits = (("from", section.from_), ("until", section.until), ("where", section.where))
    used = " ".join(f"{key} {value}" for key, value in limits if value is not None)
    return "for comparison only" if emulator.is_shadow else used or "always"


def _bindings(coupler: Coupler) -> Table:
    """Return where each field comes from or goes to."""
    computed = producers(coupler.fields, coupler.emulators)
    constants = {coupler.fields[name].name: text for name, text in coupler.config.constants.items()}
    listed = {coupler.fields[name].name for history in coupler.config.history for name in history.names}
    wanted = [e for emulator in coupler.emulators for e in (*emulator.manifest.inputs, *emulator.manifest.static)]
    watched = [name for emulator in coupler.emulators for name in emulator.asks]
    shadows = [emulator for emulator in coupler.emulators if emulator.is_shadow]
    compared = [coupler.fields[entry.name].name for emulator in shadows for entry in emulator.outputs]
    asked = [coupler.fields[name].name for name in (*(entry.name for entry in wanted), *watched)]
    names = dict.fromkeys([*asked, *computed, *compared, *sorted(listed)])
    table = Table("field", "meaning", "units", "the host", title="fields", title_justify="left")
    for name in names:
        entry = coupler.fields[name]
        if name in computed:
            what = "may bind it; it is in the history" if name in listed else "binds it, to be written in place"
        elif name in constants:
            what = f"may bind it; else {constants[name]}"
        elif name in DERIVED:
            what = "need not give it; the plugin computes it"
        elif name in compared:
            what = "binds it, to be compared"
        else:
            what = "binds it, to be read"
        table.add_row(name, entry.long_name, entry.units, what)
    return table
