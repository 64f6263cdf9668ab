# SPDX-License-Identifier: Apache-2.0
"""`share: gather`: one rank runs for its neighbours, with the bits, the memory and the errors of all."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from gathered import CELLS, STEPS

Results = Callable[[int], "Result"]  # noqa: F821 - of conftest.py
RANKS = [1, 2, 3, 4]


@pytest.mark.parametrize("ranks", RANKS)
def test_every_cell_has_the_bits_of_ranks_that_run_alone(result: Results, ranks: int) -> None:
    alone = result(0).gathered("whole")  # without MPI nobody shares
    assert len({str(bits) for bits in alone.values()}) == CELLS
    assert result(ranks).gathered("whole") == alone


@pytest.mark.parametrize("ranks", RANKS)
def test_leader_with_a_device_gives_the_same_bits(result: Results, ranks: int) -> None:
    assert result(ranks).gathered("on_device") == result(0).gathered("whole")


@pytest.mark.parametrize("ranks", RANKS)
def test_restart_goes_on_with_the_same_bits_on_fewer_ranks(result: Results, ranks: int) -> None:
    first, second = result(ranks).gathered("first"), result(ranks).gathered("second")
    assert {i: first[i] + second[i] for i in first} == result(0).gathered("whole")


@pytest.mark.parametrize("ranks", RANKS)
def test_only_the_leader_calls_the_emulators(result: Results, ranks: int) -> None:
    leader, *others = (rank["gathered"]["calls"] for rank in result(ranks).ranks)
    assert all(calls > 0 for calls in leader)
    assert others == [[0] * len(leader)] * (ranks - 1)


@pytest.mark.parametrize("ranks", RANKS)
def test_report_tells_who_ran_and_who_waited(result: Results, ranks: int) -> None:
    report = json.loads((result(ranks).folder / "gathered_whole.json").read_text())
    for emulator in report["emulators"]:
        assert emulator["share"] == "gather"
        assert emulator["keeps_bits"]
        assert emulator["columns"] == CELLS * STEPS
        assert [bool(blocks) for blocks in emulator["blocks"]] == [True] + [False] * (ranks - 1)
    assert report["seconds"]["gather"]["max"] > 0.0


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize(
    ("mistake", "failing", "status", "sentence"),
    [
        ("leader_that_fails", 0, "RUN", "the emulator 'touchy' failed: RuntimeError: AssertionError: negative input"),
        ("neighbour_that_fails", 1, "RUN", "the input 'tas' of the emulator 'network' is nan in cell"),
    ],
)
def test_error_of_one_rank_reaches_all(
    result: Results, ranks: int, mistake: str, failing: int, status: str, sentence: str
) -> None:
    for rank, seen in enumerate(result(ranks).ranks):
        found, text = seen["gathered"]["errors"][mistake]
        assert found == status
        where = "at 2001-01-01 01:00:00: " + ("" if rank == failing else f"rank {failing} failed: ")
        assert text.startswith(where + sentence)


def test_rank_that_stays_away_is_named_after_the_time_that_is_allowed(result: Results) -> None:
    seen = [rank["gathered"]["errors"]["neighbour_that_stays_away"] for rank in result(3).ranks]
    assert [status for status, _ in seen] == ["MPI", "OK", "MPI"]
    assert all("the call of 'network': rank 1 of 3 did not come within 3 s" in seen[rank][1] for rank in (0, 2))
