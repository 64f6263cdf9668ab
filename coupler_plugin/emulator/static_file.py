# SPDX-License-Identifier: Apache-2.0
"""Static fields that are known on an emulator's own grid: read from a file by one rank, and handed to all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import netCDF4
import numpy as np
from numpy.typing import NDArray

from coupler_plugin.emulator.manifest import Variable
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.fields import Conversion, Fields
from coupler_plugin.parallel import broadcast, rank_of, together

if TYPE_CHECKING:
    from mpi4py import MPI

Values = NDArray[np.float64]


def names_in(path: Path, entries: Sequence[Variable], fields: Fields, comm: MPI.Comm | None) -> set[str]:
    """Return which static fields of a manifest a file has; a collective call.

    Raises
    ------
    CouplerError
        IO on every rank, for a file that cannot be read.
    """
    look = partial(_variables, path, entries, fields)
    return set(broadcast(comm, together(comm, look if rank_of(comm) == 0 else _nothing)))


def _nothing() -> dict[str, Any]:
    return {}


def read_static(
    path: Path, entries: Sequence[Variable], fields: Fields, cells: int, ids: NDArray[np.int64], comm: MPI.Comm | None
) -> dict[str, tuple[Values, Conversion]]:
    """Return the static fields that a file has, on the cells of this rank; a collective call.

    Parameters
    ----------
    path : Path
        NetCDF; variables are called as the fields or one of their aliases, and have the grid's dimensions last.
    entries : sequence of Variable
        The static fields of the manifest.
    fields : Fields
    cells : int
        Cells of the whole grid, which have the ids 1 to `cells`.
    ids : int64 array
        Cells of this rank.
    comm : mpi4py.MPI.Comm or None

    Returns
    -------
    dict of name to (float64 array, shape (n, size), Conversion to the units of the entry)

    Raises
    ------
    CouplerError
        IO for a file that cannot be read, ARRAY for variables of other grids; on every rank.
    """
    look = partial(_read, path, entries, fields, cells)
    read: Mapping[str, Any] = together(comm, look if rank_of(comm) == 0 else _nothing)
    parts = [ids] if comm is None else comm.gather(ids)
    names = broadcast(comm, {name: conversion for name, (_, conversion) in read.items()})
    found = {}
    for name, conversion in names.items():
        shares = [read[name][0][part - 1] for part in parts] if parts is not None else None
        mine = shares[0] if comm is None and shares else comm.scatter(shares)  # type: ignore[union-attr]
        found[name] = (mine, conversion)
    return found


def _read(
    path: Path, entries: Sequence[Variable], fields: Fields, cells: int
) -> Mapping[str, tuple[Values, Conversion]]:
    names = _variables(path, entries, fields)
    with netCDF4.Dataset(path) as dataset:
        return {
            entry.name: _variable(path, dataset[names[entry.name]], entry, fields, cells)
            for entry in entries
            if entry.name in names
        }


def _variables(path: Path, entries: Sequence[Variable], fields: Fields) -> dict[str, str]:
    """Return the variable of each static field that the file has."""
    try:
        with netCDF4.Dataset(path) as dataset:
            known = {fields[name].name: name for name in dataset.variables if _is_known(fields, name)}
    except OSError as error:
        raise CouplerError(Status.IO, f"cannot read the static file '{path}': {error.strerror or error}.") from error
    return {entry.name: known[name] for entry in entries if (name := fields[entry.name].name) in known}


def _is_known(fields: Fields, name: str) -> bool:
    try:
        fields[name]
    except CouplerError:
        return False
    return True


def _variable(path: Path, variable: Any, entry: Variable, fields: Fields, cells: int) -> tuple[Values, Conversion]:
    values = np.ma.filled(np.ma.asarray(variable[...], np.float64), np.nan)
    if values.size != entry.size * cells:
        raise CouplerError(
            Status.ARRAY,
            f"'{variable.name}' in the static file '{path}' has the shape {values.shape}, which is not {entry.size} x "
            f"{cells}: the channels of '{entry.name}' and the cells of the emulator's grid.",
        )
    units = getattr(variable, "units", fields[entry.name].units)
    return values.reshape(entry.size, cells).T, fields.conversion(entry.name, units, entry.units)
