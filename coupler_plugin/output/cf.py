# SPDX-License-Identifier: Apache-2.0
"""What the CF conventions want to be said of times, places and fields, the same in every file that is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from numpy.typing import NDArray

from coupler_plugin.cells import Values
from coupler_plugin.clock import Clock
from coupler_plugin.fields import FieldEntry
from coupler_plugin.output.history_files import Variable

CONVENTIONS: Final = "CF-1.11"
DAY: Final = 86_400_000_000  # microseconds
COORDINATES: Final[dict[str, dict[str, str]]] = {
    "lon": {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east"},
    "lat": {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north"},
    "cell_area": {"standard_name": "cell_area", "long_name": "area of the cell", "units": "m2"},
}
#: attributes of the ids of cells
ID: Final = {"long_name": "global id of the cell; 0: none", "units": "1"}
#: calendars of which CF asks whether leap seconds count
_WITH_LEAP_SECONDS: Final = ("standard", "gregorian", "proleptic_gregorian", "julian")


def time(clock: Clock, epoch: int, *, is_instant: bool = False) -> list[Variable]:
    """Return the time of records, and their bounds where they are intervals.

    Parameters
    ----------
    epoch : int
        Day since 0001-01-01 from which times are counted.
    """
    about = {
        "standard_name": "time", "long_name": "time",
        "units": f"days since {clock.date(epoch * DAY).strftime('%Y-%m-%d')}", "calendar": clock.calendar, "axis": "T",
    }  # fmt: skip
    if clock.calendar in _WITH_LEAP_SECONDS:
        about["units_metadata"] = "leap_seconds: none"
    if is_instant:
        return [Variable("time", "f8", ("time",), about)]
    about["bounds"] = "time_bounds"
    return [Variable("time", "f8", ("time",), about), Variable("time_bounds", "f8", ("time", "bounds"), {})]


def cells(ids: NDArray[Any], coordinates: Mapping[str, Values]) -> list[Variable]:
    """Return ids, longitudes, latitudes and, where they are known, areas of a list of cells."""
    found = [Variable(name, "f8", ("cell",), COORDINATES[name], coordinates[name]) for name in ("lon", "lat")]
    about = {**ID, **on_cells(coordinates)}
    found.append(Variable("id", "i8", ("cell",), about, ids))
    if "cell_area" in coordinates:
        found.append(Variable("cell_area", "f8", ("cell",), COORDINATES["cell_area"], coordinates["cell_area"]))
    return found


def on_cells(coordinates: Mapping[str, Values]) -> dict[str, str]:
    """Return what a variable on a list of cells says of its places; CDO takes them from the first that does: the ids.

    Parameters
    ----------
    coordinates : mapping
        With the name `cell_area`, where areas are known.
    """
    return {"coordinates": "lon lat"} | ({"cell_measures": "area: cell_area"} if "cell_area" in coordinates else {})


def quantity(entry: FieldEntry, units: str | None = None, *, is_difference: bool = False) -> dict[str, str]:
    """Return what a variable says of the field that it holds.

    Parameters
    ----------
    units : str, optional
        Default: the canonical ones.
    is_difference : bool
        Whether it holds differences of the field's values, such as standard deviations.
    """
    about = {"long_name": entry.long_name, "units": units or entry.units}
    if entry.standard_name:
        about["standard_name"] = entry.standard_name
    if (entry.standard_name or "").endswith("temperature"):
        about["units_metadata"] = f"temperature: {'difference' if is_difference else 'on_scale'}"
    if entry.positive:
        about["comment"] = f"positive {entry.positive}ward"
    return about
