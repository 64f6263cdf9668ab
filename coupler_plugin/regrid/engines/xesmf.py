# SPDX-License-Identifier: Apache-2.0
"""ESMF with the settings of xESMF, wherever `esmpy` is installed: all methods, with great-circle edges.

It runs in a process of its own (`child`); what comes out is what `xesmf.Regridder` holds.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from coupler_plugin.regrid.engines import child
from coupler_plugin.regrid.engines.request import Request, version_of
from coupler_plugin.regrid.links import Links

_METHODS = (
    "bilinear",
    "patch",
    "nearest_s2d",
    "nearest_d2s",
    "conservative",
    "conservative_normed",
    "conservative_2nd",
)


class Xesmf:
    """Wherever esmpy is installed."""

    name = "xesmf"

    def refusal(self, request: Request) -> str | None:
        """Return why not, or None."""
        if request.method not in _METHODS:
            return f"knows no '{request.method}'"
        rectilinear = request.src.is_rectilinear or request.dst.is_rectilinear
        if request.conservative and request.edges == "latitude" and rectilinear:
            return "has great-circle edges only"
        if request.method in ("bilinear", "patch") and len(request.src.shape) == 1 and not request.src.has_corners:
            return "needs the corners of an unstructured source"
        if find_spec("esmpy") is None:
            return (
                f"can make '{request.method}' weights, but esmpy is not installed here (conda-forge, Spack or a module)"
            )
        return None

    def version(self) -> str:
        """Return the version of esmpy."""
        return version_of("esmpy") or "unknown"

    def links(self, request: Request) -> Links:
        """Return the links, made by a child process."""
        wanted = {
            "method": request.method,
            **child.write_request(request.src, "src"),
            **child.write_request(request.dst, "dst"),
        }
        return child.run(Path(__file__).with_name("_xesmf_child.py"), wanted, "result.npz", _read, request.timeout)


def _read(path: Path) -> Links:
    with np.load(path) as result:
        return Links(result["rows"].astype(np.int64), result["cols"].astype(np.int64), result["values"])
