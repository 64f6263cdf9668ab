# SPDX-License-Identifier: Apache-2.0
"""Readers of unstructured grids: SCRIP, ESMF mesh and UGRID.

Sources: SCRIP user's guide 1.4 (Los Alamos, 1998); ESMF reference manual, "ESMFMESH" and "SCRIP" grid file formats;
UGRID conventions 1.0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.regrid._netcdf import degrees, variable
from coupler_plugin.regrid.geometry import Values
from coupler_plugin.regrid.grids import Grid
from coupler_plugin.regrid.makers import mesh


def read_scrip(path: str, dataset: Any) -> Grid:
    """Return the grid of a SCRIP file; structured when its `grid_rank` is 2."""
    dims = [int(size) for size in np.atleast_1d(variable(path, dataset, "grid_dims")[...])]
    lon = degrees(path, dataset, "grid_center_lon")
    shape = (dims[1], dims[0]) if len(dims) == 2 and dims[0] * dims[1] == lon.size else (lon.size,)
    return Grid(
        path,
        lon,
        degrees(path, dataset, "grid_center_lat"),
        shape,
        degrees(path, dataset, "grid_corner_lon"),
        degrees(path, dataset, "grid_corner_lat"),
        periodic=len(shape) == 2 and _surrounds(lon.reshape(shape)),
        **_mask_and_area(dataset, "grid_imask", "grid_area"),
    )


def _surrounds(lon: Values) -> bool:
    """Return whether the rows of a structured grid go round the sphere: longitudes plus one step are 360 degrees."""
    if lon.shape[1] < 3:
        return False
    steps = (np.diff(lon, axis=1) + 180.0) % 360.0 - 180.0
    return bool(np.all(np.abs(np.abs(steps.sum(axis=1) + steps[:, -1]) - 360.0) < np.abs(steps[:, -1])))


def read_esmf_mesh(path: str, dataset: Any) -> Grid:
    """Return the grid of an ESMF mesh file (`elementConn`, `nodeCoords`)."""
    node_lon, node_lat = degrees(path, dataset, "nodeCoords").T[:2]
    lon = lat = None
    if "centerCoords" in dataset.variables:
        lon, lat = degrees(path, dataset, "centerCoords").T
    connection = variable(path, dataset, "elementConn")
    counts = np.asarray(variable(path, dataset, "numElementConn")[...], np.int64)
    first = int(getattr(connection, "start_index", 1))
    cells = np.asarray(connection[...], np.int64)
    if cells.ndim == 1:  # the ragged form: one cell's nodes after another's
        padded = np.full((counts.size, int(counts.max())), -1, np.int64)
        padded[np.arange(padded.shape[1]) < counts[:, np.newaxis]] = cells - first
    else:
        padded = np.where(np.arange(cells.shape[1]) < counts[:, np.newaxis], cells - first, -1)
    return mesh(path, node_lon, node_lat, padded, lon, lat, **_mask_and_area(dataset, "elementMask", "elementArea"))


def topology_of(dataset: Any) -> str | None:
    """Return the name of a UGRID file's mesh variable, or None if the file is not UGRID."""
    for name, found in dataset.variables.items():
        if getattr(found, "cf_role", "") == "mesh_topology":
            return str(name)
    return None


def read_ugrid(path: str, dataset: Any, topology: str) -> Grid:
    """Return the faces of a UGRID file's mesh `topology` as cells."""
    attributes = dataset.variables[topology]
    for needed in ("node_coordinates", "face_node_connectivity"):
        if not hasattr(attributes, needed):
            raise CouplerError(Status.IO, f"grid file '{path}': the mesh '{topology}' has no attribute '{needed}'.")
    node_lon, node_lat = _pair(path, dataset, attributes.node_coordinates)
    lon = lat = None
    if hasattr(attributes, "face_coordinates"):
        lon, lat = _pair(path, dataset, attributes.face_coordinates)
    connection = variable(path, dataset, attributes.face_node_connectivity)
    cells = np.asarray(connection[...], np.int64)
    if connection.dimensions[0] != getattr(attributes, "face_dimension", connection.dimensions[0]):
        cells = cells.T
    first = int(getattr(connection, "start_index", 0))
    cells = np.where(cells == int(getattr(connection, "_FillValue", -1)), -1, cells - first)
    return mesh(path, node_lon, node_lat, cells, lon, lat)


def _pair(path: str, dataset: Any, names: str) -> tuple[Values, Values]:
    """Return the longitudes and latitudes of two variables named in either order."""
    both = names.split()
    if len(both) < 2:
        raise CouplerError(Status.IO, f"grid file '{path}' names '{names}' where two coordinates are needed.")
    first, second = both[:2]
    found = dataset.variables.get(first)
    starts_with_lat = "lat" in f"{getattr(found, 'standard_name', '')} {getattr(found, 'units', '')} {first}".lower()
    lon, lat = (second, first) if starts_with_lat else (first, second)
    return degrees(path, dataset, lon), degrees(path, dataset, lat)


def _mask_and_area(dataset: Any, mask: str, area: str) -> dict[str, Any]:
    """Return what the file has of them, as arguments of `Grid`."""
    found = {}
    if mask in dataset.variables:
        found["mask"] = np.asarray(dataset.variables[mask][...]).ravel() != 0
    if area in dataset.variables:
        found["area"] = np.asarray(dataset.variables[area][...], np.float64).ravel()
    return found
