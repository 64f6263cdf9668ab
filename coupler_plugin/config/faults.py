# SPDX-License-Identifier: Apache-2.0
"""What no schema can see: names, units and times of the coupling file that do not fit the rest of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from coupler_plugin.clock import Clock
from coupler_plugin.config.constants import parse_constant
from coupler_plugin.config.coupling import Config
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.fields import Fields
from coupler_plugin.guard.switch import parse_comparison
from coupler_plugin.yaml_file import Keys


def faults(config: Config) -> Iterator[tuple[Keys, CouplerError]]:
    """Yield what no schema can see, names, units and times that do not fit, each with the way to its value."""
    fields = Fields(config.fields)
    checks: list[tuple[Keys, Callable[[], object]]] = []
    for index, entry in enumerate(config.fields):
        checks.append((("fields", index, "units"), partial(fields.conversion, entry.name, entry.units, entry.units)))
    for index, section in enumerate(config.emulators):
        for key, time in (("from", section.from_), ("until", section.until)):
            if time is not None:
                checks.append((("emulators", index, key), partial(Clock, time, 1.0, config.calendar)))
        if section.where is not None:
            checks.append((("emulators", index, "where"), partial(_check_comparison, fields, section.where)))
    for name in config.regrid.methods:
        keys: Keys = ("regrid", "methods", name)
        checks.append((keys, partial(fields.__getitem__, name)))
    for name, text in config.constants.items():
        checks.append((("constants", name), partial(_check_constant, fields, name, text)))
        checks.append((("constants", name), partial(_refuse_alias, fields, name, list(config.constants))))
    for place, history in enumerate(config.history):
        for index, (name, _) in enumerate(history.entries):
            checks.append((("history", place, "fields", index), partial(fields.__getitem__, name)))
        if history.from_:
            checks.append((("history", place, "from"), partial(Clock, history.from_, 1.0, config.calendar)))
        if history.file in [other.file for other in config.history[:place]]:
            checks.append((("history", place, "file"), partial(_refuse_twice, history.file)))
    if config.record:
        for index, name in enumerate(config.record.fields or ()):
            checks.append((("record", "fields", index), partial(fields.__getitem__, name)))
        if config.record.from_:
            checks.append((("record", "from"), partial(Clock, config.record.from_, 1.0, config.calendar)))
    if config.driver:
        checks.append((("driver", "start"), partial(Clock, config.driver.start, 1.0, config.calendar)))
        checks.append((("driver", "end"), partial(Clock, config.driver.end, 1.0, config.calendar)))
    for keys, check in checks:
        try:
            check()
        except CouplerError as error:
            yield keys, error


def _refuse_twice(file: Path) -> None:
    raise CouplerError(Status.CONFIG, f"two histories are written to '{file}'; give each a file of its own.")


def _refuse_alias(fields: Fields, name: str, names: list[str]) -> None:
    """Refuse a constant of a field that an earlier one gives by another name."""
    for other in names[: names.index(name)]:
        if fields[other].name == fields[name].name:
            raise CouplerError(
                Status.CONFIG,
                f"'{other}' and '{name}' are two names of the field '{fields[name].name}'; give one constant for it.",
            )


def _check_comparison(fields: Fields, text: str) -> None:
    comparison = parse_comparison(text)
    entry = fields[comparison.field]
    fields.conversion(entry.name, comparison.units or entry.units, entry.units)


def _check_constant(fields: Fields, name: str, text: str) -> None:
    entry = fields[name]
    fields.conversion(name, parse_constant(entry, text).units, entry.units)
