# SPDX-License-Identifier: Apache-2.0
"""The blocks of a rank on several threads: each takes its own blocks, so that none waits for another inside a product.

torch spreads one product over threads, which meet again after each: little work between two meetings, and all wait
where another program has one of the processors. Whole blocks meet once a call, and each has the bits of one thread.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from threading import Barrier
from typing import Final

import torch

_M_TRIM_THRESHOLD: Final = -1  # of malloc.h
_M_MMAP_THRESHOLD: Final = -3
_LARGEST: Final = 2**25  # bytes; glibc takes no larger piece from a thread's own memory


class Lanes:
    """Threads that each do their part of a call.

    Parameters
    ----------
    count : int
        Threads; the one that calls waits for them.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        _keep_memory()
        own = torch.get_num_threads()
        met = Barrier(count)  # so that each of the pool's threads comes to it once
        self._pool = ThreadPoolExecutor(count, "coupler_plugin lane")
        wait([self._pool.submit(_take_one_thread, met) for _ in range(count)])
        torch.set_num_threads(own)  # what a thread says of itself is also noted for threads to come

    def run(self, work: Callable[[int], None]) -> None:
        """Call `work` with the number of each lane, and come back when all are done; the first error is raised."""
        lanes = [self._pool.submit(_infer, work, lane) for lane in range(self.count)]
        wait(lanes)
        for lane in lanes:
            lane.result()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute as it does in a lane; the number is the process's, and threads that begin meanwhile take it."""
    own = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(own)


@cache
def _keep_memory() -> None:
    """Let malloc keep what calls give back: that of threads is else returned to the system and cleared anew each time.

    The first thread's is kept by a rule of glibc that grows with use. Another library of C has no such rules.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        mallopt(_M_TRIM_THRESHOLD, 8 * _LARGEST)


def _take_one_thread(met: Barrier) -> None:
    torch.get_num_threads()  # a new thread takes over the number of the process at its first question, not later
    torch.set_num_threads(1)
    met.wait()


def _infer(work: Callable[[int], None], lane: int) -> None:
    with torch.inference_mode():
        work(lane)
