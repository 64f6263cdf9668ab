# SPDX-License-Identifier: Apache-2.0
"""Replay: the recorded emulator gives the recorded bits, another one is measured against them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from refusal import refused
from small_emulators import Affine, Product, Store, field, write, write_carbon, write_echo

from coupler_plugin import Coupler, Status
from coupler_plugin.cli import commands
from coupler_plugin.driver.replay import Difference, replay

xarray = pytest.importorskip("xarray")

Couple = Callable[..., Coupler]
TAS, LAI = field("tas", "degC"), field("lai", "1")


def run(coupler: Coupler, steps: int) -> None:
    """Step six-hourly with fields that differ in every cell and step."""
    cells = coupler.cells.n
    tas, rsds, snw = np.zeros(cells, np.float32), np.zeros(cells), np.zeros(cells)
    for name, array, units in (("tas", tas, "K"), ("rsds", rsds, "W m-2"), ("snw", snw, "mm")):
        coupler.bind(name, array, units)
    for step in range(steps):
        phase = 0.7 * np.arange(cells) + 0.26 * step
        tas[:] = 285 + 15 * np.sin(phase)
        rsds[:] = 300 + 290 * np.cos(phase)
        snw[:] = 5 + np.sin(3 * phase)
        coupler.step()
    coupler.finalize()


@pytest.mark.parametrize("every", ["1d", "6h"])
def test_recorded_emulators_give_the_recorded_bits(couple: Couple, tmp_path: Path, every: str) -> None:
    state = [{"name": "store", "size": 1, "initial": 2.0}]
    inputs = [field("lai", "1"), field("tas", "degC", aggregate="max"), field("day_length", "h")]
    emulators = [
        {"model": write_echo(tmp_path / "leaf.pt", TAS, LAI, every="1d"), "block": 32},
        {"model": write_carbon(tmp_path / "carbon.pt"), "every": "2d"},
        write(tmp_path / "affine.pt", Affine([[0.1], [0.2], [0.3]]), inputs, [field("mrso", "mm")], every="1d"),
        write(tmp_path / "store.pt", Store(0.9), [field("snw", "mm")], [field("snw", "mm")], state=state, every="1d"),
    ]
    run(couple(emulators, cells=50, dt=21_600.0, record={"file": "cube.nc", "every": every, "fraction": 0.5}), 4 * 20)
    recorded = {"leaf": "lai", "carbon": "gpp reco nee", "affine": "mrso", "store": "snw"}
    if every == "6h":
        del recorded["affine"]  # takes what 'leaf' gives once a day, of which the cube has four records
    for name, outputs in recorded.items():
        found = {one.name: one for one in replay(tmp_path / "cube.nc", tmp_path / f"{name}.pt")}
        assert found.keys() == set(outputs.split())
        for one in found.values():
            assert one.is_same, (name, one)
            assert one.largest == 0.0
            assert one.count > 100


def test_static_input_and_constant_come_from_the_cube(couple: Couple, tmp_path: Path) -> None:
    static = [field("orog", "m", size=2)]
    product = write(
        tmp_path / "p.pt", Product(), [TAS, field("co2", "ppm")], [field("lai", "1", size=2)], static=static
    )
    extra = [{"name": "orog", "long_name": "height of the surface", "units": "m"}]
    coupler = couple(product, record={"file": "cube.nc", "every": "1h"}, constants={"co2": "400 ppm"}, fields=extra)
    coupler.bind("orog", np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    run(coupler, 5)
    (one,) = replay(tmp_path / "cube.nc", product)
    assert one.is_same
    assert one.count == 5 * 3 * 2


def test_another_emulator_is_measured_in_the_units_of_the_cube(couple: Couple, tmp_path: Path) -> None:
    """A cube of temperature in kelvin; an emulator that is 2 degrees warmer by day, and one degree from noon on."""
    run(couple(write_echo(tmp_path / "a.pt", TAS, LAI), record={"file": "cube.nc", "every": "1h"}), 10)
    other = write(tmp_path / "b.pt", Affine([[1.0]], 2.0), [TAS], [LAI])
    (one,) = replay(tmp_path / "cube.nc", other)
    assert (one.name, one.units, one.count, one.is_same) == ("lai", "1", 30, False)
    assert [one.bias, one.rmse, one.largest] == pytest.approx([2.0, 2.0, 2.0], rel=1e-5)
    (late,) = replay(tmp_path / "cube.nc", other, from_="2001-01-01T08:00:00")
    assert late.count == 6


def test_difference_is_that_of_a_direct_computation() -> None:
    random = np.random.default_rng(1)
    one = Difference("x", "1")
    answers, recorded = random.normal(size=(5, 7)), random.normal(size=(5, 7))
    recorded[2, 3] = np.nan
    for answer, record in zip(answers, recorded, strict=True):
        one.add(answer, record)
    one.finish()
    difference = answers - recorded
    assert one.count == 34
    assert one.bias == pytest.approx(np.nanmean(difference))
    assert one.rmse == pytest.approx(np.sqrt(np.nanmean(difference**2)))
    assert one.largest == np.nanmax(np.abs(difference))


def test_command_prints_a_table_or_json(couple: Couple, tmp_path: Path) -> None:
    run(couple(write_echo(tmp_path / "a.pt", TAS, LAI), record={"file": "cube.nc", "every": "1h"}), 4)
    words = [str(tmp_path / "cube.nc"), str(tmp_path / "a.pt")]
    table = CliRunner().invoke(commands, ["replay", *words])
    assert table.exit_code == 0
    assert "lai" in table.output
    assert "yes" in table.output
    (entry,) = json.loads(CliRunner().invoke(commands, ["replay", *words, "--json"]).output)
    assert (entry["name"], entry["is_same"], entry["count"]) == ("lai", True, 12)


# --- what is refused ------------------------------------------------------------------------------------------


def test_file_that_is_no_cube_is_refused(tmp_path: Path) -> None:
    emulator = write_echo(tmp_path / "a.pt", TAS, LAI)
    xarray.Dataset({"tas": ("time", [1.0])}).to_netcdf(tmp_path / "other.nc")
    for name in ("other.nc", "nowhere.nc"):
        with refused(Status.IO, name, "no cube"):
            replay(tmp_path / name, emulator)


def test_input_that_was_not_recorded_is_refused(couple: Couple, tmp_path: Path) -> None:
    run(couple(write_echo(tmp_path / "a.pt", TAS, LAI), record={"file": "cube.nc", "every": "1h"}), 4)
    other = write_echo(tmp_path / "b.pt", field("hurs", "%"), LAI)
    with refused(Status.FIELD, "cube.nc", "no 'hurs'", "it has tas, lai"):
        replay(tmp_path / "cube.nc", other)


def test_output_that_was_not_recorded_is_refused(couple: Couple, tmp_path: Path) -> None:
    run(couple(write_echo(tmp_path / "a.pt", TAS, LAI), record={"file": "cube.nc", "every": "1h"}), 4)
    with refused(Status.FIELD, "none of the outputs", "(mrso)"):
        replay(tmp_path / "cube.nc", write_echo(tmp_path / "b.pt", TAS, field("mrso", "mm")))


def test_intervals_of_several_lengths_are_refused(couple: Couple, tmp_path: Path) -> None:
    emulator = write_echo(tmp_path / "a.pt", TAS, LAI, every="1d")
    run(couple(emulator, dt=21_600.0, record={"file": "cube.nc", "every": "1mon"}), 4 * 70)
    with refused(Status.CONFIG, "cube.nc", "of one length"):
        replay(tmp_path / "cube.nc", emulator)


def test_intervals_longer_than_the_step_of_the_emulator_are_refused(couple: Couple, tmp_path: Path) -> None:
    emulator = write_echo(tmp_path / "a.pt", TAS, LAI, every="1h")
    run(couple(emulator, record={"file": "cube.nc", "every": "6h"}), 24)
    with refused(Status.CONFIG, "1h", "21600 s"):
        replay(tmp_path / "cube.nc", emulator)
