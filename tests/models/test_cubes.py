# SPDX-License-Identifier: Apache-2.0
"""Cubes and their splits: no pixel on both sides, none beside a held-out one, the same from NetCDF and Zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas", reason="training needs the libraries of the extra 'train'")
xr = pytest.importorskip("xarray")

from torchscript_models.cubes import block_folds, check_split, open_cube, split  # noqa: E402
from torchscript_models.data import DataError, read_towers  # noqa: E402


@pytest.fixture(scope="module")
def cube() -> xr.Dataset:
    time = np.datetime64("2001-01-01") + np.arange(20) * np.timedelta64(1, "D")
    values = np.random.default_rng(0).normal(size=(20, 23, 30)).astype(np.float32)
    coords = {"time": time, "lat": np.linspace(-55, 55, 23), "lon": np.linspace(-145, 145, 30)}
    return xr.Dataset({"tas": (("time", "lat", "lon"), values)}, coords)


def test_netcdf_files_and_zarr_give_the_same_cube(cube: xr.Dataset, tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    cube.isel(time=slice(10)).to_netcdf(tmp_path / "a_1.nc")
    cube.isel(time=slice(10, None)).to_netcdf(tmp_path / "a_2.nc")
    cube.to_zarr(tmp_path / "a.zarr")
    for name in ("a_*.nc", "a.zarr"):
        xr.testing.assert_equal(open_cube(tmp_path / name).load(), cube)
    with pytest.raises(DataError, match=r"no cube 'b\.nc'"):
        open_cube(tmp_path / "b.nc")


@pytest.fixture(scope="module")
def days() -> Any:
    """Return days of two made-up towers with records of different length, as a table."""
    names = ["TA_F", "SW_IN_F", "VPD_F", "P_F", "GPP_NT_VUT_REF", "RECO_NT_VUT_REF", "NEE_VUT_REF", "NEE_VUT_REF_QC"]
    rng, tables = np.random.default_rng(0), []
    for site, first, length in (("AA-One", "2001-03-01", 40), ("BB-Two", "2001-01-01", 25)):
        table = pd.DataFrame(rng.uniform(0.0, 1.0, (length, len(names))), columns=names)
        table.loc[5:7, names[4:]] = np.nan  # days without fluxes, whose weather is known
        tables.append(table.assign(site=site, TIMESTAMP=pd.date_range(first, periods=length)))
    return pd.concat(tables, ignore_index=True)


@pytest.mark.parametrize("form", ["nc", "zarr"])
def test_towers_are_the_same_from_a_table_and_from_a_cube(days: Any, form: str, tmp_path: Path) -> None:
    places = pd.DataFrame({"site": ["AA-One", "BB-Two"], "lat": [50.0, -20.0], "lon": 10.0, "igbp": ["GRA", "EBF"]})
    cube = days.set_index(["site", "TIMESTAMP"]).to_xarray()
    for folder in (tmp_path / "table", tmp_path / "cube"):
        folder.mkdir()
        places.to_csv(folder / "flux_daily_sites.csv", index=False)
    days.to_csv(tmp_path / "table" / "flux_daily.csv.gz", index=False)
    if form == "nc":
        cube.to_netcdf(tmp_path / "cube" / "flux_daily.nc")
    else:
        pytest.importorskip("zarr")
        cube.to_zarr(tmp_path / "cube" / "flux_daily.zarr")
    left, right = (read_towers(tmp_path / name) for name in ("table", "cube"))
    assert list(left) == list(right) == ["AA-One", "BB-Two"]
    for one, other in zip(left.values(), right.values(), strict=True):
        assert (one.lat, one.igbp) == (other.lat, other.igbp)
        assert one.days.equals(other.days)
        assert (one.quality == 0).sum() == 3
        for name in ("forcing", "fluxes", "quality"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_blocks_are_whole_and_dealt_out_evenly(cube: xr.Dataset) -> None:
    fold = block_folds(cube, {"lat": 4, "lon": 5}, 3, seed=1)
    assert fold.shape == (23, 30)
    for i in range(0, 23, 4):
        for j in range(0, 30, 5):
            assert len(np.unique(fold[i : i + 4, j : j + 5])) == 1
    assert set(np.unique(fold)) == {0, 1, 2}
    assert not np.array_equal(fold, block_folds(cube, {"lat": 4, "lon": 5}, 3, seed=2))


@pytest.mark.parametrize("held_out", range(3))
def test_no_pixel_and_no_time_is_on_both_sides(cube: xr.Dataset, held_out: int) -> None:
    fold = block_folds(cube, {"lat": 4, "lon": 5}, 3, seed=1)
    train, test = split(fold, held_out, cube["time"], np.datetime64("2001-01-15"), margin=1)
    check_split(train, test)
    assert train.any()
    assert test.any()
    tested, trained = test.any("time").to_numpy(), train.any("time").to_numpy()
    for i, j in np.argwhere(tested):
        assert not trained[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].any()


def test_a_pixel_on_both_sides_is_an_error(cube: xr.Dataset) -> None:
    fold = block_folds(cube, {"lat": 4, "lon": 5}, 3, seed=1)
    train, test = split(fold, 0, cube["time"], np.datetime64("2001-01-15"))
    pixel = np.argwhere(test.any("time").to_numpy())[0]
    train[dict(zip(train.dims, (*pixel, 0), strict=True))] = True
    with pytest.raises(ValueError, match="1 pixels are on both sides"):
        check_split(train, test)
