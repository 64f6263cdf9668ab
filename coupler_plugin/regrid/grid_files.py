# SPDX-License-Identifier: Apache-2.0
"""Grids from files: this file tells the layouts apart.

CF coordinates are read by `cf_files`, SCRIP, ESMF mesh and UGRID by `mesh_files`, descriptions of CDO by `cdo_files`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.regrid import cf_files, mesh_files
from coupler_plugin.regrid._netcdf import masked
from coupler_plugin.regrid.cdo_files import is_cdo, read_cdo
from coupler_plugin.regrid.grids import Grid


def read_grid(
    path: Path,
    *,
    mask: str | None = None,
    lon: str | None = None,
    lat: str | None = None,
    bounds: str | None = None,
    whole: bool = False,
) -> Grid:
    """Return the grid of a file: SCRIP, ESMF mesh, UGRID, CF coordinates of one or two dimensions, or CDO's text.

    Parameters
    ----------
    path : Path
    mask : str, optional
        Variable that is not zero where a cell takes part, for layouts that have no mask of their own.
    lon, lat : str, optional
        Variables with the centres, when a CF file has several.
    bounds : str, optional
        ``"infer"``: put the missing bounds of one-dimensional coordinates half-way between the centres.
    whole : bool
        Check that the cells cover the whole sphere.

    Raises
    ------
    CouplerError
        IO for a file that cannot be read or is of no known layout; CELLS for grids that cannot be right: units,
        orientation, overlaps, holes.
    """
    if bounds not in (None, "infer"):
        raise CouplerError(Status.CONFIG, f"grid '{path}': 'bounds: {bounds}' is not known; the only value is 'infer'.")
    try:
        if is_cdo(path):
            grid = read_cdo(path)
            if mask is not None:
                raise grid.error(Status.CONFIG, f"is a description of CDO, which has no variable '{mask}'.")
        else:
            with netCDF4.Dataset(path) as dataset:
                dataset.set_auto_mask(False)
                grid = _read(str(path), dataset, lon, lat, infer=bounds == "infer")
                grid = grid if mask is None else _masked(grid, dataset, mask)
    except (OSError, RuntimeError) as error:
        raise CouplerError(Status.IO, f"grid file '{path}' cannot be read: {error}") from error
    return grid.check_cells(whole=whole)


def _read(path: str, dataset: Any, lon: str | None, lat: str | None, *, infer: bool) -> Grid:
    if "grid_corner_lat" in dataset.variables:
        return mesh_files.read_scrip(path, dataset)
    if "elementConn" in dataset.variables:
        return mesh_files.read_esmf_mesh(path, dataset)
    if topology := mesh_files.topology_of(dataset):
        return mesh_files.read_ugrid(path, dataset, topology)
    return cf_files.read_cf(path, dataset, lon, lat, infer=infer)


def _masked(grid: Grid, dataset: Any, mask: str) -> Grid:
    values = np.ma.filled(np.ma.masked_invalid(masked(grid.name, dataset, mask)), 0)
    if values.size != grid.n:
        raise grid.error(Status.ARRAY, f"has {grid.n} cells, but its mask '{mask}' has {values.size} values.")
    return grid.masked(values)
