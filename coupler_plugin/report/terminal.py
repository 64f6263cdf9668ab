# SPDX-License-Identifier: Apache-2.0
"""A report as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Column, Table

from coupler_plugin.report.page import PHASES, emulator_rows, facts, shares


def tables(report: Mapping[str, Any]) -> list[Table]:
    """Return a report as tables."""
    numbers = Table(show_header=False)
    for name, value in facts(report):
        numbers.add_row(name, value)
    phases = Table("part", "seconds", "share", title="where the time went", title_justify="left")
    for phase, seconds, share in shares(report):
        phases.add_row(PHASES[phase], f"{seconds:.2f}", f"{share:.1%}")
    rows = emulator_rows(report)
    emulators = Table(*(Column(name, overflow="fold") for name in rows[0]), title="emulators", title_justify="left")
    for row in rows[1:]:
        emulators.add_row(*row)
    return [numbers, phases, *([emulators] if len(rows) > 1 else [])]
