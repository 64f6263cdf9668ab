# SPDX-License-Identifier: Apache-2.0
"""Emulators on grids of their own: the same bits, files and restarts on any number of ranks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from own_grids import ANSWERS, LAND, OWN, STEPS, own_cells

Results = Callable[[int], "Result"]  # noqa: F821 - of conftest.py
RANKS = [1, 2, 3, 4]


def test_ranks_of_the_program_own_every_cell_once_and_one_owns_none() -> None:
    for size in RANKS:
        parts = [own_cells(rank, size) for rank in range(size)]
        assert sorted(np.concatenate(parts)) == sorted(LAND)
        assert (parts[-1].size == 0) == (size > 2)


@pytest.mark.parametrize("ranks", RANKS)
def test_every_cell_has_the_bits_of_the_serial_run(result: Results, ranks: int) -> None:
    assert len(result(0).on_own_grids("whole")) == LAND.size
    assert result(ranks).on_own_grids("whole") == result(0).on_own_grids("whole")
    assert all(rank["own_grids"]["untouched"] for rank in result(ranks).ranks)


@pytest.mark.parametrize("ranks", [0, *RANKS])
def test_two_runs_joined_by_a_restart_have_the_bits_of_one(result: Results, ranks: int) -> None:
    assert result(ranks).on_own_grids("parts") == result(0).on_own_grids("whole")


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("name", ["grids_whole.nc", "grids_parts.nc", "parts.r/coupler.r.2001-01-01-14400.nc"])
def test_files_are_the_same_for_every_number_of_ranks(result: Results, ranks: int, name: str) -> None:
    compare(result(0).folder / name, result(ranks).folder / name)


def compare(expected: Path, found: Path) -> None:
    """Compare all variables of two files, to the last bit."""
    with netCDF4.Dataset(expected) as one, netCDF4.Dataset(found) as other:
        assert one.variables.keys() == other.variables.keys()
        for name, variable in one.variables.items():
            np.testing.assert_array_equal(other[name][:], variable[:], err_msg=name)


def test_answers_differ_between_cells_and_the_host_keeps_its_own_somewhere(result: Results) -> None:
    answers = result(0).on_own_grids("whole")
    numbers = {i: [[float.fromhex(bits) for bits in step] for step in steps] for i, steps in answers.items()}
    assert len({str(steps) for steps in answers.values()}) == LAND.size
    for place, name in enumerate(ANSWERS):
        kept = sum(numbers[str(i)][STEPS - 1][place] == 0.001 * i for i in LAND)
        assert (0 < kept < LAND.size) == (name in OWN)
    assert max(abs(steps[0][4] - steps[1][4]) for steps in numbers.values()) > 1e-4  # it has a memory
    assert {steps[0][3] for steps in numbers.values()} == {0.0, 1.0, 2.0, 3.0, 4.0}


@pytest.mark.parametrize("ranks", [0, *RANKS])
def test_report_tells_of_the_grids(result: Results, ranks: int) -> None:
    emulators = json.loads((result(ranks).folder / "grids_whole.json").read_text())["emulators"]
    serial = json.loads((result(0).folder / "grids_whole.json").read_text())["emulators"]
    for entry, expected in zip(emulators, serial, strict=True):
        for key in ("description", "cells", "unmapped"):
            assert entry["grid"][key] == expected["grid"][key]
    grid = emulators[1]["grid"]
    assert grid["description"] == "latlon: 3.0"
    assert 0 < grid["cells"] <= 120 * 60
    assert grid["unmapped"] == 0
    assert emulators[1]["columns"] == grid["cells"] * STEPS
    assert grid["imbalance"].keys() == {"pr"}  # answers were withheld in every call
    assert grid["imbalance"]["pr"] < 1e-12
    assert [entry["keeps_bits"] for entry in emulators] == [True] * len(emulators)
    assert emulators[2]["grid"]["imbalance"]["snw"] < 1e-12


@pytest.mark.parametrize("ranks", RANKS)
def test_tiles_are_dealt_to_the_ranks_that_call_the_emulator(result: Results, ranks: int) -> None:
    emulators = json.loads((result(ranks).folder / "grids_whole.json").read_text())["emulators"]
    direct, gathered = ([len(blocks) for blocks in emulators[place]["blocks"]] for place in (-2, -1))
    assert max(direct) - min(direct) <= 1
    assert gathered == [sum(gathered)] + [0] * (ranks - 1)
    assert sum(gathered) > 1
