# SPDX-License-Identifier: Apache-2.0
"""Cubes of data on NetCDF or Zarr, split by blocks of space and by time, so that no pixel is on both sides.

Neighbouring pixels are alike: dealing out single pixels would test what was learned by heart. Whole blocks of them are
dealt out, and where a block meets another one a margin of pixels takes no part in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from torchscript_models.errors import DataError


def open_cube(path: Path) -> xr.Dataset:
    """Open a NetCDF file, several of them by a pattern, or a Zarr store; values are read when they are asked for.

    Raises
    ------
    DataError
        When there is none.
    """
    if path.is_dir():
        return xr.open_zarr(path, chunks=None)
    files = sorted(path.parent.glob(path.name))
    if not files:
        raise DataError(f"There is no cube '{path.name}' in '{path.parent}'.")
    return xr.open_dataset(files[0]) if len(files) == 1 else xr.combine_by_coords([xr.open_dataset(f) for f in files])


def block_folds(cube: xr.Dataset, blocks: Mapping[str, int], n: int, seed: int) -> xr.DataArray:
    """Deal the blocks of a cube out to `n` folds.

    Parameters
    ----------
    blocks : mapping
        Pixels of a block along each dimension of space, such as ``{"lat": 8, "lon": 8}``.

    Returns
    -------
    DataArray
        The fold of each pixel, on these dimensions.
    """
    sizes = {dim: cube.sizes[dim] for dim in blocks}
    counts = [-(-sizes[dim] // block) for dim, block in blocks.items()]
    dealt = np.random.default_rng(seed).permutation(np.arange(np.prod(counts)) % n).reshape(counts)
    places = np.ix_(*(np.arange(sizes[dim]) // block for dim, block in blocks.items()))
    coords = {dim: cube[dim] for dim in blocks if dim in cube.coords}
    return xr.DataArray(dealt[places], coords=coords, dims=list(blocks), name="fold")


def split(
    fold: xr.DataArray, held_out: int, times: xr.DataArray, test_from: object, margin: int = 1
) -> tuple[xr.DataArray, xr.DataArray]:
    """Split space and time: train on other blocks before a time, test on the blocks held out after it.

    What lies on the other blocks after that time, on the held-out blocks before it, or in the margin is on neither
    side: a test pixel is one that training has not seen, at a time that it has not seen either.

    Parameters
    ----------
    fold : DataArray
        As `block_folds` gives it.
    held_out : int
        The fold to test on.
    times : DataArray
        The times of the cube.
    test_from : datetime
        The first time of the test.
    margin : int
        Pixels next to held-out blocks that are not trained on.

    Returns
    -------
    train, test : bool DataArray
        On the dimensions of `fold` and of time.
    """
    is_test = (fold == held_out).to_numpy()
    is_late = times >= test_from
    train = xr.DataArray(~widened(is_test, margin), coords=fold.coords, dims=fold.dims)
    test = xr.DataArray(is_test, coords=fold.coords, dims=fold.dims)
    return train & ~is_late, test & is_late


def check_split(train: xr.DataArray, test: xr.DataArray) -> None:
    """Raise ValueError when a pixel or a time is on both sides of a split."""
    space = [dim for dim in train.dims if dim != "time"]
    for what, others in (("pixels", ["time"]), ("times", space)):
        shared = int((train.any(others) & test.any(others)).sum())
        if shared:
            raise ValueError(f"{shared} {what} are on both sides of a split.")


def widened(mask: NDArray[np.bool_], margin: int) -> NDArray[np.bool_]:
    """Return the mask with `margin` more pixels around what is true, along all dimensions and corners."""
    return np.asarray(maximum_filter(mask, size=2 * margin + 1, mode="constant", cval=False))


def check_apart(seen: NDArray[np.bool_], held_out: NDArray[np.bool_], halo: int) -> None:
    """Raise ValueError when a training sample sees a held-out pixel, or one that the answer there depends on.

    Parameters
    ----------
    seen : bool array
        All pixels that any training sample takes in, with its own surroundings.
    held_out : bool array, the same shape
        Pixels that are scored.
    halo : int
        How far an answer looks around itself.
    """
    both = seen & widened(held_out, halo)
    if both.any():
        first = tuple(int(i) for i in np.argwhere(both)[0])
        raise ValueError(
            f"{int(both.sum())} pixels of training samples, the first at {first}, are held out, or within {halo} "
            "pixels of one that is."
        )


def block_sums(values: NDArray[np.generic], block: int) -> NDArray[np.float64]:
    """Return the sums over square blocks of a map; blocks at its end may be cut off."""
    rows, columns = (np.arange(0, n, block) for n in values.shape)
    return np.add.reduceat(np.add.reduceat(values, rows, axis=0, dtype=np.float64), columns, axis=1)
