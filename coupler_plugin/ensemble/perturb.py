# SPDX-License-Identifier: Apache-2.0
"""What makes members differ in their inputs: parameters, and noise that a member, a field, a time and a cell name.

Noise is white or an autoregressive process of first order, ``e(t) = a e(t - dt) + sqrt(1 - a^2) w(t)`` with
``a = exp(-dt / time)`` and standard normal ``w``: its variance is 1 from the first step on. It is added as ``sd e``, or
multiplied as a lognormal factor of mean 1 and standard deviation s: ``exp(c e - c^2 / 2)`` with ``c^2 = ln(1 + s^2)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.cells import Values
from coupler_plugin.clock import parse_interval
from coupler_plugin.ensemble.members import Change, Member
from coupler_plugin.ensemble.section import PerturbSection
from coupler_plugin.fields import Fields
from coupler_plugin.noise import normal


@dataclass
class Noise:
    """Noise of one field for some members.

    Parameters
    ----------
    section : PerturbSection
    scale : float
        Standard deviation of what is added, in the units of the array; 1 for a factor.
    dt : int
        Step [microseconds].
    ids : int64 array, shape (n,)
        Cells; noise that is shared has one.
    seed : int
    numbers : sequence of int
        The numbers of noise of the members.
    """

    section: PerturbSection
    scale: float
    dt: int
    ids: NDArray[np.int64]
    seed: int
    numbers: Sequence[int]
    _state: Values | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        time = parse_interval(self.section.time).micro if self.section.time else 0
        self._memory = math.exp(-self.dt / time) if time else 0.0

    def skip(self, steps: int) -> None:
        """Be as after that many steps, from 0: a few nanoseconds a number, and nothing to keep in a restart."""
        for step in range(steps if self._memory else 0):
            self._advance(step)

    def apply(self, values: Values, step: int) -> None:
        """Perturb `values`, shape (members, n), of a step; steps come one after the other, from 0."""
        state = self._advance(step)
        if self.section.add is not None:
            values += self.scale * self.section.add * state
        elif self.section.multiply is not None:
            variance = math.log1p(self.section.multiply**2)
            values *= np.exp(math.sqrt(variance) * state - variance / 2)

    def _advance(self, step: int) -> Values:
        ids = np.ones(1, np.int64) if self.section.shared else self.ids
        name = f"{self.section.field} {'add' if self.section.add else 'multiply'}"
        fresh = np.stack([normal(ids, self.seed, name, number, step) for number in self.numbers])
        if self._state is None:
            self._state = fresh
        else:
            self._state = self._memory * self._state + math.sqrt(1.0 - self._memory**2) * fresh
        return self._state


@dataclass
class Shift:
    """What the parameters of the members do to one field, in the units of its array."""

    how: str
    numbers: Values

    def apply(self, values: Values) -> None:
        """Change `values`, shape (members, n)."""
        numbers = self.numbers[:, np.newaxis]
        if self.how == "set":
            values[...] = numbers
        elif self.how == "add":
            values += numbers
        else:
            values *= numbers


def make_shift(name: str, units: str, members: Sequence[Member], fields: Fields) -> Shift | None:
    """Return what the parameters of members do to a field that is held in `units`, if anything."""
    changes = [_change(member, name, fields) for member in members]
    if changes[0] is None:
        return None
    found = [change for change in changes if change is not None]
    conversion = fields.conversion(name, found[0].units or fields[name].units, units)
    how = found[0].how
    numbers = np.array([change.number for change in found])
    if how != "multiply":
        numbers = conversion.scale * numbers + (conversion.offset if how == "set" else 0.0)
    return Shift(how, numbers)


def _change(member: Member, name: str, fields: Fields) -> Change | None:
    return next((change for change in member.changes if fields[change.field].name == name), None)


def make_noise(
    section: PerturbSection,
    units: str,
    dt: int,
    ids: NDArray[np.int64],
    seed: int,
    members: Sequence[Member],
    fields: Fields,
) -> Noise:
    """Return the noise of a field that is held in `units`."""
    name = fields[section.field].name
    scale = fields.conversion(name, section.units or fields[name].units, units).scale if section.add else 1.0
    return Noise(section, scale, dt, ids, seed, [member.noise for member in members])
