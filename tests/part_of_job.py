# SPDX-License-Identifier: Apache-2.0
"""Several numbers of ranks in one job: what takes time in a test with MPI is the start of its processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def on_ranks(world: Any, count: int, work: Callable[[Any], None]) -> None:
    """Do work on the first ranks of a job, with a communicator of their own; the others sleep until it is done."""
    rank = world.Get_rank()
    own = world.Split(0 if rank < count else 1, rank)
    if rank < count:
        work(own)
    own.Free()
    done = world.Ibarrier()
    while not done.Test():
        time.sleep(0.01)
