# SPDX-License-Identifier: Apache-2.0
"""Weight files in the layout of SCRIP, which is also that of CDO."""

from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np

from coupler_plugin.regrid import Grid, Links


def write_scrip_weights(
    path: Path,
    src: Grid,
    dst: Grid,
    links: Links,
    normalization: str = "fracarea",
    columns: int = 1,
    shift: float = 0.0,
) -> Path:
    """Write links between places of two grids, with the sources `shift` radians further east, and return the path."""
    with netCDF4.Dataset(path, "w", format="NETCDF3_CLASSIC") as data:
        data.setncatts({"conventions": "SCRIP", "normalization": normalization, "map_method": "Conservative remapping"})
        sizes = {"src_grid_size": src.n, "dst_grid_size": dst.n, "num_links": links.n, "num_wgts": columns}
        for name, size in sizes.items():
            data.createDimension(name, size)
        for name, values in (("src_address", links.cols + 1), ("dst_address", links.rows + 1)):
            data.createVariable(name, "i4", ("num_links",))[:] = values
        remap = data.createVariable("remap_matrix", "f8", ("num_links", "num_wgts"))
        remap[:] = np.repeat(links.values[:, np.newaxis], columns, axis=1)
        area = data.createVariable("dst_grid_area", "f8", ("dst_grid_size",))
        area[:] = dst.areas("latitude")
        for name, angle in (("lon", np.deg2rad(src.lon)), ("lat", np.deg2rad(src.lat))):
            centre = data.createVariable(f"src_grid_center_{name}", "f8", ("src_grid_size",))
            centre[:] = angle + shift
            centre.units = "radians"
    return path
