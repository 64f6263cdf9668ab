# SPDX-License-Identifier: Apache-2.0
"""Runs YAC in a process of its own: `python _yac_child.py request.npz result.nc`.

YAC aborts the whole MPI job on an error, so that it must not share a process with a host. This file is run by its
path and imports nothing of the plugin. The result is YAC's own weight file.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np


def main(request_path: str, result_path: str) -> None:
    """Make the weights of a request (`engines.child.write_request`) and write them."""
    hook = sys.excepthook
    importlib.import_module("mpi4py.MPI")  # YAC looks for the libraries that this one loads
    core: Any = importlib.import_module("yac.core")
    sys.excepthook = hook  # YAC's own would abort and lose the message
    with np.load(request_path) as request:
        method, edges = str(request["method"]), str(request["edges"])
        src, dst = (_field(core, request, side, edges) for side in ("src", "dst"))
    stack = core.InterpolationStack()
    if method == "average":
        stack.add_average(core.yac_interp_avg_weight_type.YAC_INTERP_AVG_BARY, partial_coverage=False)
    else:
        order = 2 if method == "conservative_2nd" else 1
        normalisation = core.yac_interp_method_conserv_normalisation.YAC_INTERP_CONSERV_DESTAREA
        stack.add_conservative(order, False, True, normalisation)
    core.compute_weights(stack, src, dst).write_to_file(result_path)


def _field(core: Any, request: Any, side: str, edges: str) -> Any:
    """Return a field on the cells of a grid."""
    # Only cells between meridians and parallels have edges along parallels; all others have great circles.
    along_parallels = edges == "latitude" and bool(request[f"{side}_rectilinear"])
    counts = request[f"{side}_counts"]
    grid = core.BasicGrid.unstruct_new(
        side,
        counts,
        np.deg2rad(request[f"{side}_node_lon"]),
        np.deg2rad(request[f"{side}_node_lat"]),
        request[f"{side}_connectivity"],
        lonlat_edges=along_parallels,
    )
    cell = core.yac_location.YAC_LOC_CELL
    grid.set_global_index(cell, np.arange(counts.size))
    centres = grid.add_coordinates(cell, np.deg2rad(request[f"{side}_lon"]), np.deg2rad(request[f"{side}_lat"]))
    return core.InterpField(centres, grid.add_mask(cell, request[f"{side}_mask"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
