# SPDX-License-Identifier: Apache-2.0
"""The recorded cube: what the host gave and got back, in its units, on the chosen cells, over restarts and ranks."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from faults.processes import full_disk
from refusal import refused
from small_emulators import Product, field, write, write_carbon, write_echo

from coupler_plugin import Coupler, Status
from coupler_plugin.noise import normal, uniform

xarray = pytest.importorskip("xarray")

Couple = Callable[..., Coupler]
HAS_ZARR = find_spec("zarr") is not None
FORMATS = ["nc", pytest.param("zarr", marks=pytest.mark.skipif(not HAS_ZARR, reason="needs zarr"))]


def opened(path: Path) -> object:
    with xarray.open_dataset(path, engine="zarr" if path.suffix == ".zarr" else None, decode_times=False) as file:
        return file.load()


def run(coupler: Coupler, first: int, last: int, cells: int = 3) -> None:
    """Step six-hourly: temperature is the number of the step [degC] plus a tenth of the cell's place."""
    tas, rsds = np.zeros(cells, np.float32), np.zeros(cells)
    coupler.bind("tas", tas, "degC")
    coupler.bind("rsds", rsds)
    for step in range(first, last):
        tas[:] = step + 0.1 * np.arange(cells)
        rsds[:] = 2.0 * step
        coupler.step()
    coupler.finalize()


@pytest.mark.parametrize("suffix", FORMATS)
def test_cube_holds_what_the_emulator_met_and_gave(couple: Couple, tmp_path: Path, suffix: str) -> None:
    inputs = [field("tas", "K"), field("rsds", "W m-2", aggregate="max"), field("day_length", "h"), field("co2", "ppm")]
    product = write(
        tmp_path / "product.pt", Product(), inputs, [field("lai", "1", size=4)], static=[field("snw", "mm", size=4)],
        every="1d",
    )  # fmt: skip
    coupler = couple(
        product, dt=21_600.0, record={"file": f"out/cube.{suffix}"}, constants={"co2": "370 ppm"}, restart={}
    )
    coupler.bind("snw", np.arange(12.0).reshape(3, 4))
    run(coupler, 0, 4 * 40)
    cube = opened(tmp_path / f"out/cube.{suffix}")
    days, place = np.arange(40)[:, None], np.arange(3)
    samples = [(4 * days + k + 0.1 * place).astype(np.float32).astype(float) for k in range(4)]
    np.testing.assert_array_equal(cube.tas, sum(samples) / 4)
    np.testing.assert_array_equal(cube.rsds_max, np.broadcast_to(2.0 * (4 * days + 3), (40, 3)))
    np.testing.assert_array_equal(cube.snw, np.arange(12.0).reshape(3, 4))
    assert (cube.tas.units, cube.tas.cell_methods, cube.rsds_max.cell_methods) == (
        "degC", "time: mean", "time: maximum",
    )  # fmt: skip
    assert (float(cube.co2), cube.co2.units, cube.co2.role) == (370.0, "ppm", "constant")
    assert cube.lai.dims == ("time", "cell", "level_4")
    np.testing.assert_allclose(cube.lai[:, :, 1], cube.rsds_max * cube.snw[:, 1], rtol=1e-6)
    np.testing.assert_array_equal(cube.time_bounds[:, 1], np.arange(1, 41))
    assert {name: cube[name].role for name in ("tas", "day_length", "snw", "lai")} == {
        "tas": "input", "day_length": "derived", "snw": "static", "lai": "output",
    }  # fmt: skip


@pytest.mark.parametrize("suffix", FORMATS)
def test_run_in_two_parts_records_what_one_run_does(couple: Couple, tmp_path: Path, suffix: str) -> None:
    carbon = write_carbon(tmp_path / "carbon.pt")
    record = {"file": f"cube.{suffix}", "every": "12h"}
    settings = {"dt": 21_600.0, "record": record, "restart": {"every": "1d", "keep": 30}}
    run(couple(carbon, dt=21_600.0, record={**record, "file": f"whole.{suffix}"}), 0, 4 * 40)
    run(couple(carbon, **settings), 0, 4 * 20)  # two days too far, which the second part writes again
    run(couple(carbon, start="2001-01-19", **settings), 4 * 18, 4 * 40)
    whole, joined = opened(tmp_path / f"whole.{suffix}"), opened(tmp_path / f"cube.{suffix}")
    assert joined.equals(whole)
    assert joined.sizes["time"] == 80


def test_interval_longer_than_a_step_of_the_emulator_has_means_of_its_answers(couple: Couple, tmp_path: Path) -> None:
    emulator = write_echo(tmp_path / "echo.pt", field("tas", "degC"), field("lai", "1"), every="6h")
    run(couple(emulator, dt=21_600.0, record={"file": "cube.nc", "every": "1d"}), 0, 8)
    np.testing.assert_allclose(opened(tmp_path / "cube.nc").lai[:, 0], [1.5, 5.5])


def test_record_begins_where_it_is_told_and_takes_listed_fields_only(couple: Couple, tmp_path: Path) -> None:
    carbon = write_carbon(tmp_path / "carbon.pt")
    record = {"file": "cube.nc", "fields": ["t2m", "nee", "pr"], "from": "2001-01-03"}
    coupler = couple(carbon, dt=21_600.0, record=record)
    coupler.bind("pr", np.ones(3))
    coupler.bind("gpp", np.ones(3))
    coupler.bind("reco", np.ones(3))
    run(coupler, 0, 4 * 5)
    cube = opened(tmp_path / "cube.nc")
    assert cube.time_bounds[:, 0].values.tolist() == [2, 3, 4]
    assert {name for name in cube if cube[name].dims == ("time", "cell")} == {"tas", "nee", "pr"}
    assert cube.pr.role == "host"


def test_host_without_emulators_records_what_is_listed(couple: Couple, tmp_path: Path) -> None:
    run(couple([], dt=21_600.0, record={"file": "cube.nc", "fields": ["tas"]}), 0, 8)
    np.testing.assert_allclose(opened(tmp_path / "cube.nc").tas[:, 0], [1.5, 5.5])


def test_shadow_records_the_answers_of_the_host(couple: Couple, tmp_path: Path) -> None:
    emulator = write_echo(tmp_path / "echo.pt", field("tas", "degC"), field("lai", "1"), every="1d")
    coupler = couple({"model": emulator, "mode": "shadow"}, dt=21_600.0, record={"file": "cube.nc"})
    coupler.bind("lai", np.full(3, 7.0))
    run(coupler, 0, 8)
    cube = opened(tmp_path / "cube.nc")
    assert cube.lai.role == "output"
    np.testing.assert_array_equal(cube.lai, 7.0)


# --- cells ----------------------------------------------------------------------------------------------------


def test_fraction_takes_the_same_cells_whatever_their_order(couple: Couple, tmp_path: Path) -> None:
    chosen = []
    for name, ids in (("a.nc", np.arange(1, 201)), ("b.nc", np.arange(200, 0, -1))):
        coupler = couple([], cells=None, dt=21_600.0, record={"file": name, "fields": ["tas"], "fraction": 0.25})
        coupler.set_cells(ids, ids * 1.0, ids * 0.1, ids * 1e6)
        run(coupler, 0, 4, cells=200)
        cube = opened(tmp_path / name)
        chosen.append(cube.id.values.tolist())
        np.testing.assert_array_equal(cube.cell_area, cube.id * 1e6)
    assert chosen[0] == chosen[1]
    assert 30 < len(chosen[0]) < 70


def test_listed_cells_are_recorded(couple: Couple, tmp_path: Path) -> None:
    run(couple([], dt=21_600.0, record={"file": "cube.nc", "fields": ["tas"], "cells": [3, 1]}), 0, 4)
    assert opened(tmp_path / "cube.nc").id.values.tolist() == [1, 3]


def test_listed_cell_that_is_not_there_is_refused(couple: Couple) -> None:
    with refused(Status.CELLS, "lists 2 ids", "1 are cells"):
        run(couple([], dt=21_600.0, record={"file": "cube.nc", "fields": ["tas"], "cells": [3, 9]}), 0, 4)


def test_field_that_nobody_gives_is_refused(couple: Couple) -> None:
    with refused(Status.FIELD, "'pr'", "record"):
        run(couple([], dt=21_600.0, record={"file": "cube.nc", "fields": ["pr"]}), 0, 4)


def test_unknown_field_is_refused_with_its_line(couple: Couple) -> None:
    with refused(Status.FIELD, "coupling.yml:", "record.fields.0", "'tass'"):
        couple([], record={"file": "cube.nc", "fields": ["tass"]})


def test_file_that_cannot_be_created_is_an_error_of_the_first_step(couple: Couple, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("not a folder")
    with refused(Status.IO, "out/cube.nc"):
        run(couple([], record={"file": "out/cube.nc", "fields": ["tas"]}), 0, 1)


def test_cube_of_other_cells_is_not_continued(couple: Couple, tmp_path: Path) -> None:
    carbon = write_carbon(tmp_path / "carbon.pt")
    settings = {"dt": 21_600.0, "record": {"file": "cube.nc"}, "restart": {"every": "1d"}}
    run(couple(carbon, **settings), 0, 4)
    settings["record"] = {"file": "cube.nc", "cells": [2]}
    with refused(Status.IO, "cube.nc", "other cells"):
        run(couple(carbon, start="2001-01-02", **settings), 4, 8)


# --- numbers by cell ------------------------------------------------------------------------------------------


def test_numbers_of_a_cell_do_not_depend_on_the_other_cells() -> None:
    ids = np.arange(1, 1001)
    whole = uniform(ids, 5, "tas", 2, 7)
    for part in (ids[::-1], ids[17:18], ids[100:300:7]):
        np.testing.assert_array_equal(uniform(part, 5, "tas", 2, 7), whole[part - 1])
    assert uniform(ids[:0], 5, "tas").size == 0


def test_numbers_differ_with_seed_name_and_counters() -> None:
    ids = np.arange(1, 9)
    draws = [uniform(ids, *key) for key in ((5, "tas", 2, 7), (6, "tas", 2, 7), (5, "pr", 2, 7), (5, "tas", 7, 2))]
    draws += [uniform(ids, 5, "tas"), uniform(ids + 8, 5, "tas")]
    assert len({draw.tobytes() for draw in draws}) == len(draws)


def test_normal_numbers_are_normal_and_uncorrelated_between_cells() -> None:
    from scipy.stats import kstest

    numbers = normal(np.arange(1, 20_001), 1, "tas", 3)
    assert kstest(numbers, "norm").pvalue > 0.01
    assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.02


def test_full_disk_is_an_error_that_says_how_much_room_there_is(couple: Couple) -> None:
    n = 50_000
    coupler = couple([], cells=None, record={"file": "cube.nc", "fields": ["tas"], "every": "1h"})
    coupler.set_cells(np.arange(1, n + 1), np.zeros(n), np.zeros(n))
    tas = np.zeros(n)
    coupler.bind("tas", tas)
    random = np.random.default_rng(0)
    with full_disk(3_000_000), refused(Status.IO, "cube.nc", "GB are free there"):
        for _ in range(40):
            tas[:] = random.normal(size=n)  # does not compress
            coupler.step()
