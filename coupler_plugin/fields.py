# SPDX-License-Identifier: Apache-2.0
"""The field dictionary and the conversion of units.

A quantity has one name everywhere: in the YAML, in manifests, in `bind` and in history files. Units are read by
UDUNITS (through cf-units), the library behind the CF conventions; factors are resolved once, at start.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import cf_units
import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from coupler_plugin.errors import CouplerError, Status, nearest

_WATER_DENSITY = cf_units.Unit("1000 kg m-3")


class FieldEntry(BaseModel):
    """One entry of the field dictionary; the head of `fields.yaml` says what each key means."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    name: str
    standard_name: str | None = None
    long_name: str
    units: str
    valid_range: tuple[float, float] | None = None
    positive: Literal["up", "down"] | None = None
    water: bool = False
    nature: Literal["state", "flux", "amount", "fraction", "class"] = "state"
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conversion:
    """The linear map from one unit to another: ``to = scale * value + offset``."""

    scale: float = 1.0
    offset: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether values pass unchanged."""
        return self.scale == 1.0 and self.offset == 0.0

    def apply(self, source: NDArray[np.floating], values: NDArray[np.float64]) -> None:
        """Write the converted `source` into `values`, in float64; they may be the same array."""
        if self.scale != 1.0:
            np.multiply(source, self.scale, out=values, dtype=np.float64)
            source = values
        if self.offset != 0.0:
            np.add(source, self.offset, out=values, dtype=np.float64)
        elif source is not values:
            np.copyto(values, source)


class Fields:
    """The dictionary of a run: the plugin's own entries and the user's, found by name or alias.

    Parameters
    ----------
    extra : iterable of FieldEntry
        The user's entries; one with a known name replaces it.
    """

    def __init__(self, extra: Iterable[FieldEntry] = ()) -> None:
        self._entries = {entry.name: entry for entry in (*_own_entries(), *extra)}
        self._names = {alias.lower(): entry.name for entry in self._entries.values() for alias in entry.aliases}
        self._names |= {name.lower(): name for name in self._entries}

    def __getitem__(self, name: str) -> FieldEntry:
        """Return the entry of a name or alias, in any case.

        Raises
        ------
        CouplerError
            FIELD, naming the nearest known field.
        """
        try:
            return self._entries[self._names[name.lower()]]
        except KeyError:
            raise CouplerError(
                Status.FIELD,
                f"there is no field '{name}' in the dictionary.{nearest(name, self._names)} "
                "Add it under 'fields:' of the coupling file if it is new.",
            ) from None

    def conversion(self, name: str, source: str, target: str) -> Conversion:
        """Return how values of the field `name` go from units `source` to units `target`.

        Raises
        ------
        CouplerError
            UNITS, when one cannot be read or they measure different things.
        """
        entry = self[name]
        units = [_unit(text, entry.name) for text in (source, target)]
        if entry.water:
            units = [_as_mass(unit) for unit in units]
        conversion = _linear(*units) if units[0].is_convertible(units[1]) else None
        if conversion is None:
            raise CouplerError(
                Status.UNITS,
                f"'{source}' cannot be converted to '{target}' for the field '{entry.name}', whose canonical units "
                f"are '{entry.units}'." + (" ('C' is coulomb; write 'degC'.)" if "C" in (source, target) else ""),
            )
        return conversion


@cache
def _own_entries() -> tuple[FieldEntry, ...]:
    return tuple(read_entries(Path(__file__).with_name("fields.yaml").read_text(encoding="utf-8")))


def read_entries(text: str) -> list[FieldEntry]:
    """Return the field entries written in YAML `text`."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is
    raw: list[dict[str, Any]] = yaml.load(text, Loader=loader)
    return [FieldEntry.model_validate(entry) for entry in raw]


@cache
def _unit(text: str, name: str) -> cf_units.Unit:
    try:
        return cf_units.Unit(text)
    except ValueError as error:
        raise CouplerError(
            Status.UNITS,
            f"the units '{text}' of field '{name}' are not known to UDUNITS; write them as CF does, such as "
            "'kg m-2 s-1', 'degC', 'hPa', 'g m-2 d-1' (grams of carbon are 'g').",
        ) from error


def _as_mass(unit: cf_units.Unit) -> cf_units.Unit:
    """Return a depth of water as its mass per area; other units as they are."""
    is_depth = unit.is_convertible("m") or unit.is_convertible("m s-1")
    return unit * _WATER_DENSITY if is_depth else unit


def _linear(source: cf_units.Unit, target: cf_units.Unit) -> Conversion | None:
    """Return the conversion; None between a unit and a reciprocal or a logarithm, which UDUNITS can convert, too."""
    if source == target:
        return Conversion()
    offset = float(source.convert(0.0, target))
    if offset == 0.0:
        return Conversion(float(source.convert(1.0, target)))
    # Between temperature scales the difference of two conversions has a rounding tail, which 14 digits cut off.
    far = 1.0e6
    scale = float(f"{(float(source.convert(far, target)) - offset) / far:.14g}")
    return Conversion(scale, offset) if math.isfinite(scale) and math.isfinite(offset) else None
