# SPDX-License-Identifier: Apache-2.0
"""A run of 4,000 steps keeps nothing of them; `make soak` takes 100,000."""

from __future__ import annotations

from pathlib import Path

from memory_folder import memory_folder
from soak.long_run import NOISE, PER_STEP, Look, grows, run


def test_memory_and_descriptors_stay() -> None:
    with memory_folder() as folder:
        seen = run(Path(folder), 4000)
    assert len(seen) == 10
    assert not grows(seen), seen


def test_growth_is_seen() -> None:
    flat = [Look(step, 300_000_000, 7) for step in range(1000, 11_000, 1000)]
    assert not grows(flat)
    assert grows([*flat[:-1], Look(10_000, 300_000_000, 8)])
    leak = NOISE + 2 * PER_STEP * 9000
    assert grows([*flat[:-1], Look(10_000, 300_000_000 + leak, 7)])
