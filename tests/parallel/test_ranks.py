# SPDX-License-Identifier: Apache-2.0
"""The same bits, files and errors on any number of ranks, with ranks that own nothing."""

from __future__ import annotations

import json
from collections.abc import Callable

import netCDF4
import numpy as np
import pytest
from coupled_run import CELLS, own_cells

Results = Callable[[int], "Result"]  # noqa: F821 - of conftest.py
RANKS = [1, 2, 3, 4]
STATUSES = {
    "id_of_two_ranks": "CELLS",
    "id_that_is_negative": "CELLS",
    "area_of_some_ranks": "CELLS",
    "field_that_one_rank_forgets": "FIELD",
    "nan_of_one_rank": "RUN",
    "emulator_that_is_missing": "MODEL",
    "coupling_file_that_is_missing": "CONFIG",
    "history_that_cannot_be_written": "IO",
}


def test_ranks_of_the_program_own_every_cell_once_and_one_owns_none() -> None:
    for size in RANKS:
        parts = [own_cells(rank, size) for rank in range(size)]
        assert sorted(np.concatenate(parts)) == list(range(1, CELLS + 1))
        assert (parts[-1].size == 0) == (size > 2)


@pytest.mark.parametrize("ranks", RANKS)
def test_every_cell_has_the_bits_of_the_serial_run(result: Results, ranks: int) -> None:
    assert len(result(0).answers) == CELLS
    assert result(ranks).answers == result(0).answers


@pytest.mark.parametrize("ranks", [0, *RANKS])
def test_places_without_a_cell_are_untouched_on_every_rank(result: Results, ranks: int) -> None:
    assert all(rank["untouched"] for rank in result(ranks).ranks)


def test_answers_differ_between_cells_and_steps(result: Results) -> None:
    answers = result(0).answers
    assert len({str(bits) for bits in answers.values()}) == CELLS
    assert len({str(bits) for bits in answers["1"]}) == len(answers["1"])


@pytest.mark.parametrize("ranks", RANKS)
def test_history_is_the_same_for_every_number_of_ranks(result: Results, ranks: int) -> None:
    with (
        netCDF4.Dataset(result(0).folder / "history.nc") as expected,
        netCDF4.Dataset(result(ranks).folder / "history.nc") as found,
    ):
        assert list(found["id"][:]) == list(range(1, CELLS + 1))
        assert found.variables.keys() == expected.variables.keys()
        for name, variable in expected.variables.items():
            np.testing.assert_array_equal(found[name][:], variable[:], err_msg=name)
            assert found[name].__dict__.keys() == variable.__dict__.keys()


@pytest.mark.parametrize("ranks", RANKS)
def test_record_is_the_same_for_every_number_of_ranks(result: Results, ranks: int) -> None:
    with (
        netCDF4.Dataset(result(0).folder / "cube.nc") as expected,
        netCDF4.Dataset(result(ranks).folder / "cube.nc") as found,
    ):
        assert found.variables.keys() == expected.variables.keys()
        assert 0.3 * CELLS < found.dimensions["cell"].size < 0.9 * CELLS
        for name, variable in expected.variables.items():
            np.testing.assert_array_equal(found[name][:], variable[:], err_msg=name)


@pytest.mark.parametrize("ranks", RANKS)
def test_report_counts_over_all_ranks(result: Results, ranks: int) -> None:
    report = json.loads((result(ranks).folder / "report.json").read_text())
    assert (report["ranks"], report["cells"], report["steps"]) == (ranks, CELLS, 30)
    assert [entry["columns"] for entry in report["emulators"]] == [30 * CELLS, 10 * CELLS, 30 * CELLS]
    assert all(len(entry["blocks"]) == ranks for entry in report["emulators"])
    assert all(entry["keeps_bits"] for entry in report["emulators"])


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("mistake", STATUSES)
def test_error_of_one_rank_reaches_all_with_its_status(result: Results, ranks: int, mistake: str) -> None:
    errors = [rank["errors"][mistake] for rank in result(ranks).ranks]
    assert [status for status, _ in errors] == [STATUSES[mistake]] * ranks


@pytest.mark.parametrize(
    ("mistake", "own", "others"),
    [
        ("id_that_is_negative", "'id' has the value -7", "rank 1 failed: set_cells: 'id' has the value -7"),
        ("field_that_one_rank_forgets", "input 'tas'", "rank 1 failed: the input 'tas'"),
        ("nan_of_one_rank", "'tas'", "at 2001-01-01 01:00:00: rank 1 failed: the input 'tas'"),
    ],
)
def test_sentence_names_the_rank_that_failed(result: Results, mistake: str, own: str, others: str) -> None:
    sentences = [rank["errors"][mistake][1] for rank in result(3).ranks]
    assert own in sentences[1]
    assert not sentences[1].startswith("rank")
    assert sentences[0].startswith(others)
    assert sentences[2].startswith(others)


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_only_rank_0_touches_the_files(result: Results, ranks: int) -> None:
    assert [rank["errors"]["files_that_only_rank_0_sees"] for rank in result(ranks).ranks] == [["OK", ""]] * ranks


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_exception_of_one_rank_is_its_own_and_an_internal_error_of_the_others(result: Results, ranks: int) -> None:
    others, own, *more = (rank["errors"]["exception_of_one_rank"] for rank in result(ranks).ranks)
    assert own[0] == "ZeroDivisionError"
    assert all(error[0] == "INTERNAL" and "rank 1 failed" in error[1] for error in (others, *more))


def test_id_of_two_ranks_is_named(result: Results) -> None:
    assert any("the id 7 is given to 2 cells" in rank["errors"]["id_of_two_ranks"][1] for rank in result(2).ranks)
