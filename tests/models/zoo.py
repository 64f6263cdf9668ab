# SPDX-License-Identifier: Apache-2.0
"""Which emulators the zoo holds, and arguments for them: what the tests of all of them go through."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Final

import torch

from coupler_plugin.emulator.load import EmulatorFile, load
from coupler_plugin.emulator.manifest import Manifest

ZOO: Final = Path(__file__).parents[2] / "torchscript_models" / "zoo"
_KINDS: Final = {path.stem: load(path).manifest.kind for path in sorted(ZOO.glob("*.pt"))}
COLUMNS: Final = [name for name, kind in _KINDS.items() if kind == "column"]
GRIDS: Final = [name for name, kind in _KINDS.items() if kind == "tile"]
NAMES: Final = [*COLUMNS, *GRIDS]
#: those that see a year of weather at one place: tests/models/climates.py makes it
WEATHER: Final = ["carbon_flux", "leaf_area_index"]


def first_state(manifest: Manifest, rows: int, field: tuple[int, ...] = ()) -> list[torch.Tensor]:
    """Return the state of a run that begins, as the argument of `forward` that it is, or none.

    Parameters
    ----------
    field : tuple of int
        Rows and columns of a tile.
    """
    channels = [torch.full((rows, entry.size, *field), entry.initial) for entry in manifest.state]
    return [torch.cat(channels, dim=1)] if channels else []


def answer(file: EmulatorFile, *arguments: torch.Tensor) -> torch.Tensor:
    """Return the outputs of an emulator at the beginning of a run; static fields not given are 0: not known."""
    n_static = sum(entry.size for entry in file.manifest.static)
    if n_static and len(arguments) == 1:
        arguments = (*arguments, torch.zeros(len(arguments[0]), n_static))
    field = tuple(arguments[0].shape[-2:]) if file.manifest.tile else ()
    with torch.inference_mode():
        found = file.forward(*arguments, *first_state(file.manifest, len(arguments[0]), field))
    return found[0] if isinstance(found, tuple) else found


def machine() -> str:
    """Return what decides on the last bits of an answer: the kind of processor and the version of torch."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.is_file() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return f"{model}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"
