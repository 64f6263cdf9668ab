# SPDX-License-Identifier: Apache-2.0
"""The plugin's own engine: bilinear, nearest, and conservative between meridians and parallels, in numpy and scipy."""

from __future__ import annotations

from coupler_plugin.regrid.engines.bilinear import bilinear
from coupler_plugin.regrid.engines.distance import nearest_d2s, nearest_s2d
from coupler_plugin.regrid.engines.request import Request
from coupler_plugin.regrid.engines.separable import conservative
from coupler_plugin.regrid.links import Links

_METHODS = {"bilinear": bilinear, "nearest_s2d": nearest_s2d, "nearest_d2s": nearest_d2s}


class Builtin:
    """Needs nothing but numpy and scipy."""

    name = "builtin"

    def refusal(self, request: Request) -> str | None:
        """Return why not, or None."""
        if request.method == "bilinear" and len(request.src.shape) == 1 and not request.src.has_corners:
            return "needs the corners of an unstructured source to know which of its cells are neighbours"
        if request.method in _METHODS:
            return None
        if request.method not in ("conservative", "conservative_normed"):
            return f"knows no '{request.method}'"
        if request.edges != "latitude" or not (request.src.is_rectilinear and request.dst.is_rectilinear):
            return "makes conservative weights only between grids of meridians and parallels, with edges: latitude"
        return None

    def version(self) -> str:
        """Return the number that is raised when weights change."""
        return "1"

    def links(self, request: Request) -> Links:
        """Return the links."""
        return _METHODS.get(request.method, conservative)(request.src, request.dst)
