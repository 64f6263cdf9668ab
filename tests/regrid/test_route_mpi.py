# SPDX-License-Identifier: Apache-2.0
"""Routes on 1 to 4 ranks: the same bits for every decomposition, and every mistake told on every rank."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.regrid.engines_here import need_mpirun, yac_problem

PROGRAM = Path(__file__).with_name("route_program.py")
WITH_MISTAKES = (1, 3)
ENVIRONMENT = os.environ | {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that runs the program once for each number of ranks."""
    launcher = need_mpirun()

    @cache
    def run(ranks: int) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp(f"ranks{ranks}")
        command = [launcher, "--oversubscribe", "-n", str(ranks), sys.executable, str(PROGRAM), str(folder)]
        command += [] if yac_problem() else ["yac"]
        command += ["mistakes"] if ranks in WITH_MISTAKES else []
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return answer

    return run


def test_one_rank_has_one_answer(run: Any) -> None:
    for name, hashes in run(1)["results"].items():
        assert "|" not in hashes, f"{name}: {hashes}"


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_decomposition_changes_no_bit(run: Any, ranks: int) -> None:
    assert run(ranks)["results"] == run(1)["results"]


WORDS = {
    "crash": ("RUN", "killed by SIGABRT"),
    "hang": ("RUN", "did not finish within 1 s"),
    "corners": ("CELLS", "no corners"),
    "foreign": ("CELLS", "other grids"),
    "disk": ("IO", "cannot be written"),
    "damaged": ("IO", "damaged.nc"),
    "no_file": ("IO", "nowhere.nc"),
    "twice": ("CELLS", "source cell 1 is owned twice"),
    "nobody": ("CELLS", "source cell 1800 has weights, but no rank owns it"),
    "nan": ("CELLS", "lon nan"),
}


@pytest.mark.parametrize("mistake", WORDS)
@pytest.mark.parametrize("ranks", WITH_MISTAKES)
def test_mistake_is_told_on_every_rank(run: Any, ranks: int, mistake: str) -> None:
    status, words = WORDS[mistake]
    told = run(ranks)["mistakes"][mistake]
    assert len(told) == ranks
    for text in told:
        assert text.startswith(f"{status} ")
        assert words in text


def test_mistakes_leave_nothing_behind(run: Any) -> None:
    left = run(3)["mistakes"]["left_in_cache"]
    assert len(left) == 1
    assert left[0].startswith("conservative_")
