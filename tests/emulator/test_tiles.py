# SPDX-License-Identifier: Apache-2.0
"""Emulators that see tiles: what a cell sees around it, over seams and poles, and what comes back of a finer grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import torch
from refusal import refused
from small_emulators import Around, field, write, write_tiled
from torch import nn

from coupler_plugin import Coupler, Status
from coupler_plugin.regrid import latlon

Couple = Callable[..., Coupler]
GLOBE = latlon(10.0)
HOST = {"host_grid": {"latlon": 10.0}, "edges": "latitude", "methods": {"pr": "conservative"}}


class Finer(nn.Module):
    """Each pixel becomes two rows and columns, of which the first is one more than the last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = torch.repeat_interleave(torch.repeat_interleave(x, 2, 2), 2, 3)
        fine[:, :, 0::2, 0::2] += 0.5
        fine[:, :, 1::2, 1::2] -= 0.5
        return fine


def write_around(path: Path, **tile: Any) -> Path:
    about = {"kind": "tile", "tile": {"size": [10, 12], "halo": 2, **tile}, "grid": {"latlon": 10.0}}
    return write(path, Around(), [field("pr", "mm d-1")], [field("evspsbl", "mm d-1")], **about)


def on_host(coupler: Coupler, cells: np.ndarray, **values: Any) -> dict[str, np.ndarray]:
    coupler.set_cells(GLOBE.ids[cells], GLOBE.lon[cells], GLOBE.lat[cells])
    arrays = {name: np.broadcast_to(value, cells.size).astype(np.float64) for name, value in values.items()}
    for name, array in arrays.items():
        coupler.bind(name, array)
    return arrays


@pytest.mark.parametrize("blend", ["gaussian", "core"])
def test_cell_sees_its_neighbours_over_the_seam_and_the_poles(couple: Couple, tmp_path: Path, blend: str) -> None:
    coupler = couple(write_around(tmp_path / "a.pt", blend=blend), cells=None, regrid=HOST)
    rain = 1e-5 + 1e-7 * np.random.default_rng(1).random(GLOBE.n)
    arrays = on_host(coupler, np.arange(GLOBE.n), pr=rain, evspsbl=0.0)
    coupler.step()
    y = rain.reshape(GLOBE.shape)
    over = [np.roll(y[row], 18)[np.newaxis] for row in (0, -1)]  # half a turn away
    whole = np.concatenate([over[0], y, over[1]])
    expected = (y + whole[:-2] + whole[2:] + np.roll(y, 1, axis=1) + np.roll(y, -1, axis=1)) / 5.0
    if blend == "core":
        np.testing.assert_allclose(arrays["evspsbl"], expected.ravel(), rtol=1e-6)
    else:  # near the rim of a tile a pixel sees zeros beyond it, and has little weight
        assert np.abs(arrays["evspsbl"] / expected.ravel() - 1.0).max() < 0.05
        assert np.abs(arrays["evspsbl"] / expected.ravel() - 1.0).min() < 1e-4


def test_tiles_without_a_cell_of_the_host_are_skipped(couple: Couple, tmp_path: Path) -> None:
    one_by_one = {"model": write_around(tmp_path / "a.pt", blend="core"), "block": 128}
    coupler = couple(dict(one_by_one), cells=None, regrid=HOST)
    here = np.flatnonzero((GLOBE.lon < 60.0) & (np.abs(GLOBE.lat) < 25.0))
    arrays = on_host(coupler, here, pr=2e-5, evspsbl=-1.0)
    coupler.step()
    whole = couple(dict(one_by_one), cells=None, regrid=HOST)
    on_host(whole, np.arange(GLOBE.n), pr=2e-5, evspsbl=-1.0)
    whole.step()
    assert 0 < len(coupler.emulators[0].block_sizes) < len(whole.emulators[0].block_sizes) == 15
    inner = (np.abs(GLOBE.lat[here]) < 15.0) & (GLOBE.lon[here] > 10.0) & (GLOBE.lon[here] < 50.0)
    np.testing.assert_allclose(arrays["evspsbl"][inner], 2e-5, rtol=1e-6)


def test_answers_of_a_finer_grid_come_back_as_means(couple: Couple, tmp_path: Path) -> None:
    about = {"kind": "tile", "tile": {"size": [10, 12], "halo": 2, "scale": 2}, "grid": {"latlon": 20.0}}
    model = write(tmp_path / "f.pt", Finer(), [field("pr", "mm d-1")], [field("evspsbl", "mm d-1")], **about)
    coupler = couple(model, cells=None, regrid=HOST)
    arrays = on_host(coupler, np.arange(GLOBE.n), pr=2e-5, evspsbl=-1.0)
    coupler.step()
    change = (arrays["evspsbl"] - 2e-5).reshape(GLOBE.shape) * 86400.0
    np.testing.assert_allclose(change[0::2, 0::2], 0.5, atol=1e-6)
    np.testing.assert_allclose(change[1::2, 1::2], -0.5, atol=1e-6)
    np.testing.assert_allclose(change[0::2, 1::2], 0.0, atol=1e-6)


def test_static_field_of_a_file_is_used(couple: Couple, tmp_path: Path) -> None:
    answers = []
    for height in (0.0, 2.0):
        path = tmp_path / f"height{height:g}.nc"
        write_static(path, np.full(GLOBE.shape, height))
        entry = {"model": write_tiled(tmp_path / "t.pt", field("tsl", "K")), "grid": {"latlon": 10.0}, "static": path}
        coupler = couple([{**entry, "static": str(path)}], cells=None, regrid=HOST)
        arrays = on_host(coupler, np.arange(GLOBE.n), tas=280.0, tsl=0.0)
        coupler.step()
        answers.append(arrays["tsl"])
    assert np.abs(answers[1] - answers[0]).min() > 1e-3


def write_static(path: Path, values: np.ndarray) -> None:
    with netCDF4.Dataset(path, "w") as file:
        for name, size in zip(("y", "x"), values.shape, strict=True):
            file.createDimension(name, size)
        variable = file.createVariable("orog", "f8", ("y", "x"))
        variable.units = "km"
        variable[:] = values


def test_static_file_of_another_grid_is_refused(couple: Couple, tmp_path: Path) -> None:
    write_static(tmp_path / "small.nc", np.zeros((5, 6)))
    model = write_tiled(tmp_path / "t.pt", field("tsl", "K"))
    coupler = couple(
        {"model": model, "grid": {"latlon": 10.0}, "static": str(tmp_path / "small.nc")}, cells=None, regrid=HOST
    )
    on_host(coupler, np.arange(GLOBE.n), tas=280.0, tsl=0.0)
    with refused(Status.ARRAY, "small.nc", "'orog'", "(5, 6)", "648"):
        coupler.step()


def test_tiles_need_a_grid(couple: Couple, tmp_path: Path) -> None:
    with refused(Status.CONFIG, "emulator 't'", "tiles", "grid:"):
        couple(write_tiled(tmp_path / "t.pt", field("tsl", "K")), cells=None)


def test_grid_without_rows_is_refused(couple: Couple, tmp_path: Path) -> None:
    cells = tmp_path / "cells.nc"
    with netCDF4.Dataset(cells, "w") as file:
        file.createDimension("cell", 3)
        for name, units in (("lon", "degrees_east"), ("lat", "degrees_north")):
            variable = file.createVariable(name, "f8", ("cell",))
            variable.units = units
            variable[:] = [1.0, 2.0, 4.0]
    model = {"model": write_tiled(tmp_path / "t.pt", field("tsl", "K")), "grid": {"file": str(cells)}}
    coupler = couple(model, cells=None, regrid=HOST)
    on_host(coupler, np.arange(GLOBE.n), tas=280.0, tsl=0.0, orog=0.0)
    with refused(Status.CONFIG, "emulator 't'", "no rows and columns"):
        coupler.step()


def test_module_that_answers_in_another_shape_is_refused(couple: Couple, tmp_path: Path) -> None:
    coupler = couple(write_around(tmp_path / "a.pt", scale=2), cells=None, regrid=HOST)
    on_host(coupler, np.arange(GLOBE.n), pr=0.0, evspsbl=0.0)
    with refused(Status.MODEL, "a.pt", "(8, 1, 10, 12)", "(8, 1, 20, 24)"):
        coupler.step()
