# SPDX-License-Identifier: Apache-2.0
"""An ensemble run: members step together, each rank holds all members of its cells, statistics are written as it goes.

A member that fails is found by halving its group and left out; the others go on. Members that an earlier run kept are
read, so that running again completes what is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from coupler_plugin.cells import Values
from coupler_plugin.clock import Alarm
from coupler_plugin.config import Config, load_config
from coupler_plugin.driver.interrupt import Interrupt
from coupler_plugin.driver.progress import ProgressLine
from coupler_plugin.driver.run import Run, prepare_config
from coupler_plugin.emulator.gridded import GridEmulator
from coupler_plugin.ensemble.earlier import COMPLETE, Kept, look_back
from coupler_plugin.ensemble.figures import check_drawable, draw
from coupler_plugin.ensemble.group import Group, Plan, check_fields, grain_of
from coupler_plugin.ensemble.hosts import run_hosts
from coupler_plugin.ensemble.members import Member, check_unique, list_members
from coupler_plugin.ensemble.observations import Observations
from coupler_plugin.ensemble.output import Output, Score
from coupler_plugin.ensemble.prepare import attributes_of, check_places, hashes_of, member_config
from coupler_plugin.ensemble.resume import Restarts, Standing
from coupler_plugin.ensemble.section import EnsembleFile, FiguresSection, HostsSection, load_ensemble
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.output.history import Column
from coupler_plugin.parallel import allgather, any_of, broadcast, rank_of, together

if TYPE_CHECKING:
    from mpi4py import MPI


@dataclass
class Result:
    """What became of an ensemble.

    Attributes
    ----------
    members : list of Member
    status : dict of int to str
        By number of the member: complete, or why it was left out.
    was_complete : bool
        Whether an earlier run had left nothing to do.
    kept : int
        Members that were read from the file of an earlier run.
    scores : dict of str to Score
        By observed field.
    """

    members: list[Member]
    status: dict[int, str]
    was_complete: bool = False
    kept: int = 0
    scores: dict[str, Score] = field(default_factory=dict)


def run_ensemble(path: Path, comm: MPI.Comm | None = None, overwrite: bool = False) -> Result:
    """Run an ensemble file; a collective call.

    Parameters
    ----------
    path : Path
        The ensemble file.
    comm : mpi4py.MPI.Comm, optional
    overwrite : bool
        Whether files of another ensemble may be replaced.

    Raises
    ------
    CouplerError
        with a status and a sentence, on every rank; RUN, when no member is left.
    KeyboardInterrupt
        after an interrupt, when the step is finished.
    """
    ensemble = load_ensemble(path, comm)
    if ensemble.figures:
        check_drawable()
    together(comm, lambda: check_places(ensemble) if rank_of(comm) == 0 else None)
    if ensemble.hosts:
        return _of_hosts(ensemble, ensemble.hosts, path, comm, overwrite)
    config = member_config(ensemble, load_config(ensemble.coupling, comm))
    probe = prepare_config(config, ensemble.coupling, comm, overwrite=True)
    check_fields(ensemble, probe)
    grains = [grain_of(e) for e in probe.coupler.emulators if e.name in ensemble.dropout]
    ready = probe
    if grains:  # dropout is drawn for a block: a block is on one rank
        ready = prepare_config(config, ensemble.coupling, comm, overwrite=True, grain=int(np.lcm.reduce(grains)))
    members = list_members(ensemble)
    hashes = broadcast(comm, together(comm, lambda: hashes_of(members, rank_of(comm))))
    check_unique(members, hashes, ensemble)
    keys = {member.number: member.key(hashes, ensemble) for member in members}
    attributes = attributes_of(ensemble, config, ready, members, keys)
    prior, status = look_back(ensemble, attributes, keys, comm, overwrite)
    if status is not None:
        return Result(members, status, was_complete=True, kept=len(members))
    restarts = Restarts(ensemble, attributes, list(prior), comm)
    if overwrite:
        restarts.remove()
    return _Ensemble(ensemble, config, ready, members, attributes, prior, restarts, comm).run()


def _of_hosts(
    ensemble: EnsembleFile, hosts: HostsSection, path: Path, comm: MPI.Comm | None, overwrite: bool
) -> Result:
    if comm is not None:
        with ensemble.blaming("hosts"):
            raise CouplerError(Status.CONFIG, "the hosts have 'ranks' of their own; run without -n and without mpirun.")
    status, kept, scores = run_hosts(ensemble, hosts, path.resolve().parent, overwrite)
    if ensemble.figures:
        draw(ensemble.statistics.file, ensemble.figures.dir, ensemble.figures.units)
    members = [Member(number, number, (), ()) for number in hosts.numbers]
    return Result(members, status, was_complete=kept == len(members), kept=kept, scores=scores)


class _Ensemble:
    def __init__(
        self,
        ensemble: EnsembleFile,
        config: Config,
        ready: Run,
        members: list[Member],
        attributes: Mapping[str, str],
        rows: Mapping[int, int],
        restarts: Restarts,
        comm: MPI.Comm | None,
    ) -> None:
        cells = ready.coupler.cells
        assert cells is not None
        counts = allgather(comm, cells.n)
        stride = max(allgather(comm, int(cells.ids.max(initial=0))))
        self._plan = Plan(ensemble, config, ready, comm, stride, sum(counts[: rank_of(comm)]), restarts)
        self._comm = comm
        self._ready = ready
        self._members = members
        self._attributes = attributes
        self._status = dict.fromkeys((member.number for member in members), COMPLETE)
        self._prior = together(comm, lambda: Kept(ensemble.keep, rows, cells.ids) if rows and ensemble.keep else None)
        self._groups: list[Group] = []
        self._columns: list[Column] = []
        clock, what = ready.coupler.clock, ensemble.statistics
        self._standing = restarts.find()
        if self._standing:
            clock.now = self._standing.time
            clock.steps = (clock.now - clock.start) // clock.dt
            self._status = self._standing.status
        with ensemble.blaming("statistics", "every"):
            self._alarm = Alarm(clock, what.every)
        if self._standing:
            self._alarm.last = self._standing.begin
        self._from = clock.parse(what.from_) if what.from_ else 0
        self._output: Output | None = None
        self._observations: Observations | None = None
        section = ensemble.statistics.observations
        if section is not None:
            fields, clock = ready.coupler.fields, ready.coupler.clock
            self._observations = together(comm, lambda: Observations(section, fields, cells, clock))
            self._observations.check(comm)

    def run(self) -> Result:
        clock, restarts = self._ready.coupler.clock, self._plan.restarts
        kept = set(self._prior.rows) if self._prior else set()
        self._groups = self._resumed(self._standing) if self._standing else self._fresh(kept)
        with Interrupt() as interrupt, ProgressLine(clock, self._ready.end, rank_of(self._comm) == 0) as progress:
            was_interrupted = False
            while clock.now < self._ready.end and not was_interrupted:
                self._step(clock.steps)
                clock.advance()
                if self._write(clock.now) and restarts.is_due():
                    self._save()
                progress.show()
                was_interrupted = any_of(self._comm, interrupt.came) and clock.now < self._ready.end
        if was_interrupted:
            self._save()
        elif self._output is None and self._standing and self._standing.intervals:
            self._output = self._open()  # no interval was left to write
        status = {str(number): "interrupted" if was_interrupted else text for number, text in self._status.items()}
        if self._output:
            self._output.finish(status)
        if self._prior:
            self._prior.close()
        if was_interrupted:
            raise KeyboardInterrupt
        if self._output is None:
            raise CouplerError(Status.CONFIG, "the run ended before the first interval of 'statistics:' was over.")
        together(self._comm, self._move)
        restarts.remove()
        figures = self._plan.ensemble.figures
        if figures:
            together(self._comm, lambda: self._draw(figures))
        return Result(self._members, self._status, kept=len(kept), scores=self._output.scores)

    def _fresh(self, kept: set[int]) -> list[Group]:
        missing = [member for member in self._members if member.number not in kept]
        return [Group(self._plan, part) for part in self._parts(missing)]

    def _resumed(self, standing: Standing) -> list[Group]:
        """Return the groups of an interrupted run, which go on from their restarts."""
        if rank_of(self._comm) == 0:
            print(f"going on from {self._ready.coupler.clock.date(standing.time)}", file=sys.stderr)
        numbered = {member.number: member for member in self._members}
        groups = ([numbered[number] for number in numbers] for numbers in standing.groups)
        return [Group(self._plan, members, standing.time) for members in groups]

    def _save(self) -> None:
        """Write restarts from which the same command goes on; a collective call."""
        for group in self._groups:
            group.coupler.write_restart()
        groups = [[member.number for member in group.members] for group in self._groups]
        intervals, scores = 0, {}
        if self._output:
            scores = {name: asdict(score) for name, score in self._output.scores.items()}
            intervals = self._output.intervals
        elif self._standing:
            intervals, scores = self._standing.intervals, self._standing.scores
        now = self._ready.coupler.clock.now
        self._plan.restarts.write(Standing(now, self._alarm.last, intervals, groups, self._status, scores))

    def _parts(self, members: Sequence[Member]) -> list[list[Member]]:
        """Return the members that can step together: those of the same models.

        A member is alone where dropout is drawn for it, and where an emulator has a grid of its own, on which the cells
        of several members would lie on each other.
        """
        gridded = any(isinstance(emulator, GridEmulator) for emulator in self._ready.coupler.emulators)
        if self._plan.ensemble.dropout or gridded:
            return [[member] for member in members]
        parts: dict[tuple[tuple[str, Path], ...], list[Member]] = {}
        for member in members:
            parts.setdefault(member.models, []).append(member)
        return list(parts.values())

    # --- stepping -----------------------------------------------------------------------------------------------

    def _step(self, step: int) -> None:
        try:
            together(self._comm, self._ready.fill)
        except CouplerError:
            if self._columns:  # once the forcing is mended, the ensemble goes on from here
                self._save()
            raise
        groups: list[Group] = []
        for group in self._groups:
            try:
                group.step(step)
                groups.append(group)
            except CouplerError as error:
                groups += self._without_failed(group.members, step, error)
                self._fill(step)
            self._columns = self._columns or group.coupler.writers.histories[0].columns
        self._groups = groups
        if not groups and not self._prior:
            raise CouplerError(
                Status.RUN,
                f"no member is left: {next(text for text in self._status.values() if text != COMPLETE)}",
            )

    def _without_failed(self, members: Sequence[Member], step: int, error: CouplerError) -> list[Group]:
        """Return groups of those members that do not fail, brought to a step: halves, until the failed one is alone."""
        if error.status is not Status.RUN:
            raise error
        if len(members) == 1:
            number = members[0].number
            self._status[number] = f"left out: {error}"
            if rank_of(self._comm) == 0:
                print(f"member {number} ({members[0]}) is left out: {error}", file=sys.stderr)
            return []
        found = []
        middle = len(members) // 2
        for half in (members[:middle], members[middle:]):
            group = Group(self._plan, half)
            try:
                for past in range(step + 1):
                    self._fill(past)
                    group.step(past)
                found.append(group)
            except CouplerError as again:
                found += self._without_failed(half, step, again)
        return found

    def _fill(self, step: int) -> None:
        """Read the forcing of any step."""
        clock = self._ready.coupler.clock
        now, clock.now = clock.now, clock.start + step * clock.dt
        together(self._comm, self._ready.fill)
        clock.now = now

    # --- writing ------------------------------------------------------------------------------------------------

    def _write(self, now: int) -> bool:
        """Write the interval that ends now, if one does, and return whether one did."""
        if not self._alarm.rings():
            return False
        begin = self._alarm.last
        self._alarm.reset()
        if begin < self._from:
            return True
        if self._output is None:
            self._output = self._open()
        rows: dict[int, dict[str, Values]] = {}
        for group in self._groups:
            rows |= group.newest()
        names = [column.name for column in self._columns]
        for number in self._prior.rows if self._prior else ():
            assert self._prior
            rows[number] = {name: self._prior.values(name, self._output.intervals, number) for name in names}
        there = [place for place, member in enumerate(self._members) if member.number in rows]
        stacked = {name: np.stack([rows[self._members[place].number][name] for place in there]) for name in names}
        seen = self._observations
        observed = {name: seen.mean(name, begin, now) for name in seen.names} if seen else {}
        self._output.write(begin, now, there, stacked, observed)
        return True

    def _open(self) -> Output:
        ensemble = self._plan.ensemble
        observed = self._observations.names if self._observations else []
        return Output(
            ensemble.statistics.file, ensemble.draft, self._columns, ensemble.statistics.quantiles, observed,
            self._members, ensemble.seed, self._plan.cells, self._ready.coupler.clock, self._attributes, self._comm,
            self._standing,
        )  # fmt: skip

    def _draw(self, figures: FiguresSection) -> None:
        if rank_of(self._comm) == 0:
            draw(self._plan.ensemble.statistics.file, figures.dir, figures.units)

    def _move(self) -> None:
        """Bring the file of the members to its place, where it takes that of an earlier run's."""
        path, draft = self._plan.ensemble.keep, self._plan.ensemble.draft
        if path and draft and rank_of(self._comm) == 0:
            draft.replace(path)
