# SPDX-License-Identifier: Apache-2.0
"""The maps that land_cover is trained on: two years of New Guinea, and what is assumed of the years between.

The maps tell what changed, not when. Change is taken to creep outward from where the new class was, at a steady pace in
every coarse cell: so the maps of the years between follow, and their coarse fractions change linearly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion
from scipy.spatial import KDTree

from torchscript_models.cubes import block_sums
from torchscript_models.data import DataError
from torchscript_models.land_cover.classes import CELL, CLASSES, N_CLASSES, N_LAND, N_LANDFORMS, PIXEL, SEA

ClassMap = NDArray[np.uint8]

CITATION: Final = "ESA CCI land cover as packaged in the R package motif (MIT)"
FILES: Final = ("newguinea_landcover2001.tif", "newguinea_landcover2015.tif", "newguinea_landform.tif")
_MOST_PIXELS: Final = 10**9
NO_LANDFORM: Final = 255


@dataclass(frozen=True)
class Maps:
    """The two maps and what goes with them; rows from north to south.

    Attributes
    ----------
    before, after : uint8 arrays, shape (rows, columns)
        Numbers of the classes in 2001 and 2015.
    landform : uint8 array, shape (rows, columns)
    change : float32 array, shape (rows, columns)
        Share of the time between the maps after which a pixel has its new class; above 1 where nothing changes.
    coarse : float32 array, shape (2, 7, coarse rows, coarse columns)
        Fractions of the land classes in the land of each coarse cell, before and after; 0 in cells without land.
    """

    before: ClassMap
    after: ClassMap
    landform: ClassMap
    change: NDArray[np.float32]
    coarse: NDArray[np.float32]

    @property
    def is_land(self) -> NDArray[np.bool_]:
        """Where there is land in both maps."""
        return self.before != SEA

    def at(self, time: float, window: tuple[slice, slice]) -> ClassMap:
        """Return the classes in a window when a share `time` of the years between has passed."""
        return np.where(self.change[window] <= time, self.after[window], self.before[window])

    def coarse_at(self, time: float) -> NDArray[np.float32]:
        """Return the fractions of all coarse cells at a time, shape (7, coarse rows, coarse columns)."""
        share = np.float32(time)
        return (1 - share) * self.coarse[0] + share * self.coarse[1]


def read_cube(folder: Path) -> xr.Dataset:
    """Read the maps as a cube: `land_cover` (time, y, x) and `landform` (y, x), in the codes of the files.

    Raises
    ------
    DataError
        When a file is missing or is no single-band picture, or the files differ in shape.
    """
    pictures = [_read(folder / name) for name in FILES]
    shapes = {picture.shape for picture in pictures}
    if len(shapes) > 1:
        raise DataError(f"The maps in '{folder}' differ in shape: {sorted(shapes)}; they must lie on one grid.")
    rows, columns = pictures[0].shape
    return xr.Dataset(
        {"land_cover": (("time", "y", "x"), np.stack(pictures[:2])), "landform": (("y", "x"), pictures[2])},
        coords={
            "time": [2001, 2015],
            "y": ("y", -PIXEL * (np.arange(rows) + 0.5), {"units": "m", "long_name": "southward distance, negative"}),
            "x": ("x", PIXEL * (np.arange(columns) + 0.5), {"units": "m", "long_name": "eastward distance"}),
        },
    )


def _read(path: Path) -> ClassMap:
    if not path.is_file():
        raise DataError(f"The training data lack '{path.name}' in '{path.parent}'.")
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = _MOST_PIXELS
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise DataError(f"'{path.name}' holds {pixels.dtype} of shape {pixels.shape}, not one byte a pixel.")
    return pixels


def prepare(cube: xr.Dataset) -> Maps:
    """Return the maps by class numbers, padded with sea to whole coarse cells, with their coarse fractions.

    Raises
    ------
    DataError
        When a map holds an unknown code, or land in one year and none in the other.
    """
    before, after = (_numbers(cube["land_cover"].sel(time=year).to_numpy(), str(year)) for year in (2001, 2015))
    if ((before == SEA) != (after == SEA)).any():
        where = tuple(int(i) for i in np.argwhere((before == SEA) != (after == SEA))[0])
        raise DataError(f"The pixel {where} is land in one of the maps and class 255 (none) in the other.")
    landform = cube["landform"].to_numpy()
    landform = np.where(landform == NO_LANDFORM, 0, landform).astype(np.uint8)
    if landform.max() >= N_LANDFORMS:
        raise DataError(f"The landforms hold the code {landform.max()}; known are 1 to {N_LANDFORMS - 1}, and 255.")
    before, after, landform = (_whole_cells(layer) for layer in (before, after, landform))
    coarse = np.stack([coarse_fractions(layer) for layer in (before, after)])
    return Maps(before, after, landform, change_times(before, after), coarse)


def _numbers(codes: ClassMap, what: str) -> ClassMap:
    known: NDArray[np.uint8] = np.full(256, N_CLASSES, np.uint8)
    known[list(CLASSES)] = np.arange(N_CLASSES)
    numbers = known[codes]
    if (numbers == N_CLASSES).any():
        unknown = sorted({int(code) for code in np.unique(codes[numbers == N_CLASSES])})
        raise DataError(f"The map of {what} holds the codes {unknown}; known are {sorted(CLASSES)}.")
    return numbers


def _whole_cells(layer: ClassMap) -> ClassMap:
    """Return a layer with rows and columns of 0 (sea, no landform) appended, up to whole coarse cells."""
    rows, columns = layer.shape
    return np.pad(layer, ((0, -rows % CELL), (0, -columns % CELL)))


def coarse_fractions(numbers: ClassMap) -> NDArray[np.float32]:
    """Return the fraction of each land class in the land of each coarse cell; 0 in a cell without land.

    A class that a cell lacks has the fraction 0 there.
    """
    counts = np.stack([block_sums(numbers == 1 + land, CELL) for land in range(N_LAND)])
    return (counts / np.maximum(counts.sum(axis=0), 1.0)).astype(np.float32)


def change_times(before: ClassMap, after: ClassMap) -> NDArray[np.float32]:
    """Return after which share of the time each pixel changes, in (0, 1]; 2 where it does not change.

    In each coarse cell the pixels with the same change take turns: first those nearest to where their new class was.
    """
    times = np.full(before.shape, 2.0, np.float32)
    y, x = np.nonzero(before != after)
    distance = np.zeros(y.size)
    for number in np.unique(after[y, x]):
        turned = after[y, x] == number
        rim = _rim(before == number)
        if rim.size:
            distance[turned] = KDTree(rim).query(np.column_stack([y, x])[turned])[0]
    cell = (y // CELL).astype(np.int64) * (before.shape[1] // CELL + 1) + x // CELL
    kind = (cell * N_CLASSES + before[y, x]) * N_CLASSES + after[y, x]
    order = np.lexsort((x, y, distance, kind))  # the last key counts first
    starts = np.flatnonzero(np.diff(kind[order], prepend=-1))
    lengths = np.diff(starts, append=order.size)
    rank = np.arange(order.size) - np.repeat(starts, lengths)
    times[y[order], x[order]] = (rank + 1) / np.repeat(lengths, lengths)
    return times


def _rim(pixels: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return rows and columns of the pixels that have a neighbour which is none, shape (n, 2)."""
    inner = binary_erosion(pixels, border_value=1)
    return np.argwhere(pixels & ~inner)
