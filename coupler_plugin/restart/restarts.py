# SPDX-License-Identifier: Apache-2.0
"""The restarts of a run: which one it goes on from, and when new ones are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from coupler_plugin.cells import Cells
from coupler_plugin.clock import Alarm, Clock
from coupler_plugin.config import Config
from coupler_plugin.config.files import RestartSection
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.emulator.gridded import gridded
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.parallel import together
from coupler_plugin.restart.files import Memory, RestartFiles
from coupler_plugin.restart.memory import check_fit, recall, restore
from coupler_plugin.windows import Windows

if TYPE_CHECKING:
    from mpi4py import MPI


class Restarts:
    """The restarts of a run.

    Parameters
    ----------
    config : Config
    section : RestartSection
        Its section `restart:`.
    clock : Clock
    comm : mpi4py.MPI.Comm or None

    Attributes
    ----------
    alarm : Alarm or None
        Rings when one is to be written.
    read_from : str or None
        Time of the restart that the run went on from.
    """

    def __init__(self, config: Config, section: RestartSection, clock: Clock, comm: MPI.Comm | None) -> None:
        self._config = config
        self._section = section
        self._clock = clock
        self._comm = comm
        self.alarm: Alarm | None = None
        if section.every:
            with config.blaming("restart", "every"):
                self.alarm = Alarm(clock, section.every)
        self.read_from: str | None = None
        self._memory: Memory | None = None

    def check_names(self, emulators: Sequence[ColumnEmulator]) -> None:
        """Check that the memory of each emulator has a name of its own.

        Raises
        ------
        CouplerError
            CONFIG, when two emulators have the same.
        """
        keys = [emulator.key for emulator in emulators]
        for index, emulator in enumerate(emulators):
            if emulator.key in keys[:index]:
                with self._config.blaming("emulators", index, "model"):
                    raise CouplerError(
                        Status.CONFIG,
                        f"another emulator of the list is called '{emulator.name}', too, and a restart knows them by "
                        "their names alone; give one another name in its manifest, or do without 'restart:'.",
                    )

    def exists(self, cells: Cells) -> bool:
        """Return whether the run will go on from a restart of its start; a collective call."""
        if self._section.read == "never":
            return False
        return self._files(cells, ()).exists(self._clock.stamp(self._clock.start))

    def read(self, cells: Cells, emulators: Sequence[ColumnEmulator]) -> None:
        """Read what the run goes on from, if there is a restart of its start; a collective call.

        Raises
        ------
        CouplerError
            on every rank, when the restart is missing but required, damaged, or of another set-up.
        """
        files = self._written = self._files(cells, emulators)
        stamp = self._clock.stamp(self._clock.start)
        if self._section.read == "never" or not (self._section.read == "required" or files.exists(stamp)):
            return
        memory = self._memory = files.read(stamp)
        together(self._comm, lambda: check_fit(memory.facts, self._clock, emulators, self._section.accept))
        self.read_from = stamp

    def restore(self, emulators: Sequence[ColumnEmulator], windows: Windows) -> None:
        """Go on from what was read, once everything is connected; a collective call."""
        if memory := self._memory:
            together(self._comm, lambda: restore(memory, emulators, windows))
            self._memory = None

    def write(self, emulators: Sequence[ColumnEmulator], windows: Windows) -> None:
        """Write a restart of the present time; a collective call."""
        memory = recall(self._clock, emulators, windows, coupling_file_sha256=self._config.sha256)
        self._written.write(self._clock.stamp(self._clock.now), memory)

    def _files(self, cells: Cells, emulators: Sequence[ColumnEmulator]) -> RestartFiles:
        own = {emulator.key: emulator.cells for emulator in gridded(emulators)}
        section = self._section
        return RestartFiles(section.dir, section.name, section.keep, cells, own, self._comm)
