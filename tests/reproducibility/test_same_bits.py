# SPDX-License-Identifier: Apache-2.0
"""The same bits over restarts, ranks and threads, and in a Fortran host with traps, for each kind of emulator."""

from __future__ import annotations

import numpy as np
import pytest
from reproducibility.cases import CASES, Case, Cases, count
from reproducibility.program import CELLS, CUTS, OUTPUTS, own_cells
from reproducibility.subjects import SUBJECTS


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    return Cases(tmp_path_factory.mktemp("reproducibility") / "runs")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.run.name)
@pytest.mark.parametrize("subject", SUBJECTS)
def test_no_bit_differs(cases: Cases, subject: str, case: Case) -> None:
    if missing := cases.missing(case):
        pytest.skip(f"needs {missing}")
    assert cases.differing_bits(subject, case) == 0


@pytest.mark.parametrize("subject", SUBJECTS)
def test_answers_differ_between_cells_and_after_the_cuts(cases: Cases, subject: str) -> None:
    answers = cases.answers(subject)
    for name in SUBJECTS[subject].computes:
        values = answers[:, OUTPUTS.index(name)]
        assert np.unique(values[-1]).size > CELLS // 20
        assert (values[-1] != values[CUTS[-1] - 1]).mean() > 0.9


def test_a_bit_that_differs_is_counted() -> None:
    values = np.linspace(0.0, 1.0, 12).reshape(3, 4)
    other = values.copy()
    assert count(values, other) == 0
    other[1, 2] = np.nextafter(other[1, 2], 2.0)
    assert count(values, other) == int(values[1, 2].view(np.int64) ^ other[1, 2].view(np.int64)).bit_count() > 0
    assert count(np.array([0.0]), np.array([-0.0])) == 1


def test_ranks_own_every_cell_once_and_one_owns_none() -> None:
    for size in (1, 2, 3, 4):
        parts = [own_cells(rank, size) for rank in range(size)]
        assert sorted(np.concatenate(parts)) == list(range(1, CELLS + 1))
        assert (parts[-1].size == 0) == (size > 2)
        assert len({part.size for part in parts}) == size
