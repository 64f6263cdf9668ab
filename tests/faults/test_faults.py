# SPDX-License-Identifier: Apache-2.0
"""Every provoked fault ends in one clear message, and docs/reliability.md shows what is provoked now."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import page
from faults.processes import OF_HOSTS, OF_RANKS, lacks_mpi, seen_by_ranks
from faults.provoked import FAULTS, Fault

ALL = [*FAULTS, *OF_RANKS, *OF_HOSTS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture
def provoke(folder: Path) -> Callable[[Fault], None]:
    def run(fault: Fault) -> None:
        seen = page.provoke(fault, folder)
        assert seen.status != "OK"
        assert len(seen.sentence) > 20
        assert page.row(fault, seen) in page.PAGE.read_text(), page.row(fault, seen)

    return run


@pytest.mark.parametrize("fault", FAULTS, ids=page.key)
def test_fault_has_the_message_of_the_page(provoke: Callable[[Fault], None], fault: Fault) -> None:
    provoke(fault)


@pytest.mark.skipif(lacks_mpi(), reason="needs mpirun and mpi4py")
@pytest.mark.parametrize("fault", OF_RANKS, ids=page.key)
def test_fault_of_a_rank_has_the_message_of_the_page(provoke: Callable[[Fault], None], fault: Fault) -> None:
    provoke(fault)


@pytest.mark.skipif(shutil.which("gfortran") is None, reason="needs gfortran")
@pytest.mark.parametrize("fault", OF_HOSTS, ids=page.key)
def test_fault_of_a_host_has_the_message_of_the_page(provoke: Callable[[Fault], None], fault: Fault) -> None:
    provoke(fault)


@pytest.mark.skipif(lacks_mpi(), reason="needs mpirun and mpi4py")
def test_all_ranks_that_are_there_learn_of_the_fault_of_one(folder: Path) -> None:
    zero, one, two = seen_by_ranks(folder / "any")
    for case in ("exception", "nan", "cell_elsewhere"):
        assert zero[case] == two[case]
        assert "rank 1 failed: " in zero[case][1]
        assert "rank 1" not in one[case][1]
    for case in ("stays_away_from_set_cells", "stays_away_from_the_first_step"):
        assert zero[case] == two[case]
        assert "rank 1 of 3 did not come" in zero[case][1]
        assert one[case] == ["OK", ""]


def test_page_has_no_fault_that_is_not_provoked() -> None:
    text = page.PAGE.read_text()
    shown = text[text.index(page.BEGIN) : text.index(page.END)]
    rows = [line for line in shown.splitlines() if line.startswith("| ") and not line.startswith("| ... that")]
    assert [line.split(" | ")[0].removeprefix("| ") for line in rows] == [
        fault.what for group in dict.fromkeys(one.group for one in ALL) for fault in ALL if fault.group == group
    ]
