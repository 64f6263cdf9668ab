# SPDX-License-Identifier: Apache-2.0
"""The emulators of a coupling file: each loaded where it is to run, on the host's cells or on a grid of its own."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from coupler_plugin.clock import parse_interval
from coupler_plugin.config import Config
from coupler_plugin.config.emulators import EmulatorSection
from coupler_plugin.emulator.beside import LaggedEmulator
from coupler_plugin.emulator.column import ColumnEmulator
from coupler_plugin.emulator.device import CPU, choose, open_device
from coupler_plugin.emulator.file import EmulatorFile, last_line
from coupler_plugin.emulator.gather import Team
from coupler_plugin.emulator.gridded import GridEmulator, grid_of
from coupler_plugin.emulator.load import load
from coupler_plugin.emulator.rounding import rounding, sample_of
from coupler_plugin.emulator.trial import checked
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.parallel import rank_of, together

if TYPE_CHECKING:
    from mpi4py import MPI

logger = logging.getLogger("coupler_plugin")


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
        device, team = _place(section, comm, parse_interval(config.timeout).micro / 1e6)
    with config.blaming("emulators", index, "model"):
        file = load(section.model, comm, section.sha256, device=device, precision=section.precision)
        if team is not None and file.draws:
            raise CouplerError(
                Status.CONFIG,
                f"the emulator '{file.manifest.name}' draws random numbers, which belong to the rank of a cell; write "
                "'share: direct'.",
            )
    if section.precision != "float32" and file.block is None:  # a package tells by itself how it differs
        with config.blaming("emulators", index, "precision"):
            together(comm, partial(_tell_rounding, section, file, device) if rank_of(comm) == 0 else _nothing)
    with config.blaming("emulators", index, "outputs" if section.outputs else "model"):
        grid = section.grid or grid_of(file.manifest)
        if grid is None and file.manifest.kind == "tile":
            raise CouplerError(
                Status.CONFIG,
                f"the emulator '{file.manifest.name}' sees tiles of a grid, but neither its manifest nor the "
                "coupling file names one; write 'grid:' beside 'model:'.",
            )
        if section.lag and (grid is not None or team is not None):
            how = "on a grid of its own" if grid is not None else "with 'share: gather'"
            raise CouplerError(
                Status.CONFIG,
                f"the emulator '{file.manifest.name}' cannot lag: {how} it exchanges with other ranks in the middle of "
                "a call, which the thread beside the host must not do.",
            )
        if grid is not None:
            return GridEmulator(file, section, grid, comm, team)
        kind = LaggedEmulator if section.lag else ColumnEmulator
        return kind(file, section, config.threads if device == CPU else 1, team)


def _place(section: EmulatorSection, comm: MPI.Comm | None, patience: float) -> tuple[str, Team | None]:
    """Return the device that this rank calls an emulator on, and the team that it shares it with."""
    device, team = choose(section.device, comm), None
    if section.share == "gather" and comm is not None:
        team = Team(comm, device, patience)
        if not team.is_leader:  # it opens no GPU
            return CPU, team
    open_device(device, rank_of(comm))
    return device, team


def _tell_rounding(section: EmulatorSection, file: EmulatorFile, device: str) -> None:
    name, precision, exact = file.manifest.name, section.precision, load(section.model, device=device)
    sample = sample_of(file.manifest)
    checked(exact.forward, sample, file.manifest, file.path)
    try:
        share = 100.0 * rounding(exact, file, sample)
    except Exception as error:  # torch.jit raises many kinds
        raise CouplerError(
            Status.MODEL,
            f"the emulator '{name}' runs in float32, but not in {precision} on this device ({last_line(error)}); leave "
            "'precision:' out.",
        ) from error
    logger.info("%s: '%s' differs by up to %.2g %% of the spread of an output from float32", precision, name, share)


def _nothing() -> None:
    pass
