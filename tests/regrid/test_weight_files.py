# SPDX-License-Identifier: Apache-2.0
"""Weight files: what is written is read again, by us and by xESMF; files of others; damage, other grids, no room."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr

from coupler_plugin import Status
from coupler_plugin.regrid import Grid, Links, WeightFile, Weights, latlon, make_weights, read_weights, write_weights
from tests.refusal import refused
from tests.regrid.engines_here import has_esmf
from tests.regrid.scrip_weights import write_scrip_weights

SRC, DST = latlon(30.0), latlon(20.0)
REGION = latlon(20.0, (0.0, -90.0, 180.0, 90.0))


@pytest.fixture
def conservative() -> Weights:
    return make_weights(SRC, DST, "conservative", edges="latitude", engine="builtin")


def test_weights_survive_a_file(tmp_path: Path, conservative: Weights) -> None:
    write_weights(tmp_path / "w.nc", conservative)
    found = read_weights(tmp_path / "w.nc", SRC, DST)
    assert (found.matrix() != conservative.matrix()).nnz == 0
    np.testing.assert_array_equal(found.links.values, conservative.links.values)
    assert found.src_shape == SRC.shape
    for name, values in conservative.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], values)
    assert {**found.description, **conservative.description} == found.description


def test_file_has_the_layout_of_xesmf_and_esmf(tmp_path: Path) -> None:
    weights = make_weights(REGION, DST, "bilinear", engine="builtin")
    assert weights.unmapped.size
    write_weights(tmp_path / "w.nc", weights)
    with xr.open_dataset(tmp_path / "w.nc") as data:
        assert {"row", "col", "S"} <= set(data.variables)
        assert data["S"].dims == data["row"].dims == data["col"].dims == ("n_s",)
        assert dict(data.sizes)["n_a"] == REGION.n
        assert data["src_grid_dims"].values.tolist() == [REGION.shape[1], REGION.shape[0]]
        row, col, values = (data[name].values for name in ("row", "col", "S"))
    assert row.min() == col.min() == 1
    assert np.all(np.diff(row) >= 0)
    # xESMF marks destination cells without a value by one weight of NaN from the first source.
    np.testing.assert_array_equal(row[np.isnan(values)] - 1, weights.unmapped)
    assert np.all(col[np.isnan(values)] == 1)


@pytest.mark.skipif(not has_esmf(), reason="xESMF needs esmpy")
def test_file_loads_in_xesmf(tmp_path: Path) -> None:
    xesmf = pytest.importorskip("xesmf")
    weights = make_weights(SRC, DST, "bilinear", engine="builtin")
    write_weights(tmp_path / "w.nc", weights)
    grids = [xr.Dataset({"lon": grid.lon[: grid.shape[1]], "lat": grid.lat[:: grid.shape[1]]}) for grid in (SRC, DST)]
    regridder = xesmf.Regridder(*grids, "bilinear", periodic=True, weights=str(tmp_path / "w.nc"))
    values = np.random.default_rng(1).normal(size=SRC.shape)
    ours = (weights.matrix() @ values.ravel()).reshape(DST.shape)
    np.testing.assert_allclose(regridder(values), ours, rtol=0.0, atol=1e-14)


def test_ids_are_kept(tmp_path: Path) -> None:
    dst = replace(DST, ids=np.arange(DST.n) * 3 + 5)
    write_weights(tmp_path / "w.nc", make_weights(SRC, dst, "bilinear", engine="builtin"))
    with WeightFile(tmp_path / "w.nc") as file:
        assert file.ids("a") is None
        np.testing.assert_array_equal(file.ids("b"), dst.ids)


def test_slabs_are_the_whole(tmp_path: Path, conservative: Weights) -> None:
    write_weights(tmp_path / "w.nc", conservative)
    with WeightFile(tmp_path / "w.nc") as file:
        parts = list(file.slabs(7))
    assert all(part.n <= 7 for part in parts)
    np.testing.assert_array_equal(Links.concatenate(parts).values, conservative.links.values)


Write = Callable[..., Path]


@pytest.fixture
def write_scrip(tmp_path: Path) -> Write:
    """Return a function that writes links as SCRIP and CDO do."""

    def write(links: Links, normalization: str = "fracarea", columns: int = 1, shift: float = 0.0) -> Path:
        return write_scrip_weights(tmp_path / "scrip.nc", SRC, DST, links, normalization, columns, shift)

    return write


def test_scrip_files_are_read(write_scrip: Write, conservative: Weights) -> None:
    order = np.random.default_rng(1).permutation(conservative.links.n)
    found = read_weights(write_scrip(conservative.links.where(order)), SRC, DST)
    assert (found.matrix() != conservative.matrix()).nnz == 0
    np.testing.assert_array_equal(found.links.rows, conservative.links.rows)


def test_scrip_weights_without_normalisation_are_divided_by_areas(write_scrip: Write, conservative: Weights) -> None:
    links = conservative.links
    areas = Links(links.rows, links.cols, links.values * DST.areas("latitude")[links.rows])
    found = read_weights(write_scrip(areas, "none"), SRC, DST)
    np.testing.assert_allclose(found.links.values, links.values, rtol=1e-14)


def test_scrip_weights_of_second_order_are_refused(write_scrip: Write, conservative: Weights) -> None:
    with refused(Status.IO, "second order", "num_wgts"):
        read_weights(write_scrip(conservative.links, columns=3), SRC, DST)


def test_files_for_other_grids_are_refused(tmp_path: Path, write_scrip: Write, conservative: Weights) -> None:
    write_weights(tmp_path / "w.nc", conservative)
    with refused(Status.CELLS, "other grids than 'latlon:10'", "72 cells there, the grid 648"):
        read_weights(tmp_path / "w.nc", latlon(10.0), DST)
    turned = latlon(20.0, (-180.0, -90.0, 180.0, 90.0))
    with refused(Status.CELLS, "other grids", "its cell 1 lies at 10.0000 E -80.0000 N", "162 cells differ"):
        read_weights(tmp_path / "w.nc", SRC, turned)
    with refused(Status.CELLS, "other grids than 'latlon:30'"):
        read_weights(write_scrip(conservative.links, shift=0.01), SRC, DST)


def bare(path: Path, row: Any, col: Any, values: Any) -> Path:
    """Write a file as xESMF does: three variables and nothing else."""
    xr.Dataset({"row": ("n_s", row), "col": ("n_s", col), "S": ("n_s", values)}).to_netcdf(path)
    return path


def test_bare_files_must_lie_within_the_grids(tmp_path: Path) -> None:
    path = bare(tmp_path / "w.nc", [1, 2], [1, SRC.n + 1], [1.0, 1.0])
    with refused(Status.CELLS, "has a cell 73 there, the grid 72 cells"):
        read_weights(path, SRC, DST)
    with refused(Status.IO, "addresses below 1"):
        read_weights(bare(tmp_path / "v.nc", [0], [1], [1.0]), SRC, DST)


def test_unmapped_rows_of_xesmf_have_no_links(tmp_path: Path) -> None:
    found = read_weights(bare(tmp_path / "w.nc", [1, 2], [5, 1], [1.0, np.nan]), SRC, DST)
    assert found.links.n == 1
    assert found.unmapped.size == DST.n - 1


def test_other_files_are_refused(tmp_path: Path) -> None:
    xr.Dataset({"tas": ("x", [1.0])}).to_netcdf(tmp_path / "tas.nc")
    with refused(Status.IO, "no variable 'row'", "known layouts: ESMF, xESMF, SCRIP, CDO, YAC"):
        read_weights(tmp_path / "tas.nc", SRC, DST)
    with refused(Status.IO, "nowhere.nc", "cannot be read"):
        read_weights(tmp_path / "nowhere.nc", SRC, DST)


def test_damage_is_noticed(tmp_path: Path, conservative: Weights) -> None:
    path = tmp_path / "w.nc"
    write_weights(path, conservative)
    with netCDF4.Dataset(path, "a") as data:
        data["S"][3] *= 1.0 + 1e-15
    with refused(Status.IO, "damaged", "check sum"):
        read_weights(path, SRC, DST)
    write_weights(path, conservative)
    path.write_bytes(path.read_bytes()[:-4000])
    with refused(Status.IO, "w.nc"):
        read_weights(path, SRC, DST)


def test_no_room_leaves_nothing_behind(tmp_path: Path, conservative: Weights) -> None:
    write_weights(tmp_path / "before.nc", conservative)
    before = (tmp_path / "before.nc").read_bytes()
    program = f"""
import resource
from pathlib import Path
from coupler_plugin import CouplerError
from coupler_plugin.regrid import latlon, make_weights, write_weights
weights = make_weights(latlon(30.0), latlon(20.0), "conservative", edges="latitude", engine="builtin")
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, {resource.RLIM_INFINITY}))
for name in ("new.nc", "before.nc"):
    try:
        write_weights(Path(r"{tmp_path}") / name, weights)
    except CouplerError as error:
        print(error.status.name, error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == [
        f"IO weight file '{tmp_path}/{name}' cannot be written: [Errno 27] File too large"
        for name in ("new.nc", "before.nc")
    ], done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["before.nc"]
    assert (tmp_path / "before.nc").read_bytes() == before


def test_folder_that_cannot_be_written(tmp_path: Path, conservative: Weights) -> None:
    (tmp_path / "file").write_text("")
    with refused(Status.IO, "cannot be written"):
        write_weights(tmp_path / "file" / "w.nc", conservative)


def test_empty_weights_can_be_kept(tmp_path: Path) -> None:
    far = Grid("far", np.array([10.0]), np.array([-80.0]), (1,))
    weights = make_weights(latlon(10.0, (0.0, 0.0, 50.0, 50.0)), far, "bilinear", engine="builtin")
    write_weights(tmp_path / "w.nc", weights)
    with WeightFile(tmp_path / "w.nc") as file:
        assert file.links().n == 0
