# SPDX-License-Identifier: Apache-2.0
"""The two kinds of history file, NetCDF and Zarr, behind one small interface: create or reopen, append records, close.

Only rank 0 uses it. What is in the file, and what it means, is told by `history.py`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import netCDF4
import numpy as np
from numpy.typing import NDArray

#: numbers of a variable that are compressed together
_CHUNK: Final = 2**12


@dataclass(frozen=True)
class Variable:
    """A variable of a file; without `values` it grows with every record."""

    name: str
    kind: str
    dims: tuple[str, ...]
    attributes: Mapping[str, Any]
    values: NDArray[Any] | None = None
    fill: Any = None


@dataclass(frozen=True)
class Contents:
    """What a file is created with."""

    sizes: Mapping[str, int]
    variables: Sequence[Variable]
    attributes: Mapping[str, str] = field(default_factory=dict)


class HistoryFile(Protocol):
    """A file that is open for writing."""

    def names(self) -> set[str]:
        """Return the names of the variables."""

    def read(self, name: str) -> NDArray[Any]:
        """Return the values of a variable."""

    def attributes(self, name: str | None = None) -> dict[str, Any]:
        """Return the attributes of a variable, or of the file."""

    def note(self, name: str, text: str) -> None:
        """Change an attribute of the file."""

    def append(self, first: int, values: Mapping[str, NDArray[Any]]) -> None:
        """Write records from number `first` on, arrays of shape (records, ...), and bring them to the disk."""

    def close(self) -> None:
        """Finish the file."""


def create(path: Path, contents: Contents) -> HistoryFile:
    """Create a file, replacing one that is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return (_Zarr if path.suffix == ".zarr" else _Netcdf).create(path, contents)


def reopen(path: Path) -> HistoryFile:
    """Open a file that is there, to go on with it."""
    return (_Zarr if path.suffix == ".zarr" else _Netcdf).reopen(path)


def _chunks(variable: Variable, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Return chunks that hold as many records as are worth compressing together."""
    shape = [max(1, sizes[name]) for name in variable.dims[1:]]
    return (max(1, min(_CHUNK // int(np.prod(shape, dtype=int)), 1024)), *shape)


class _Netcdf:
    def __init__(self, file: netCDF4.Dataset) -> None:
        self._file = file

    @classmethod
    def create(cls, path: Path, contents: Contents) -> _Netcdf:
        path.resolve().unlink(missing_ok=True)  # HDF5 may still hold one that this process could not read
        file = netCDF4.Dataset(str(path), "w")
        try:
            cls._define(file, contents)
            file.sync()
        except (OSError, RuntimeError):  # such as a full disk
            with suppress(OSError, RuntimeError):
                file.close()
            path.unlink(missing_ok=True)
            raise
        return cls(file)

    @staticmethod
    def _define(file: netCDF4.Dataset, contents: Contents) -> None:
        file.setncatts(contents.attributes)
        for name, size in {"time": None, **contents.sizes}.items():
            file.createDimension(name, size)
        for one in contents.variables:
            is_record = one.dims[:1] == ("time",)
            is_packed = is_record and len(one.dims) > 1 and one.name != "time_bounds"
            packing: Any = {"zlib": True, "complevel": 1} if is_packed else {}
            chunks = _chunks(one, contents.sizes) if is_record else None
            kind: Any = one.kind
            made = file.createVariable(one.name, kind, one.dims, fill_value=one.fill, chunksizes=chunks, **packing)
            made.setncatts(one.attributes)
            if one.values is not None:
                made[...] = one.values

    @classmethod
    def reopen(cls, path: Path) -> _Netcdf:
        return cls(netCDF4.Dataset(str(path), "a"))

    def names(self) -> set[str]:
        return set(self._file.variables)

    def read(self, name: str) -> NDArray[Any]:
        return np.asarray(self._file[name][...])

    def attributes(self, name: str | None = None) -> dict[str, Any]:
        return dict((self._file if name is None else self._file[name]).__dict__)

    def note(self, name: str, text: str) -> None:
        self._file.setncattr(name, text)

    def append(self, first: int, values: Mapping[str, NDArray[Any]]) -> None:
        for name, records in values.items():
            self._file[name][first : first + len(records)] = records
        self._file.sync()

    def close(self) -> None:
        self._file.close()


class _Zarr:
    """Version 2 of the format, which netCDF-C and GDAL read too."""

    def __init__(self, group: Any) -> None:
        self._group = group
        self._arrays = dict(group.arrays())  # each look at the group reads files

    @classmethod
    def create(cls, path: Path, contents: Contents) -> _Zarr:
        import zarr

        if path.is_dir():
            shutil.rmtree(path)
        group = zarr.open_group(str(path), mode="w", zarr_format=2)
        group.attrs.update(contents.attributes)
        for one in contents.variables:
            shape = tuple(contents.sizes.get(name, 0) for name in one.dims)
            is_record = one.dims[:1] == ("time",)
            chunks = _chunks(one, contents.sizes) if is_record else tuple(max(1, size) for size in shape)
            # A coordinate of 0 is a value, not a gap: only variables with a fill value of their own have one.
            made = group.create_array(one.name, shape=shape, chunks=chunks, dtype=one.kind, fill_value=one.fill)
            made.attrs.update({"_ARRAY_DIMENSIONS": list(one.dims), **_plain(one.attributes)})
            if one.values is not None:
                made[...] = one.values
        zarr.consolidate_metadata(str(path), zarr_format=2)
        return cls(group)

    @classmethod
    def reopen(cls, path: Path) -> _Zarr:
        import zarr

        return cls(zarr.open_group(str(path), mode="r+", zarr_format=2, use_consolidated=False))

    def names(self) -> set[str]:
        return set(self._group.array_keys())

    def read(self, name: str) -> NDArray[Any]:
        return np.asarray(self._group[name][...])

    def attributes(self, name: str | None = None) -> dict[str, Any]:
        return dict((self._group if name is None else self._group[name]).attrs)

    def note(self, name: str, text: str) -> None:
        import zarr

        self._group.attrs[name] = text
        zarr.consolidate_metadata(self._group.store, zarr_format=2)  # which readers take for what there is

    def append(self, first: int, values: Mapping[str, NDArray[Any]]) -> None:
        import zarr

        for name, records in values.items():
            array = self._arrays[name]
            if array.shape[0] > first:  # an earlier part of the run went on for longer
                array.resize((first, *array.shape[1:]))
            array.append(records)
        zarr.consolidate_metadata(self._group.store, zarr_format=2)

    def close(self) -> None:
        pass  # all is on the disk


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as JSON has them."""
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in attributes.items()}
