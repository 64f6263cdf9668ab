# SPDX-License-Identifier: Apache-2.0
"""Runs ESMF in a process of its own: `python _xesmf_child.py request.npz result.npz`.

Grids are handed to ESMF as xESMF does it: structured ones as grids of centres, and for conservative methods every grid
as a mesh of cells; ESMF's own errors can abort the process. This file is run by its path and imports nothing of the
plugin.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np


def main(request_path: str, result_path: str) -> None:
    """Make the weights of a request (`engines.child.write_request`) and write them."""
    importlib.import_module("netCDF4")  # after esmpy its HDF5 would be the wrong one, and importing it crash
    esmpy: Any = importlib.import_module("esmpy")
    esmpy.Manager(debug=False)
    with np.load(request_path) as request:
        method = str(request["method"])
        cells = method.startswith("conservative")
        src, dst = (_field(esmpy, request, side, cells) for side in ("src", "dst"))
    options: dict[str, Any] = {}
    if not any(isinstance(field.grid, esmpy.LocStream) for field in (src, dst)):
        options = {"src_mask_values": np.array([0]), "dst_mask_values": np.array([0])}
    regrid = esmpy.Regrid(
        src,
        dst,
        regrid_method={
            "bilinear": esmpy.RegridMethod.BILINEAR,
            "patch": esmpy.RegridMethod.PATCH,
            "nearest_s2d": esmpy.RegridMethod.NEAREST_STOD,
            "nearest_d2s": esmpy.RegridMethod.NEAREST_DTOS,
            "conservative": esmpy.RegridMethod.CONSERVE,
            "conservative_normed": esmpy.RegridMethod.CONSERVE,
            "conservative_2nd": esmpy.RegridMethod.CONSERVE_2ND,
        }[method],
        norm_type=esmpy.NormType.DSTAREA,
        unmapped_action=esmpy.UnmappedAction.IGNORE,
        ignore_degenerate=True,
        factors=True,
        **options,
    )
    found = regrid.get_weights_dict(deep_copy=True)
    np.savez(result_path, rows=found["row_dst"] - 1, cols=found["col_src"] - 1, values=found["weights"])


def _field(esmpy: Any, request: Any, side: str, cells: bool) -> Any:
    """Return a field on a grid: as cells where a method needs them, else as the centres of a structured grid."""
    shape = tuple(int(size) for size in request[f"{side}_shape"])
    if len(shape) == 2 and not cells:
        return esmpy.Field(_grid(esmpy, request, side, shape))
    if f"{side}_counts" in request:
        return esmpy.Field(_mesh(esmpy, request, side), meshloc=esmpy.MeshLoc.ELEMENT)
    points = esmpy.LocStream(request[f"{side}_lon"].size, coord_sys=esmpy.CoordSys.SPH_DEG)
    points["ESMF:Lon"] = request[f"{side}_lon"]
    points["ESMF:Lat"] = request[f"{side}_lat"]
    return esmpy.Field(points)


def _grid(esmpy: Any, request: Any, side: str, shape: tuple[int, ...]) -> Any:
    """Return the centres of a structured grid; ESMF counts x first."""
    grid = esmpy.Grid(
        np.array(shape[::-1]),
        staggerloc=esmpy.StaggerLoc.CENTER,
        coord_sys=esmpy.CoordSys.SPH_DEG,
        num_peri_dims=1 if request[f"{side}_periodic"] else None,
    )
    for dimension, name in enumerate(("lon", "lat")):
        centres = grid.get_coords(coord_dim=dimension, staggerloc=esmpy.StaggerLoc.CENTER)
        centres[...] = request[f"{side}_{name}"].reshape(shape).T
    grid.add_item(esmpy.GridItem.MASK, staggerloc=esmpy.StaggerLoc.CENTER, from_file=False)
    grid.mask[esmpy.StaggerLoc.CENTER][...] = request[f"{side}_mask"].reshape(shape).T
    return grid


def _mesh(esmpy: Any, request: Any, side: str) -> Any:
    """Return the cells of a grid as a mesh."""
    mesh = esmpy.Mesh(parametric_dim=2, spatial_dim=2, coord_sys=esmpy.CoordSys.SPH_DEG)
    nodes = np.stack([request[f"{side}_node_lon"], request[f"{side}_node_lat"]], axis=-1)
    mesh.add_nodes(len(nodes), np.arange(1, len(nodes) + 1), nodes.ravel(), np.zeros(len(nodes), np.int32))
    counts = request[f"{side}_counts"]
    mesh.add_elements(
        counts.size,
        np.arange(1, counts.size + 1),
        counts,
        request[f"{side}_connectivity"],
        element_mask=request[f"{side}_mask"],
        element_coords=np.stack([request[f"{side}_lon"], request[f"{side}_lat"]], axis=-1).ravel(),
    )
    return mesh


if __name__ == "__main__":
    main(*sys.argv[1:])
