# SPDX-License-Identifier: Apache-2.0
"""Resolves what the guard of an emulator compares with, from field dictionary, host and coupling file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import cf_units
import numpy as np

from coupler_plugin.cells import Cells
from coupler_plugin.clock import Clock
from coupler_plugin.emulator.manifest import Budget, Input, Variable
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.fields import Fields
from coupler_plugin.guard.budget import Closing
from coupler_plugin.guard.guard import Surroundings
from coupler_plugin.guard.inputs import Physical
from coupler_plugin.guard.reading import Reading
from coupler_plugin.guard.shadow import Comparing
from coupler_plugin.guard.switch import Switch, parse_comparison

if TYPE_CHECKING:
    from coupler_plugin.emulator.column import ColumnEmulator
    from coupler_plugin.exchange import Exchange
    from coupler_plugin.windows import Window

_LONGEST_MONTH = 31 * 86_400_000_000  # microseconds
_NEVER = 2**63


@dataclass(frozen=True)
class Surveyor:
    """Looks up what guards need; made anew when an array was bound anew."""

    fields: Fields
    clock: Clock
    cells: Cells
    exchange: Exchange
    windows: dict[str, Window]

    def surround(self, emulator: ColumnEmulator) -> Surroundings:
        """Return what the guard of an emulator compares with.

        Raises
        ------
        CouplerError
            FIELD, when a field is missing; UNITS, when a budget adds what cannot be added.
        """
        manifest = emulator.manifest
        used = {output.name for output in emulator.outputs}
        own = {}
        for output in emulator.outputs:
            binding = self.exchange.binding(output.name)
            if binding is not None:
                canonical = self.fields[output.name].units
                own[output.name] = self.fields.conversion(output.name, binding.units, canonical)
        return Surroundings(
            [self._physical(emulator, entry) for entry in manifest.inputs],
            [self._physical(emulator, entry) for entry in manifest.static],
            self._switch(emulator),
            [self._closing(emulator, budget) for budget in manifest.budgets] if emulator.plan.budget != "off" else [],
            own,
            [entry.name for entry in manifest.outputs if emulator.is_shadow or entry.name not in used],
        )

    def compare(self, emulator: ColumnEmulator) -> Sequence[Comparing]:
        """Return what a shadow compares: its outputs that the host bound.

        Raises
        ------
        CouplerError
            FIELD, when there is none.
        """
        comparing = []
        outputs = {output.name for output in emulator.outputs}
        for place, output in enumerate(emulator.plan.outputs if emulator.is_shadow else ()):
            entry = self.fields[output.name]
            binding = self.exchange.binding(output.name)
            if output.name in outputs and binding is not None:
                units = next(o.units for o in emulator.outputs if o.name == output.name)
                source = emulator.answers_of(place)
                reader, of_host = self.exchange.own_mean(output.name, binding, self.windows[emulator.every])
                host = Reading(reader, of_host, np.empty(source.shape))
                conversion = self.fields.conversion(entry.name, units, entry.units)
                sums = emulator.differences.setdefault(entry.name, np.zeros((self.cells.n, 4)))
                comparing.append(Comparing(entry.name, entry.units, place, source, conversion, host, sums))
        if emulator.is_shadow and not comparing:
            raise CouplerError(
                Status.FIELD,
                f"the emulator '{emulator.name}' runs as a shadow, but the host has bound none of its outputs "
                f"({', '.join(sorted(outputs))}) to compare with; bind the arrays of the host's own scheme.",
            )
        return comparing

    def _physical(self, emulator: ColumnEmulator, wanted: Variable) -> Physical:
        """Return what an input can be: by the dictionary, or by the manifest where that says nothing."""
        entry = self.fields[wanted.name]
        conversion = self.fields.conversion(entry.name, entry.units, wanted.units)
        give = partial(
            Physical, entry.name, wanted.size, self.exchange.giver(entry.name, emulator), entry.units, conversion
        )
        if entry.valid_range is None:
            if wanted.valid_range is None:
                return give()
            low, high = ((limit - conversion.offset) / conversion.scale for limit in wanted.valid_range)
            return give(low, high)
        low, high = entry.valid_range
        if isinstance(wanted, Input) and wanted.aggregate == "sum":
            interval = self.windows[emulator.every].alarm.interval
            samples = (interval.micro or interval.months * _LONGEST_MONTH) / self.clock.dt
            low, high = min(low, low * samples), max(high, high * samples)
        return give(low, high)

    def _switch(self, emulator: ColumnEmulator) -> Switch | None:
        section = emulator.section
        if not section.can_be_off:
            return None
        first = self.clock.parse(section.from_) if section.from_ is not None else -_NEVER
        last = self.clock.parse(section.until) if section.until is not None else _NEVER
        if section.where is None:
            return Switch(first, last)
        comparison = parse_comparison(section.where)
        units = comparison.units or self.fields[comparison.field].units
        return Switch(first, last, comparison, self._reading(emulator, comparison.field, units, "mean"))

    def _closing(self, emulator: ColumnEmulator, budget: Budget) -> Closing:
        places = [place for place, output in enumerate(emulator.plan.outputs) if output.name in budget.terms]
        channels: list[int] = []
        factors: list[float] = []
        for place in places:
            output = emulator.plan.outputs[place]
            spread = range(output.channels.start, output.channels.stop)
            channels += spread
            factors += [budget.terms[output.name] * self._scale(emulator, budget, output.name)] * len(spread)
        supply = []
        if isinstance(budget.at_most, dict):
            for name, factor in budget.at_most.items():
                supply.append((factor, self._reading(emulator, name, self.fields[name].units, "last")))
        return Closing(budget, tuple(places), np.array(channels), np.array(factors), supply)

    def _scale(self, emulator: ColumnEmulator, budget: Budget, name: str) -> float:
        """Return the factor that brings a term to the units in which the budget is summed."""
        output = next(entry for entry in emulator.manifest.outputs if entry.name == name)
        if not isinstance(budget.at_most, dict):
            first = next(iter(budget.terms))
            units = next(entry.units for entry in emulator.manifest.outputs if entry.name == first)
            conversion = self.fields.conversion(name, output.units, units)
        else:
            canonical = cf_units.Unit(self.fields[name].units)
            conversion = self.fields.conversion(name, output.units, self.fields[name].units)
            summed = canonical * cf_units.Unit("s") if budget.per_step else canonical
            for field in budget.at_most:
                if summed != cf_units.Unit(self.fields[field].units):
                    raise CouplerError(
                        Status.UNITS,
                        f"a budget of the emulator '{emulator.name}' compares '{name}' ({canonical}"
                        f"{', over a time step' if budget.per_step else ''}) with '{field}' "
                        f"({self.fields[field].units}), which measures something else.",
                    )
        if conversion.offset:
            raise CouplerError(
                Status.UNITS, f"a budget of the emulator '{emulator.name}' sums '{name}', whose units have no zero."
            )
        return conversion.scale

    def _reading(self, emulator: ColumnEmulator, name: str, units: str, aggregate: str) -> Reading:
        wanted = Variable(name=name, units=units, size=1)
        reader, conversion = self.exchange.reader(emulator, wanted, aggregate, self.windows)
        return Reading(reader, conversion, np.empty((emulator.cells.n, 1)))
