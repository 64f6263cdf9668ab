# SPDX-License-Identifier: Apache-2.0
"""Replay: any emulator over a recorded cube, and how its answers differ from those that the cube holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
import yaml
from numpy.typing import NDArray

from coupler_plugin.cells import Values
from coupler_plugin.clock import Clock
from coupler_plugin.config import Config
from coupler_plugin.coupler import Coupler
from coupler_plugin.derived import DERIVED
from coupler_plugin.emulator.load import describe
from coupler_plugin.emulator.manifest import Variable
from coupler_plugin.errors import CouplerError, Status

_DAY: Final = 86_400_000_000  # microseconds
_TIMES: Final = 32  #: records that are read at a time


@dataclass
class Difference:
    """How the answers of an emulator differ from a variable of the cube.

    Attributes
    ----------
    count : int
        Numbers that both have.
    bias, rmse, largest : float
        Mean, root of the mean square, and largest absolute value of (emulator - cube), in `units`.
    is_same : bool
        Whether every number has the same bits, and both lack the same.
    """

    name: str
    units: str
    count: int = 0
    bias: float = 0.0
    rmse: float = 0.0
    largest: float = 0.0
    is_same: bool = True

    def add(self, answer: Values, recorded: Values) -> None:
        """Take the answers of one time in; `bias` and `rmse` are sums until `finish`."""
        self.is_same &= np.array_equal(answer, recorded, equal_nan=True)
        difference = (answer - recorded)[np.isfinite(answer) & np.isfinite(recorded)]
        if difference.size:
            self.count += difference.size
            self.bias += float(difference.sum())
            self.rmse += float(difference @ difference)
            self.largest = max(self.largest, float(np.abs(difference).max()))

    def finish(self) -> None:
        """Make means of the sums."""
        self.bias = self.bias / self.count if self.count else np.nan
        self.rmse = float(np.sqrt(self.rmse / self.count)) if self.count else np.nan


def replay(path: Path, model: Path, from_: str | None = None, sha256: str | None = None) -> list[Difference]:
    """Run an emulator over a cube that `record:` wrote.

    Parameters
    ----------
    path : Path
        The cube.
    model : Path
        The emulator file.
    from_ : str, optional
        Time from which answers are compared; the emulator runs from the beginning in any case.
    sha256 : str, optional
        Hash that the emulator file must have; a compiled package needs it.

    Returns
    -------
    list of Difference
        Of each output that the cube holds, over the times at which the emulator gave an answer.

    Raises
    ------
    CouplerError
        IO for a file that is no cube; FIELD, when it lacks what the emulator takes, or all that it gives; CONFIG, when
        its intervals do not fit the emulator's step.
    """
    try:
        cube = xr.open_dataset(path, engine="zarr" if path.suffix == ".zarr" else None, decode_times=False)
        about = json.loads(cube.attrs["emulators"])
        coupling = yaml.safe_load(cube.attrs["coupling_file"]) or {}
    except (OSError, RuntimeError, ValueError, ImportError, LookupError) as error:
        raise CouplerError(Status.IO, f"'{path}' is no cube that 'record:' wrote: {error}.") from error
    with cube:
        return _Replay(path, cube, {"model": model, "sha256": sha256}, about, coupling).run(from_)


class _Replay:
    def __init__(
        self, path: Path, cube: xr.Dataset, section: dict[str, Any], about: list[Any], coupling: dict[str, Any]
    ) -> None:
        self._path = path
        self._cube = cube
        file = describe(section["model"])
        recorded = sorted(about, key=lambda one: (one["sha256"] == file.sha256, one["name"] == file.manifest.name))
        if recorded and recorded[-1]["name"] == file.manifest.name:
            section |= {
                key: recorded[-1][key] for key in ("guard", "block", "grid", "static", "seed") if key in recorded[-1]
            }
        if recorded and recorded[-1]["sha256"] == file.sha256:
            section["every"] = recorded[-1]["every"]
        by_role = {name: v for name, v in cube.variables.items() if "role" in v.attrs}
        self._constants = {str(name) for name, v in by_role.items() if v.attrs["role"] == "constant"}
        config = Config.model_validate(
            {
                "calendar": cube["time"].attrs["calendar"],
                "emulators": [section],
                "constants": {name: f"{float(cube[name])!r} {cube[name].attrs['units']}" for name in self._constants},
                "fields": coupling.get("fields", []),
                **({"regrid": coupling["regrid"]} if "regrid" in coupling else {}),
            }
        )
        bounds = np.rint(np.asarray(cube["time_bounds"].values) * _DAY).astype(np.int64)
        length = int(bounds[0, 1] - bounds[0, 0]) if len(bounds) else 0
        if not length or np.any(np.diff(bounds, axis=1) != length) or np.any(bounds[1:, 0] != bounds[:-1, 1]):
            raise CouplerError(
                Status.CONFIG,
                f"the intervals of '{path}' are not of one length without a gap, so that no emulator can step through "
                "them; record with an 'every:' in s, min, h or d.",
            )
        origin = cube["time"].attrs["units"].removeprefix("days since ").split()[0]
        clock = Clock(origin, length / 1e6, config.calendar)
        self._starts = bounds[:, 0] + clock.start
        start = clock.date(int(self._starts[0])).strftime("%Y-%m-%dT%H:%M:%S")
        self._coupler = Coupler(config, start=start, dt=length / 1e6)
        area = cube["cell_area"].values if "cell_area" in cube else None
        self._coupler.set_cells(cube["id"].values, cube["lon"].values, cube["lat"].values, area)

    def run(self, from_: str | None) -> list[Difference]:
        arrays: dict[str, tuple[str, Values]] = {}  # field -> variable of the cube, array that is bound
        coupler = self._coupler
        emulator = coupler.emulators[0]
        dynamic: dict[str, tuple[str, Values]] = {}
        for entry in emulator.manifest.inputs:
            field = coupler.fields[entry.name].name
            if (name := self._find(entry, entry.aggregate)) is not None:
                if field in dynamic:
                    raise CouplerError(
                        Status.FIELD,
                        f"the emulator '{emulator.name}' takes '{field}' with two aggregates, of which a replay can "
                        "give only one.",
                    )
                dynamic[field] = arrays[field] = (name, self._bind(field, name))
        for static in emulator.manifest.static:
            field = coupler.fields[static.name].name
            if (name := self._find(static, None)) is not None:
                self._bind(field, name)[...] = self._cube[name].values
        found = self._bind_outputs(arrays)
        first = coupler.clock.parse(from_) if from_ else 0
        for begin in range(0, len(self._starts), _TIMES):
            part = slice(begin, begin + _TIMES)
            slabs = {name: np.asarray(self._cube[name][part].values) for name, _ in dynamic.values()}
            recorded = {one.name: np.asarray(self._cube[one.name][part].values) for one, _ in found}
            for row, start in enumerate(self._starts[part]):
                for name, array in dynamic.values():
                    array[...] = slabs[name][row]
                calls = emulator.calls
                coupler.step()
                for one, array in found if emulator.calls > calls and start >= first else ():
                    one.add(array, recorded[one.name][row])
        coupler.finalize()
        for one, _ in found:
            one.finish()
        return [one for one, _ in found]

    def _find(self, entry: Variable, aggregate: str | None) -> str | None:
        """Return the variable of an input; None for one that is constant, or comes from the clock and the sun."""
        field = self._coupler.fields[entry.name].name
        suffix = "" if aggregate in (None, "mean") else f"_{aggregate}"
        for name in (f"{field}{suffix}_before", f"{field}{suffix}"):
            if name in self._cube and self._cube[name].attrs.get("role") not in ("derived", "constant", None):
                return name
        if field in self._constants or field in DERIVED:
            return None
        has = ", ".join(str(name) for name, v in self._cube.variables.items() if "role" in v.attrs)
        raise CouplerError(
            Status.FIELD,
            f"the cube '{self._path}' has no '{field}{suffix}', which the emulator takes; it has {has}. Record it, or "
            "replay another emulator.",
        )

    def _bind(self, field: str, name: str) -> NDArray[Any]:
        variable = self._cube[name]
        array = np.full([variable.sizes[dim] for dim in variable.dims if dim != "time"], np.nan)
        self._coupler.bind(field, array, variable.attrs["units"])
        return array

    def _bind_outputs(self, arrays: dict[str, tuple[str, Values]]) -> list[tuple[Difference, Values]]:
        """Bind the outputs that the cube has, in its units; one that is an input too shares its array."""
        found = []
        emulator = self._coupler.emulators[0]
        for output in emulator.outputs:
            field = self._coupler.fields[output.name].name
            if field in self._cube and "time" in self._cube[field].dims:
                units = self._cube[field].attrs["units"]
                array = arrays[field][1] if field in arrays else self._bind(field, field)
                found.append((Difference(field, units), array))
            else:
                shape = (self._coupler.cells.n, output.size) if self._coupler.cells else ()
                self._coupler.bind(field, np.full(shape, np.nan))
        if not found:
            raise CouplerError(
                Status.FIELD,
                f"the cube '{self._path}' holds none of the outputs of the emulator '{emulator.name}' "
                f"({', '.join(output.name for output in emulator.outputs)}) to compare with.",
            )
        return found
