# SPDX-License-Identifier: Apache-2.0
"""A small host with a guarded emulator, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from small_emulators import Echo, field, write
from torch import nn

from coupler_plugin import Coupler

#: fields without a physical range of their own
FREE = [{"name": name, "long_name": name, "units": "1"} for name in ("x", "y", "z", "a", "b", "c", "d")]


class Rig:
    """A coupler of one emulator, and the arrays of its host, in canonical units.

    Parameters
    ----------
    folder : Path
    module : torch module
    inputs, outputs : lists of manifest entries
    guard : dict
        The section of the coupling file.
    cells : int
    unbound, bound : outputs that the host does not bind, and fields that it binds beside
    manifest : further keys of the manifest
    emulator : further keys of the emulator's section
    kind : type of the host's arrays
    sections : further sections of the coupling file
    """

    def __init__(
        self,
        folder: Path,
        module: nn.Module,
        inputs: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
        guard: dict[str, Any] | None = None,
        *,
        cells: int = 4,
        unbound: tuple[str, ...] = (),
        manifest: dict[str, Any] | None = None,
        emulator: dict[str, Any] | None = None,
        kind: type = np.float64,
        bound: tuple[str, ...] = (),
        start: str = "2001-01-01",
        area: Any = None,
        **sections: Any,
    ) -> None:
        self.folder = folder
        path = write(folder / "guarded.pt", module, inputs, outputs, **(manifest or {}))
        section = {"model": path.name, "block": 16, **({} if guard is None else {"guard": guard}), **(emulator or {})}
        config = folder / "coupling.yml"
        config.write_text(yaml.safe_dump({"emulators": [section], "fields": FREE, **sections}))
        self.coupler = Coupler(config, start=start, dt=3600.0)
        self.coupler.set_cells(np.arange(1, cells + 1), 10.0 * np.arange(cells), 5.0 * np.arange(cells), area)
        self.arrays: dict[str, np.ndarray] = {}
        entries = [*inputs, *(manifest or {}).get("static", []), *outputs, *({"name": name} for name in bound)]
        for entry in entries:
            name = entry["name"]
            if name not in self.arrays and name not in unbound:
                shape = (cells, entry["size"]) if entry.get("size", 1) > 1 else (cells,)
                self.arrays[name] = np.full(shape, -7.0, kind)
                self.coupler.bind(name, self.arrays[name])

    def step(self, **values: Any) -> dict[str, np.ndarray]:
        """Take a step in which the host has these values; return copies of its arrays after it."""
        for name, value in values.items():
            self.arrays[name][...] = value
        self.coupler.step()
        return {name: array.copy() for name, array in self.arrays.items()}

    @property
    def emulator(self) -> Any:
        """The emulator of the coupler."""
        return self.coupler.emulators[0]

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """Interventions so far that were not none, by kind and field."""
        totals = self.emulator.interventions()
        return {(kind, name): count for kind, fields in totals.items() for name, count in fields.items() if count}


def echo(folder: Path, guard: dict[str, Any] | None = None, **more: Any) -> Rig:
    """Return a host whose emulator answers `y` with the number of its input `x`."""
    output = field("y", "1", **more.pop("output", {}))
    return Rig(folder, Echo(), [field("x", "1", **more.pop("input", {}))], [output], guard, **more)


def bits(array: np.ndarray) -> bytes:
    """Return the memory of an array."""
    return array.tobytes()
