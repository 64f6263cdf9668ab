# SPDX-License-Identifier: Apache-2.0
"""Members whose emulators are the same, run as one: a coupler with the cells of the run once for each member.

An emulator's answer for a cell has the same bits wherever it lies in a block, so that a member has those of a run of
its own. Members with active dropout are a group each: torch's generator is seeded for each of their calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from coupler_plugin.cells import Cells, Values
from coupler_plugin.clock import parse_interval
from coupler_plugin.config import Config
from coupler_plugin.config.constants import parse_constant
from coupler_plugin.coupler import Coupler
from coupler_plugin.driver.run import Run
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.emulator.gridded import GridEmulator
from coupler_plugin.emulator.load import load
from coupler_plugin.ensemble.members import Member
from coupler_plugin.ensemble.perturb import Noise, Shift, make_noise, make_shift
from coupler_plugin.ensemble.resume import Restarts
from coupler_plugin.ensemble.section import EnsembleFile
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.exchange import producers
from coupler_plugin.fields import Fields
from coupler_plugin.yaml_file import Keys

if TYPE_CHECKING:
    from mpi4py import MPI


@dataclass(frozen=True)
class Plan:
    """What all members share.

    Attributes
    ----------
    ready : Run
        The run of the coupling file, which reads the forcing and is never stepped.
    stride : int
        The largest id of its cells.
    first_cell : int
        Number of cells on the ranks before this one.
    restarts : Restarts
    """

    ensemble: EnsembleFile
    config: Config
    ready: Run
    comm: MPI.Comm | None
    stride: int
    first_cell: int
    restarts: Restarts

    @property
    def cells(self) -> Cells:
        """The cells of this rank, once."""
        assert self.ready.coupler.cells is not None
        return self.ready.coupler.cells


@dataclass
class Source:
    """A field that is given to members: the base that they share, and what makes them differ."""

    base: Values | float
    values: Values
    shift: Shift | None
    noise: list[Noise]
    limits: tuple[float, float] | None

    def skip(self, steps: int) -> None:
        """Be as after that many steps."""
        for noise in self.noise:
            noise.skip(steps)

    def fill(self, step: int) -> None:
        """Bring the values of a step into the members' array."""
        self.values[...] = self.base
        if self.shift is not None:
            self.shift.apply(self.values)
        for noise in self.noise:
            noise.apply(self.values, step)
        if self.limits is not None and (self.shift is not None or self.noise):
            np.clip(self.values, *self.limits, out=self.values)


class Collector:
    """Takes the newest interval of a history."""

    def __init__(self) -> None:
        self.record: Values = np.empty((0, 0))

    def write(self, begin: int, end: int, record: Values) -> None:
        """Keep an interval."""
        self.record = record

    def flush(self) -> None:
        """Do nothing: there is no file."""

    def close(self) -> None:
        """Do nothing."""


@dataclass
class Seeded:
    """A module's `forward` with a seed of its own for each step and block."""

    forward: Callable[..., Any]
    seed: int
    noise: int
    step: int = 0
    block: int = 0

    def __call__(self, *arguments: torch.Tensor) -> Any:
        """Seed torch's generator and call the module."""
        words = np.random.SeedSequence([self.seed, self.noise, self.step, self.block]).generate_state(2, np.uint32)
        torch.manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
        self.block += 1
        return self.forward(*arguments)


class _Dropping(ColumnEmulator):
    """An emulator with active dropout; what it is called for before its first step does not count as a block."""

    def seed_by(self, seeded: Seeded, first_block: int) -> _Dropping:
        """Say what its module is, and which number its first block on this rank has."""
        self._seeded, self._first_block = seeded, first_block
        return self

    def _call(self) -> None:
        self._seeded.block = self._first_block
        super()._call()


@dataclass
class Group:
    """Members that step together.

    Parameters
    ----------
    plan : Plan
    members : sequence of Member
    start : int, optional
        Time of the restart that they go on from [microseconds since 0001-01-01]; default: the beginning of the run.
    """

    plan: Plan
    members: Sequence[Member]
    start: int | None = None
    sources: list[Source] = field(default_factory=list, init=False)
    collector: Collector = field(default_factory=Collector, init=False)

    def __post_init__(self) -> None:
        plan, base = self.plan, self.plan.ready.coupler
        clock = base.clock
        start = clock.start if self.start is None else self.start
        config = _with_models(plan.config, base.emulators, dict(self.members[0].models))
        restart = plan.restarts.section([m.number for m in self.members], is_resumed=self.start is not None)
        self.coupler = Coupler(
            config.model_copy(update={"restart": restart}),
            comm=plan.comm,
            start=clock.date(start).strftime("%Y-%m-%dT%H:%M:%S"),
            dt=clock.dt / 1e6,
        )
        self._seeded: list[Seeded] = []
        for index, emulator in enumerate(self.coupler.emulators):
            if emulator.name in plan.ensemble.dropout:
                self.coupler.emulators[index] = self._with_dropout(emulator)
        cells, count = plan.cells, len(self.members)
        places = np.array([member.number - 1 for member in self.members])  # what they draw must not depend on groups
        ids = cells.ids + plan.stride * places[:, np.newaxis]
        area = None if cells.area is None else np.tile(cells.area, count)
        self.coupler.set_cells(ids.reshape(-1), np.tile(cells.lon, count), np.tile(cells.lat, count), area)
        self.coupler.writers.histories[0].sink = self.collector
        self._bind()
        for source in self.sources:
            source.skip((start - clock.start) // clock.dt)

    def step(self, step: int) -> None:
        """Take one step with the fields that the run has read; a collective call."""
        for source in self.sources:
            source.fill(step)
        for seeded in self._seeded:
            seeded.step = step
        self.coupler.step()

    def newest(self) -> dict[int, dict[str, Values]]:
        """Return the newest interval: by number of the member, fields of shape (n, levels)."""
        history = self.coupler.writers.histories[0]
        records = self.collector.record.reshape(len(self.members), self.plan.cells.n, -1)
        return {member.number: history.split(part) for member, part in zip(self.members, records, strict=True)}

    def _with_dropout(self, emulator: ColumnEmulator) -> ColumnEmulator:
        file = load(emulator.file.path, self.plan.comm, dropout=True)
        seeded = Seeded(file.forward, self.plan.ensemble.seed, self.members[0].noise)
        self._seeded.append(seeded)
        dropping = _Dropping(replace(file, forward=seeded, is_seeded=True), emulator.section)
        return dropping.seed_by(seeded, self.plan.first_cell // grain_of(emulator))

    def _bind(self) -> None:
        plan, coupler = self.plan, self.coupler
        count, n = len(self.members), plan.cells.n
        given: dict[str, tuple[Values | float, str]] = {
            name: (row, units)
            for forcing, values in plan.ready.inputs
            for (name, units), row in zip(forcing.units.items(), values, strict=True)
        }
        for name in touched(plan.ensemble, coupler.fields):
            if name not in given:
                given[name] = self._constant(name)
        for name, (base, units) in given.items():
            noise = [
                make_noise(section, units, coupler.clock.dt, plan.cells.ids, plan.ensemble.seed, self.members,
                           coupler.fields)
                for section in plan.ensemble.perturb
                if coupler.fields[section.field].name == name
            ]  # fmt: skip
            shift = make_shift(name, units, self.members, coupler.fields)
            self.sources.append(Source(base, np.zeros((count, n)), shift, noise, _limits(name, units, coupler.fields)))
            coupler.bind(name, self.sources[-1].values.reshape(-1), units)
        asked = coupler.writers.histories[0].names | {coupler.fields[n].name for e in coupler.emulators for n in e.asks}
        for emulator in coupler.emulators:
            for output in emulator.outputs if not emulator.is_shadow else ():
                if coupler.fields[output.name].name not in asked:
                    coupler.bind(output.name, np.zeros((count * n, output.size)))

    def _constant(self, name: str) -> tuple[float, str]:
        """Return number and units of a field that members change and that the forcing does not give."""
        fields, config = self.coupler.fields, self.plan.config
        texts = {fields[key].name: text for key, text in config.constants.items()}
        if name in texts:
            constant = parse_constant(fields[name], texts[name])
            return constant.value, constant.units
        if any(fields[change.field].name == name and change.how == "set" for change in self.members[0].changes):
            return 0.0, fields[name].units
        raise CouplerError(
            Status.FIELD,
            f"the ensemble changes '{name}', which neither the forcing nor 'constants:' of the coupling file gives.",
        )


def grain_of(emulator: ColumnEmulator) -> int:
    """Return the number of cells that share a call of an emulator."""
    return 1 if emulator.block == "exact" else emulator.block


def touched(ensemble: EnsembleFile, fields: Fields) -> list[str]:
    """Return the fields that differ between members, each once."""
    names = [section.field for section in ensemble.perturb]
    names += [section.field for section in ensemble.parameters.values] if ensemble.parameters else []
    return list(dict.fromkeys(fields[name].name for name in names))


def check_fields(ensemble: EnsembleFile, ready: Run) -> None:
    """Check that what differs between members reaches an emulator, and that the emulators are those of the run.

    Raises
    ------
    CouplerError
        CONFIG, with the place in the ensemble file.
    """
    fields, emulators = ready.coupler.fields, ready.coupler.emulators
    taken = {fields[name].name for e in emulators for name in (*e.asks, *(v.name for v in e.manifest.static))}
    computed = producers(fields, emulators)
    places: list[tuple[Keys, str]] = [
        (("perturb", index, "field"), section.field) for index, section in enumerate(ensemble.perturb)
    ]
    if ensemble.parameters:
        values = enumerate(ensemble.parameters.values)
        places += [(("parameters", "values", index, "field"), section.field) for index, section in values]
    for keys, name in places:
        with ensemble.blaming(*keys):
            if fields[name].name in computed:
                raise CouplerError(
                    Status.CONFIG, f"'{name}' is computed by the emulator '{computed[fields[name].name].name}'."
                )
            if fields[name].name not in taken:
                raise CouplerError(Status.CONFIG, f"no emulator of the run takes '{name}'; it takes {_list(taken)}.")
    names = [emulator.name for emulator in emulators]
    named: list[tuple[Keys, str]] = [(("models", name), name) for name in ensemble.models]
    named += [(("dropout", index), name) for index, name in enumerate(ensemble.dropout)]
    for keys, name in named:
        if name not in names:
            with ensemble.blaming(*keys):
                raise CouplerError(Status.CONFIG, f"the run has no emulator '{name}'; it has {_list(names)}.")
    for index, name in enumerate(ensemble.dropout):
        if any(isinstance(emulator, GridEmulator) and emulator.name == name for emulator in emulators):
            with ensemble.blaming("dropout", index):
                raise CouplerError(
                    Status.CONFIG, f"'{name}' runs on a grid of its own, where dropout is not drawn for members."
                )
    for index, perturb in enumerate(ensemble.perturb):
        if perturb.time and parse_interval(perturb.time).micro < ready.coupler.clock.dt:
            with ensemble.blaming("perturb", index, "time"):
                raise CouplerError(Status.CONFIG, "the correlation time is shorter than a step of the driver.")


def _list(names: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(names))


def _with_models(config: Config, emulators: Sequence[ColumnEmulator], models: Mapping[str, Path]) -> Config:
    sections = [
        emulator.section.model_copy(update={"model": models[emulator.name], "sha256": None})
        if emulator.name in models
        else emulator.section
        for emulator in emulators
    ]
    return config.model_copy(update={"emulators": sections})


def _limits(name: str, units: str, fields: Fields) -> tuple[float, float] | None:
    """Return the physical range of a field in the units of its array."""
    entry = fields[name]
    if entry.valid_range is None:
        return None
    conversion = fields.conversion(name, entry.units, units)
    low, high = (conversion.scale * limit + conversion.offset for limit in entry.valid_range)
    return low, high
