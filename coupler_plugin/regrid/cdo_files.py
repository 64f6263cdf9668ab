# SPDX-License-Identifier: Apache-2.0
"""Reader of the grid descriptions of CDO: text of the form `gridtype = lonlat`, as `cdo griddes` writes it.

Source: CDO user guide, "Grid description". Bounds that are missing from lonlat and gaussian grids lie half-way between
the centres, as CDO puts them.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.regrid.cf_files import edges_between, edges_of
from coupler_plugin.regrid.geometry import Values
from coupler_plugin.regrid.grids import Grid
from coupler_plugin.regrid.makers import curvilinear, rectilinear

_KEY = re.compile(r"^\s*(\w+)\s*=\s*(.*)$")


def is_cdo(path: Path) -> bool:
    """Return whether a file is a grid description of CDO."""
    with path.open("rb") as file:
        return b"gridtype" in file.read(2000)


def read_cdo(path: Path) -> Grid:
    """Return the grid of a description.

    Raises
    ------
    CouplerError
        IO for what is missing or of a kind that is not known; CELLS for grids that cannot be right.
    """
    return _Description(path).grid()


class _Description:
    """The keys of a description and their words."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._words: dict[str, list[str]] = {}
        words: list[str] = []
        for line in path.read_text(errors="replace").splitlines():
            text = line.partition("#")[0]
            found = _KEY.match(text)
            if found:
                words = self._words.setdefault(found[1].lower(), [])
                text = found[2]
            words += text.split()

    def grid(self) -> Grid:
        """Return the grid."""
        cells = self._cells()
        return cells.masked(np.array(self._words["mask"], float)) if "mask" in self._words else cells

    def _cells(self) -> Grid:
        kind = self._word("gridtype").lower()
        if kind in ("lonlat", "gaussian"):
            return self._rectilinear()
        if kind not in ("curvilinear", "unstructured"):
            raise self._error(f"is of the type '{kind}'; known: lonlat, gaussian, curvilinear, unstructured.")
        lon, lat = self._angles("xvals"), self._angles("yvals")
        corner_lon, corner_lat = self._bounds("xbounds", lon.size), self._bounds("ybounds", lat.size)
        if kind == "unstructured":
            return Grid(str(self.path), lon, lat, lon.shape, corner_lon, corner_lat)
        shape = (int(self._word("ysize")), int(self._word("xsize")))
        boxes = [None if part is None else part.reshape(*shape, -1) for part in (corner_lon, corner_lat)]
        return curvilinear(str(self.path), lon.reshape(shape), lat.reshape(shape), *boxes)

    def _rectilinear(self) -> Grid:
        lon, lat = self._centres("x"), self._centres("y")
        bounds = self._bounds("xbounds", lon.size), self._bounds("ybounds", lat.size)
        if bounds[0] is None or bounds[1] is None:
            return rectilinear(str(self.path), *edges_between(str(self.path), lon, lat), lon, lat)
        edges = edges_of(str(self.path), "xbounds", bounds[0]), edges_of(str(self.path), "ybounds", bounds[1])
        return rectilinear(str(self.path), *edges, lon, lat)

    def _centres(self, axis: str) -> Values:
        if f"{axis}vals" in self._words:
            return self._angles(f"{axis}vals")
        size = int(self._word(f"{axis}size"))
        return float(self._word(f"{axis}first")) + float(self._word(f"{axis}inc")) * np.arange(size, dtype=np.float64)

    def _bounds(self, name: str, cells: int) -> Values | None:
        """Return the bounds or corners of cells, shape (cells, nv), None if the description has none."""
        if name not in self._words:
            return None
        values = self._angles(name)
        if values.size % cells:
            raise self._error(f"has {values.size} numbers in '{name}' for {cells} cells.")
        return values.reshape(cells, -1)

    def _angles(self, name: str) -> Values:
        try:
            values: Values = np.array([float(word) for word in self._all(name)])
        except ValueError as error:
            raise self._error(f"has no numbers in '{name}': {error}.") from None
        units = " ".join(self._words.get(f"{name[0]}units", ["degrees"])).strip("'\"").lower()
        if units.startswith("rad"):
            values = np.rad2deg(values)
        elif not units.startswith("deg"):
            raise CouplerError(Status.CELLS, f"grid '{self.path}' is in '{units}'; give degrees or radians.")
        return values

    def _word(self, name: str) -> str:
        return self._all(name)[0].strip("'\"")

    def _all(self, name: str) -> list[str]:
        words = self._words.get(name)
        if not words:
            raise self._error(f"has no '{name}'.")
        return words

    def _error(self, text: str) -> CouplerError:
        return CouplerError(Status.IO, f"grid file '{self.path}' {text}")
