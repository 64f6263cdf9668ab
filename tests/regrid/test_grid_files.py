# SPDX-License-Identifier: Apache-2.0
"""Grid files: every layout gives the grid that was written, and mistakes in them are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest

from coupler_plugin import Status
from coupler_plugin.regrid import Grid, latlon, read_grid
from coupler_plugin.regrid.geometry import shared_corners
from tests.refusal import refused

GRID = latlon(30.0)
REGION = latlon(5.0, (-20.0, 40.0, 10.0, 60.0))

Variables = dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]]
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes variables, each (dimensions, values, attributes), and returns the path."""

    def write(variables: Variables) -> Path:
        path = tmp_path / "grid.nc"
        with netCDF4.Dataset(path, "w") as data:
            for name, (dimensions, values, attributes) in variables.items():
                values = np.asarray(values)
                for dimension, size in zip(dimensions, values.shape, strict=True):
                    if dimension not in data.dimensions:
                        data.createDimension(dimension, size)
                attributes = dict(attributes)
                fill = attributes.pop("_FillValue", None)
                variable = data.createVariable(name, values.dtype, dimensions, fill_value=fill)
                variable.set_auto_mask(False)
                variable[...] = values
                variable.setncatts(attributes)
        return path

    return write


def scrip(grid: Grid, units: str = "degrees") -> Variables:
    scale = np.pi / 180.0 if units == "radians" else 1.0
    angle = {"units": units}
    return {
        "grid_dims": (("grid_rank",), np.array(grid.shape[::-1], np.int32), {}),
        "grid_center_lon": (("grid_size",), grid.lon * scale, angle),
        "grid_center_lat": (("grid_size",), grid.lat * scale, angle),
        "grid_corner_lon": (("grid_size", "grid_corners"), grid.corner_lon * scale, angle),
        "grid_corner_lat": (("grid_size", "grid_corners"), grid.corner_lat * scale, angle),
        "grid_imask": (("grid_size",), grid.mask.astype(np.int32), {}),
        "grid_area": (("grid_size",), grid.areas("great_circle"), {"units": "radians^2"}),
    }


def nodes(grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the nodes of a grid and its cells as lists of them, which -1 fills, with their lengths."""
    lon, lat, cells = shared_corners(*grid.need_corners())
    distinct = cells != np.roll(cells, 1, axis=1)
    counts = distinct.sum(axis=1)
    order = np.argsort(~distinct, axis=1, kind="stable")
    filled = np.where(np.arange(4) < counts[:, np.newaxis], np.take_along_axis(cells, order, axis=1), -1)
    return lon, lat, filled, counts


def esmf_mesh(grid: Grid, ragged: bool) -> Variables:
    lon, lat, cells, counts = nodes(grid)
    connection = cells[cells >= 0] + 1 if ragged else np.where(cells >= 0, cells + 1, -1)
    dimensions = ("connectionCount",) if ragged else ("elementCount", "maxNodePElement")
    degrees = {"units": "degrees"}
    return {
        "nodeCoords": (("nodeCount", "coordDim"), np.stack([lon, lat], axis=-1), degrees),
        "elementConn": (dimensions, connection.astype(np.int32), {"start_index": 1}),
        "numElementConn": (("elementCount",), counts.astype(np.int32), {}),
        "centerCoords": (("elementCount", "coordDim"), np.stack([grid.lon, grid.lat], axis=-1), degrees),
        "elementMask": (("elementCount",), grid.mask.astype(np.int32), {}),
    }


def ugrid(grid: Grid, start: int) -> Variables:
    lon, lat, cells, _ = nodes(grid)
    topology = {
        "cf_role": "mesh_topology",
        "topology_dimension": 2,
        "node_coordinates": "node_lon node_lat",
        "face_coordinates": "face_lon face_lat",
        "face_node_connectivity": "face_nodes",
    }
    connection = np.where(cells >= 0, cells + start, -999).astype(np.int32)
    return {
        "mesh": ((), np.int32(0), topology),
        "node_lon": (("node",), lon, {"units": "degrees_east"}),
        "node_lat": (("node",), lat, {"units": "degrees_north"}),
        "face_lon": (("face",), grid.lon, {"units": "degrees_east"}),
        "face_lat": (("face",), grid.lat, {"units": "degrees_north"}),
        "face_nodes": (("face", "three"), connection, {"start_index": start, "_FillValue": np.int32(-999)}),
    }


def cf_axes(grid: Grid, bounds: bool = True) -> Variables:
    nx = grid.shape[1]
    found: Variables = {
        "lon": (("lon",), grid.lon[:nx], {"units": "degrees_east", "standard_name": "longitude"}),
        "lat": (("lat",), grid.lat[::nx], {"units": "degrees_north", "standard_name": "latitude"}),
    }
    if bounds:
        for name, edges in (("lon", grid.lon_edges), ("lat", grid.lat_edges)):
            found[name][2]["bounds"] = f"{name}_bnds"
            found[f"{name}_bnds"] = ((name, "bnds"), np.stack([edges[:-1], edges[1:]], axis=-1), {})
    return found


def cf_surface(grid: Grid) -> Variables:
    shape = grid.shape
    found: Variables = {"rlon": (("rlon",), np.arange(shape[1]) * 1.0, {"units": "degrees"})}
    for name, centres, corners, units in (
        ("lon", grid.lon, grid.corner_lon, "degrees_east"),
        ("lat", grid.lat, grid.corner_lat, "degrees_north"),
    ):
        found[name] = (("y", "x"), centres.reshape(shape), {"units": units, "bounds": f"{name}_vertices"})
        found[f"{name}_vertices"] = (("y", "x", "four"), corners.reshape(*shape, 4), {})
    return found


LAYOUTS = {
    "scrip-degrees": scrip(GRID),
    "scrip-radians": scrip(GRID, "radians"),
    "esmf-mesh": esmf_mesh(GRID, ragged=False),
    "esmf-mesh-ragged": esmf_mesh(GRID, ragged=True),
    "ugrid-0": ugrid(GRID, 0),
    "ugrid-1": ugrid(GRID, 1),
    "cf-axes": cf_axes(GRID),
    "cf-surface": cf_surface(GRID),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_gives_the_grid_that_was_written(write: Write, layout: str) -> None:
    grid = read_grid(write(LAYOUTS[layout]), whole=True)
    np.testing.assert_allclose(grid.lon, GRID.lon, atol=1e-12)
    np.testing.assert_allclose(grid.lat, GRID.lat, atol=1e-12)
    np.testing.assert_allclose(grid.areas("great_circle"), GRID.areas("great_circle"), rtol=1e-12)
    structured = layout.startswith(("scrip", "cf"))
    assert grid.shape == (GRID.shape if structured else (GRID.n,))
    assert grid.periodic == structured
    assert grid.is_rectilinear == (layout == "cf-axes")


@pytest.mark.parametrize("layout", [scrip(REGION), cf_axes(REGION), cf_surface(REGION)])
def test_regional_files_are_not_periodic(write: Write, layout: Variables) -> None:
    grid = read_grid(write(layout))
    assert grid.shape == REGION.shape
    assert not grid.periodic
    np.testing.assert_allclose(grid.areas("great_circle"), REGION.areas("great_circle"), rtol=1e-12)


def test_rows_may_run_from_north_to_south(write: Write) -> None:
    grid = latlon(10.0, (-180.0, 90.0, 180.0, -90.0))
    found = read_grid(write(cf_axes(grid)), whole=True)
    np.testing.assert_array_equal(found.lat_edges, grid.lat_edges)
    np.testing.assert_allclose(found.areas("great_circle"), grid.areas("great_circle"), rtol=1e-14)


def test_masks_are_read(write: Write) -> None:
    mask = np.arange(GRID.n) % 3 > 0
    assert read_grid(write(scrip(GRID.masked(mask)))).mask.tolist() == mask.tolist()
    assert read_grid(write(esmf_mesh(GRID.masked(mask), ragged=False))).mask.tolist() == mask.tolist()
    fraction = np.where(mask, 0.3, 0.0).reshape(GRID.shape)
    fraction[0, 1] = 1e20  # missing is not valid
    path = write({**cf_axes(GRID), "sftlf": (("lat", "lon"), fraction, {"_FillValue": 1e20})})
    assert read_grid(path, mask="sftlf").mask.tolist() == [*mask[:1], False, *mask[2:]]


def test_bounds_can_be_inferred(write: Write) -> None:
    found = read_grid(write(cf_axes(GRID, bounds=False)), bounds="infer")
    np.testing.assert_allclose(found.lat_edges, GRID.lat_edges, atol=1e-12)
    points = read_grid(write(cf_axes(GRID, bounds=False)))
    assert not points.has_corners
    assert points.periodic


def test_centres_on_the_poles_have_half_cells(write: Write) -> None:
    lat = np.linspace(90.0, -90.0, 7)
    grid: Variables = {"lat": (("lat",), lat, {"units": "degrees_north"}), "lon": cf_axes(GRID, bounds=False)["lon"]}
    found = read_grid(write(grid), bounds="infer", whole=True)
    assert found.lat_edges.tolist() == [90.0, 75.0, 45.0, 15.0, -15.0, -45.0, -75.0, -90.0]


def test_list_of_cells_with_bounds_in_radians(write: Write) -> None:
    found: Variables = {}
    for name, centres, corners in (("clon", GRID.lon, GRID.corner_lon), ("clat", GRID.lat, GRID.corner_lat)):
        standard = "longitude" if name == "clon" else "latitude"
        attributes = {"units": "radian", "standard_name": standard, "bounds": f"{name}_vertices"}
        found[name] = (("cell",), np.deg2rad(centres), attributes)
        found[f"{name}_vertices"] = (("cell", "nv"), np.deg2rad(corners), {})
    grid = read_grid(write(found), whole=True)
    assert grid.shape == (GRID.n,)
    np.testing.assert_allclose(grid.corner_lat, GRID.corner_lat, atol=1e-12)


def change(layout: Variables, name: str, values: Any = None, **attributes: Any) -> Variables:
    dimensions, before, kept = layout[name]
    return {**layout, name: (dimensions, before if values is None else values, {**kept, **attributes})}


def without(layout: Variables, *names: str) -> Variables:
    return {name: entry for name, entry in layout.items() if name not in names}


def bounds_of(name: str, first: float) -> Variables:
    bounds = cf_axes(REGION)[f"{name}_bnds"][1].copy()
    bounds[2, 0] = first
    return change(cf_axes(REGION), f"{name}_bnds", bounds)


@pytest.mark.parametrize(
    ("variables", "status", "words"),
    [
        (change(scrip(GRID), "grid_center_lon", units="furlongs"), Status.CELLS, ["'grid_center_lon'", "furlongs"]),
        (change(scrip(GRID), "grid_corner_lat", units=""), Status.CELLS, ["no units", "degrees or radians"]),
        (change(scrip(GRID), "grid_center_lat", GRID.lat * np.nan), Status.CELLS, ["lat nan", "cell 1"]),
        (without(scrip(GRID), "grid_dims"), Status.IO, ["no variable 'grid_dims'"]),
        (bounds_of("lon", -9.0), Status.CELLS, ["a hole in 'lon'", "cells 2 and 3"]),
        (bounds_of("lat", 49.0), Status.CELLS, ["overlap in 'lat'", "cells 2 and 3"]),
        (without(cf_axes(GRID), "lat"), Status.IO, ["no variables of latitude", "Known layouts"]),
        (
            {**cf_axes(GRID), "lon2": (("lon",), GRID.lon[:12], {"units": "degrees_east"})},
            Status.IO,
            ["several", "lon2"],
        ),
        (without(ugrid(GRID, 0), "node_lon"), Status.IO, ["no variable 'node_lon'"]),
        ({"tas": (("x",), np.zeros(3), {})}, Status.IO, ["no variables of longitude"]),
    ],
)
def test_mistakes_are_named(write: Write, variables: Variables, status: Status, words: list[str]) -> None:
    with refused(status, "grid.nc", *words):
        read_grid(write(variables))


def test_holes_are_found_on_request(write: Write) -> None:
    path = write(scrip(GRID.masked(np.arange(GRID.n) != 5)))
    read_grid(path)
    with refused(Status.CELLS, "holes"):
        read_grid(path, whole=True)


def test_mask_must_fit_and_be_there(write: Write) -> None:
    path = write({**cf_axes(GRID), "land": (("some",), np.ones(5), {})})
    with refused(Status.ARRAY, "72 cells", "'land' has 5"):
        read_grid(path, mask="land")
    with refused(Status.IO, "no variable 'sea'"):
        read_grid(path, mask="sea")


def numbers(values: np.ndarray) -> str:
    """Return numbers in lines, as CDO writes them."""
    words = [repr(float(value)) for value in np.ravel(values)]
    return "\n            ".join(" ".join(words[k : k + 6]) for k in range(0, len(words), 6))


CDO = {
    "regular": (GRID, "gridtype = lonlat\nxsize=12\nysize=6\nxfirst=15\nxinc=30\nyfirst = -75  # south\nyinc = 30\n"),
    "bounds": (
        REGION,
        f'#\n# gridID 1\n#\ngridtype  = lonlat\nxsize = 6\nysize = 4\nxunits = "degrees_east"\n'
        f"xvals = {numbers(REGION.lon[:6])}\nyvals = {numbers(REGION.lat[::6])}\n"
        f"xbounds = {numbers(np.stack([REGION.lon_edges[:-1], REGION.lon_edges[1:]], axis=-1))}\n"
        f"ybounds = {numbers(np.stack([REGION.lat_edges[:-1], REGION.lat_edges[1:]], axis=-1))}\n",
    ),
    "curvilinear": (
        REGION,
        f"gridtype = curvilinear\ngridsize = 24\nxsize = 6\nysize = 4\nxvals = {numbers(REGION.lon)}\n"
        f"yvals = {numbers(REGION.lat)}\nxbounds = {numbers(REGION.corner_lon)}\n"
        f"ybounds = {numbers(REGION.corner_lat)}\n",
    ),
    "unstructured": (
        GRID,
        "gridtype = unstructured\ngridsize = 72\nnvertex = 4\nxunits = 'radian'\nyunits = 'radian'\n"
        f"xvals = {numbers(np.deg2rad(GRID.lon))}\nyvals = {numbers(np.deg2rad(GRID.lat))}\n"
        f"xbounds = {numbers(np.deg2rad(GRID.corner_lon))}\nybounds = {numbers(np.deg2rad(GRID.corner_lat))}\n"
        "mask = 0 " + "1 " * 71,
    ),
}


@pytest.mark.parametrize("kind", CDO)
def test_descriptions_of_cdo(tmp_path: Path, kind: str) -> None:
    expected, text = CDO[kind]
    (tmp_path / "grid.txt").write_text(text)
    grid = read_grid(tmp_path / "grid.txt")
    assert grid.shape == ((GRID.n,) if kind == "unstructured" else expected.shape)
    assert grid.is_rectilinear == (kind in ("regular", "bounds"))
    assert grid.mask[0] == (kind != "unstructured")
    np.testing.assert_allclose(grid.lon, expected.lon, atol=1e-12)
    np.testing.assert_allclose(grid.areas("great_circle"), expected.areas("great_circle"), rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gridtype = gaussian_reduced", ["'gaussian_reduced'", "known: lonlat"]),
        ("gridtype = lonlat\nxsize = 2", ["no 'xfirst'"]),
        ("gridtype = curvilinear\nxvals = one two", ["no numbers in 'xvals'"]),
        ("gridtype = unstructured\nxvals = 1 2\nyvals = 1 2\nxbounds = 1 2 3", ["3 numbers in 'xbounds' for 2 cells"]),
    ],
)
def test_descriptions_of_cdo_that_are_wrong(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "grid.txt").write_text(text)
    with refused(Status.IO, "grid.txt", *words):
        read_grid(tmp_path / "grid.txt")


def test_file_that_is_no_netcdf(tmp_path: Path) -> None:
    path = tmp_path / "grid.nc"
    path.write_text("not a grid")
    with refused(Status.IO, "grid.nc", "cannot be read"):
        read_grid(path)
