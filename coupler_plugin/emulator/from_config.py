# SPDX-License-Identifier: Apache-2.0
"""The emulators of a coupling file: each loaded where it is to run, on the host's cells or on a grid of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coupler_plugin.config import Config
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.emulator.device import CPU, choose
from coupler_plugin.emulator.gridded import GridEmulator, grid_of
from coupler_plugin.emulator.load import load
from coupler_plugin.errors import CouplerError, Status

if TYPE_CHECKING:
    from mpi4py import MPI


def load_emulators(config: Config, comm: MPI.Comm | None) -> list[ColumnEmulator]:
    """Return the emulators of a coupling file in its order; a collective call.

    Raises
    ------
    CouplerError
        on every rank, with the line of the coupling file.
    """
    return [_load(config, index, comm) for index in range(len(config.emulators))]


def _load(config: Config, index: int, comm: MPI.Comm | None) -> ColumnEmulator:
    section = config.emulators[index]
    with config.blaming("emulators", index, "device"):
        device = choose(section.device, comm)
    with config.blaming("emulators", index, "model"):
        file = load(section.model, comm, section.sha256, device=device)
    with config.blaming("emulators", index, "outputs" if section.outputs else "model"):
        grid = section.grid or grid_of(file.manifest)
        if grid is None and file.manifest.kind == "tile":
            raise CouplerError(
                Status.CONFIG,
                f"the emulator '{file.manifest.name}' sees tiles of a grid, but neither its manifest nor the "
                "coupling file names one; write 'grid:' beside 'model:'.",
            )
        if grid is not None:
            return GridEmulator(file, section, grid, comm)
        return ColumnEmulator(file, section, config.threads if device == CPU else 1)
