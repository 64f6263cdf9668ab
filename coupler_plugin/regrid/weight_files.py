# SPDX-License-Identifier: Apache-2.0
"""Weight files: written in the layout of ESMF and xESMF, read in that one and in those of SCRIP, CDO and YAC.

A file is read in slabs of links, so that nobody ever needs to hold all of it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import netCDF4
import numpy as np
from numpy.typing import NDArray

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.regrid.geometry import Indices, Values, unit_vectors
from coupler_plugin.regrid.links import Links

if TYPE_CHECKING:
    from coupler_plugin.regrid.grids import Grid
    from coupler_plugin.regrid.weights import Weights

_ESMF = ("row", "col", "S")
_SCRIP = ("dst_address", "src_address", "remap_matrix")
_UNITS = {"xc": "degrees", "yc": "degrees", "ar": "steradian", "fr": "1"}
_SLAB = 4_000_000  # links that are read at once
_NEAR = 1e-4  # chord between a cell centre and the same one in a weight file


class WeightFile:
    """An open weight file.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    n : int
        Number of links.
    attributes : dict of str to str

    Raises
    ------
    CouplerError
        IO, when the file cannot be read, is damaged, or is of no known layout.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._dataset = netCDF4.Dataset(path)
        except (OSError, RuntimeError, ValueError) as error:
            raise self._error(f"cannot be read: {error}") from error
        self._dataset.set_auto_mask(False)  # NaN is a weight with a meaning, and the fill value of some files
        self._names = next((names for names in (_ESMF, _SCRIP) if names[0] in self._dataset.variables), _ESMF)
        missing = [name for name in self._names if name not in self._dataset.variables]
        if missing:
            raise self._error(f"has no variable '{missing[0]}'; known layouts: ESMF, xESMF, SCRIP, CDO, YAC.")
        self._weights = self._dataset.variables[self._names[2]]
        if self._weights.ndim == 2 and self._weights.shape[1] != 1:
            raise self._error("holds gradients of second order (num_wgts > 1), which cannot be applied here.")
        self.n = int(self._weights.shape[0])
        try:
            self.attributes = {name: str(self._dataset.getncattr(name)) for name in self._dataset.ncattrs()}
        except (OSError, RuntimeError, ValueError) as error:
            raise self._error(f"is damaged: {error}") from error

    def __enter__(self) -> WeightFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._dataset.close()

    def slabs(self, size: int = _SLAB) -> Iterator[Links]:
        """Yield the links in the order of the file, at most `size` at once, with places counted from 0.

        Destination cells that xESMF marks as unmapped, by a weight of NaN, have no links here.

        Raises
        ------
        CouplerError
            IO, when the file is damaged; after the last slab, when its check sum does not fit.
        """
        states = {name: hashlib.sha256() for name in self._names}
        scale = self._scale()
        for start in range(0, self.n, size):
            part = slice(start, start + size)
            rows, cols, values = (self._read(name, part) for name in self._names)
            for name, column in zip(self._names, (rows, cols, values), strict=True):
                states[name].update(np.ascontiguousarray(column).tobytes())
            values = np.asarray(values, np.float64).reshape(rows.size)
            links = Links(rows.astype(np.int64) - 1, cols.astype(np.int64) - 1, values)
            if np.any(links.rows < 0) or np.any(links.cols < 0):
                raise self._error("has addresses below 1.")
            links = links.where(np.isfinite(values))
            yield links if scale is None else Links(links.rows, links.cols, links.values / scale[links.rows])
        self._check_sum(states)

    def links(self) -> Links:
        """Return all links at once."""
        parts = list(self.slabs())
        return Links.concatenate(parts) if parts else Links.none()

    def ids(self, side: str) -> Indices | None:
        """Return the ids of the cells of side "a" (source) or "b" (destination); None where they are 1 to n."""
        name = f"id_{side}"
        return self._read(name).astype(np.int64) if name in self._dataset.variables else None

    def array(self, name: str) -> Values | None:
        """Return a variable such as `frac_b` or `area_a`; None if the file has none."""
        return self._read(name).ravel() if name in self._dataset.variables else None

    def shape(self, side: str) -> tuple[int, ...] | None:
        """Return the shape of the grid of side "a" or "b" as the file tells it, slowest dimension first."""
        dims = self.array({"a": "src_grid_dims", "b": "dst_grid_dims"}[side])
        if dims is not None:
            return tuple(int(size) for size in dims[::-1])
        for dimension in (f"n_{side}", {"a": "src_grid_size", "b": "dst_grid_size"}[side]):
            if dimension in self._dataset.dimensions:
                return (int(self._dataset.dimensions[dimension].size),)
        return None

    def check_grids(self, src: Grid, dst: Grid) -> None:
        """Check, by all that the file tells, that it was made for these grids.

        Raises
        ------
        CouplerError
            CELLS, naming the grid and what differs.
        """
        centres = {"a": (("xc_a", "yc_a"), ("src_grid_center_lon", "src_grid_center_lat"))}
        centres["b"] = (("xc_b", "yc_b"), ("dst_grid_center_lon", "dst_grid_center_lat"))
        for side, grid in (("a", src), ("b", dst)):
            shape = self.shape(side)
            if shape is not None and int(np.prod(shape)) != grid.n:
                raise self._foreign(grid, f"it has {int(np.prod(shape))} cells there, the grid {grid.n}")
            for names in centres[side]:
                lon, lat = (self._angle(name) for name in names)
                if lon is None or lat is None:
                    continue
                off = np.linalg.norm(unit_vectors(lon, lat) - unit_vectors(grid.lon, grid.lat), axis=-1)
                far = np.flatnonzero(off > _NEAR)
                if far.size:
                    raise self._foreign(
                        grid,
                        f"its cell {far[0] + 1} lies at {lon[far[0]]:.4f} E {lat[far[0]]:.4f} N, the grid's at "
                        f"{grid.lon[far[0]]:.4f} E {grid.lat[far[0]]:.4f} N ({far.size} cells differ)",
                    )

    def check_ids(self, side: str, grid: Grid) -> None:
        """Check that cells are called as in a grid: by the file's ids where it has any, else counted from 1.

        Raises
        ------
        CouplerError
            CELLS.
        """
        ids = self.ids(side)
        if not np.array_equal(np.arange(1, grid.n + 1) if ids is None else ids, grid.ids):
            what = "counts its cells from 1" if ids is None else "has other ids for its cells"
            raise self._foreign(grid, f"it {what}, the grid's ids begin with {grid.ids[0]} and end with {grid.ids[-1]}")

    def check_places(self, links: Links, src: Grid, dst: Grid) -> None:
        """Check that the links lie within the grids; for files that tell nothing else.

        Raises
        ------
        CouplerError
            CELLS.
        """
        for grid, places in ((src, links.cols), (dst, links.rows)):
            if places.size and places.max() >= grid.n:
                raise self._foreign(grid, f"it has a cell {places.max() + 1} there, the grid {grid.n} cells")

    def _read(self, name: str, part: slice = slice(None)) -> NDArray[Any]:
        try:
            return np.asarray(self._dataset.variables[name][part])
        except (RuntimeError, OSError) as error:
            raise self._error(f"is damaged: {error}") from error

    def _foreign(self, grid: Grid, text: str) -> CouplerError:
        return CouplerError(Status.CELLS, f"weight file '{self.path}' is for other grids than '{grid.name}': {text}.")

    def _error(self, text: str) -> CouplerError:
        return CouplerError(Status.IO, f"weight file '{self.path}' {text}")

    def _angle(self, name: str) -> Values | None:
        values = self.array(name)
        if values is None:
            return None
        units = str(getattr(self._dataset.variables[name], "units", "degrees")).lower()
        return np.rad2deg(values) if units.startswith("rad") else values

    def _scale(self) -> Values | None:
        """Return the areas by which SCRIP weights that were left without normalisation must be divided."""
        if self._names is _SCRIP and self.attributes.get("normalization", "").strip() == "none":
            return self.array("dst_grid_area")
        return None

    def _check_sum(self, states: dict[str, Any]) -> None:
        """Compare the check sum of all variables with the one that the file tells."""
        expected = self.attributes.get("checksum")
        if expected is None:
            return
        for name in self._dataset.variables:
            if name not in states:
                states[name] = hashlib.sha256(np.ascontiguousarray(self._read(name)).tobytes())
        if expected != _joined(states):
            raise self._error("is damaged: its check sum does not fit. Remove it, and it is made again.")


def _joined(states: dict[str, Any]) -> str:
    """Return one check sum for those of all variables."""
    return hashlib.sha256("".join(states[name].hexdigest() for name in sorted(states)).encode()).hexdigest()


def read_weights(path: Path, src: Grid, dst: Grid) -> Weights:
    """Return the weights of a file that was made for these grids.

    Raises
    ------
    CouplerError
        IO for a file that cannot be read, CELLS for one that was made for other grids.
    """
    from coupler_plugin.regrid.weights import Weights

    with WeightFile(path) as file:
        file.check_grids(src, dst)
        links = file.links()
        file.check_places(links, src, dst)
        names = ("xc", "yc", "mask", "area", "frac")
        arrays = {f"{n}_{s}": file.array(f"{n}_{s}") for n in names for s in "ab"}
        found = {name: values for name, values in arrays.items() if values is not None}
        description = {"engine": "file", **file.attributes}
        return Weights(links.sorted(), src.shape, dst.shape, description, file.ids("a"), file.ids("b"), found)


def write_weights(path: Path, weights: Weights, **attributes: str) -> None:
    """Write a weight file that ESMF and xESMF can read; either all of it is written or nothing.

    Destination cells without links get the weight NaN from source 1, which is how xESMF marks them.

    Parameters
    ----------
    path : Path
    weights : Weights
    **attributes : str
        Further global attributes.

    Raises
    ------
    CouplerError
        IO, when it cannot be written: a full disk, a folder that is missing.
    """
    content = _encode(weights, attributes)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise CouplerError(Status.IO, f"weight file '{path}' cannot be written: {error}") from error


def _encode(weights: Weights, attributes: dict[str, str]) -> memoryview:
    """Return the bytes of a weight file; they are made in memory, as libraries report a full disk badly."""
    unmapped, links = weights.unmapped, weights.links
    columns: dict[str, NDArray[Any]] = {
        "row": (np.concatenate([links.rows, unmapped]) + 1).astype(np.int32),
        "col": (np.concatenate([links.cols, np.zeros_like(unmapped)]) + 1).astype(np.int32),
        "S": np.concatenate([links.values, np.full(unmapped.size, np.nan)]),
    }
    order = np.argsort(columns["row"], kind="stable")
    variables = {name: ("n_s", values[order]) for name, values in columns.items()}
    for name, shape in (("src", weights.src_shape), ("dst", weights.dst_shape)):
        variables[f"{name}_grid_dims"] = (f"{name}_grid_rank", np.array(shape[::-1], np.int32))
    for name, values in weights.arrays.items():
        kind = np.int32 if name.startswith("mask") else np.float64
        variables[name] = (f"n_{name[-1]}", values.astype(kind))
    for side, ids in (("a", weights.src_ids), ("b", weights.dst_ids)):
        if ids is not None:
            variables[f"id_{side}"] = (f"n_{side}", ids.astype(np.int64))
    # Classic NetCDF: its bytes in memory are those of a file, which HDF5 does not promise.
    dataset = netCDF4.Dataset("weights.nc", "w", memory=1, format="NETCDF3_64BIT_DATA")
    method = weights.description.get("method")
    dataset.setncatts(
        {
            "title": "regridding weights",
            "conventions": "NCAR-CSM",
            "normalization": "fracarea" if method == "conservative_normed" else "destarea",
            "map_method": f"{method} by {weights.description.get('engine')}",
            **weights.description,
            "checksum": _joined({name: hashlib.sha256(values.tobytes()) for name, (_, values) in variables.items()}),
            **attributes,
        }
    )
    for dimension, values in variables.values():
        if dimension not in dataset.dimensions:
            dataset.createDimension(dimension, values.size)
    for name, (dimension, values) in variables.items():
        variable = dataset.createVariable(name, values.dtype, (dimension,), fill_value=False)
        if name[:2] in _UNITS:
            variable.units = _UNITS[name[:2]]
        variable[:] = values
    content: memoryview = dataset.close()
    return content
