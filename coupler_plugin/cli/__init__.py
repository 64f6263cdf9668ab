# SPDX-License-Identifier: Apache-2.0
"""The command line: one file per verb."""

from __future__ import annotations

import sys

import click

from coupler_plugin import CouplerError, __version__
from coupler_plugin.cli.compile import compile_
from coupler_plugin.cli.doctor import doctor
from coupler_plugin.cli.ensemble import ensemble
from coupler_plugin.cli.inspect import inspect
from coupler_plugin.cli.plot import plot
from coupler_plugin.cli.prefix import prefix
from coupler_plugin.cli.replay import replay
from coupler_plugin.cli.report import report
from coupler_plugin.cli.run import run
from coupler_plugin.cli.validate import validate
from coupler_plugin.cli.weights import weights


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def commands() -> None:
    """Learned emulators inside Fortran land-surface and Earth-system models."""


for command in (compile_, doctor, ensemble, inspect, plot, prefix, replay, report, run, validate, weights):
    commands.add_command(command)


def main() -> None:
    """Run the command line; an error of the plugin is one sentence and the status as exit code."""
    try:
        commands(prog_name="coupler-plugin")
    except CouplerError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(int(error.status))
