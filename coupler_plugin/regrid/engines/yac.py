# SPDX-License-Identifier: Apache-2.0
"""YAC (https://dkrz-sw.gitlab-pages.dkrz.de/yac): conservative weights of first and second order, and averages.

`pip install yac mpi4py` and Open MPI are all it needs; it runs in a process of its own (`child`).
"""

from __future__ import annotations

from pathlib import Path

from coupler_plugin.regrid.engines import child
from coupler_plugin.regrid.engines.request import Request, version_of
from coupler_plugin.regrid.links import Links
from coupler_plugin.regrid.weight_files import WeightFile

_METHODS = ("conservative", "conservative_normed", "conservative_2nd", "average")


class Yac:
    """Wherever the PyPI packages yac and mpi4py are installed."""

    name = "yac"

    def refusal(self, request: Request) -> str | None:
        """Return why not, or None."""
        if request.method not in _METHODS:
            return f"knows no '{request.method}'"
        missing = [package for package in ("yac", "mpi4py") if version_of(package) is None]
        if missing:
            return f"is not installed (pip install {' '.join(missing)})"
        if not (request.src.has_corners and request.dst.has_corners):
            return "needs the corners of both grids"
        return None

    def version(self) -> str:
        """Return the version of the package."""
        return version_of("yac") or "none"

    def links(self, request: Request) -> Links:
        """Return the links, made by a child process."""
        wanted = {
            "method": request.method,
            "edges": request.edges,
            **child.write_request(request.src, "src"),
            **child.write_request(request.dst, "dst"),
        }
        script = Path(__file__).with_name("_yac_child.py")
        return child.run(script, wanted, "result.nc", lambda path: WeightFile(path).links(), request.timeout)
