# SPDX-License-Identifier: Apache-2.0
"""What the plugin needs of MPI, for a communicator or for none.

A serial host has no MPI and must not be made to start it: there `comm` is None and every function here answers for
one rank. mpi4py is never imported by this file; the communicator brings its own methods.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from coupler_plugin.errors import CouplerError, RanksAwayError, Status, explain

if TYPE_CHECKING:
    from mpi4py import MPI

T = TypeVar("T")

_SHARED: Final = "All ranks know of this error."


def rank_of(comm: MPI.Comm | None) -> int:
    """Return this process's rank, 0 without MPI."""
    return 0 if comm is None else comm.Get_rank()


def size_of(comm: MPI.Comm | None) -> int:
    """Return the number of ranks, 1 without MPI."""
    return 1 if comm is None else comm.Get_size()


def allgather(comm: MPI.Comm | None, value: T) -> list[T]:
    """Return the small Python object `value` of every rank, in the order of ranks."""
    return [value] if comm is None else comm.allgather(value)


def broadcast(comm: MPI.Comm | None, value: T | None) -> T:
    """Return rank 0's `value` on every rank."""
    result: Any = value if comm is None else comm.bcast(value, root=0)
    return result  # type: ignore[no-any-return]


def together(comm: MPI.Comm | None, work: Callable[[], T]) -> T:
    """Do `work` on every rank and fail on every rank if it fails on one.

    Without this, ranks whose own part went well would wait for ever in their next collective call.

    Raises
    ------
    CouplerError
        the rank's own error; on the ranks that had none, the error of the first rank that failed, naming it.
    """
    error: Exception | None = None
    result: Any = None
    try:
        result = work()
    except RanksAwayError:  # nor would they come here
        raise
    except Exception as caught:
        error = caught
    if comm is not None and any_of(comm, error is not None):
        failed = [(rank, text) for rank, text in enumerate(comm.allgather(describe(error))) if text]
        if failed and error is None:
            rank, (status, text) = failed[0]
            error = CouplerError(Status(status), f"rank {rank} failed: {text}")
    if error is not None:
        if comm is not None and not _is_shared(error):
            error.add_note(_SHARED)
        raise error
    return result  # type: ignore[no-any-return]


@contextmanager
def never_alone(comm: MPI.Comm | None, doing: str) -> Iterator[None]:
    """End the job where this rank fails in the midst of collective calls with an error that no other rank knows of.

    The others would wait for it for ever; `together` is what shares an error with them.
    """
    try:
        yield
    except Exception as error:
        if size_of(comm) == 1 or _is_shared(error):
            raise
        assert comm is not None
        status, sentence = explain(error)
        sys.stderr.write(
            f"coupler_plugin: rank {comm.Get_rank()} failed alone {doing}: {sentence} The other ranks cannot learn of "
            "it and would wait for ever; the job ends here.\n"
        )
        sys.stderr.flush()
        comm.Abort(int(status))


def _is_shared(error: BaseException | None) -> bool:
    """Return whether all ranks know of an error, or of its cause."""
    while error is not None:
        if _SHARED in getattr(error, "__notes__", ()):
            return True
        error = error.__cause__
    return False


def any_of(comm: MPI.Comm | None, condition: bool) -> bool:
    """Return whether a condition holds on any rank; a sum of numbers, which steps can afford."""
    if comm is None:
        return condition
    total = np.zeros(1, np.int64)
    comm.Allreduce(np.full(1, condition, np.int64), total)
    return bool(total[0])


def describe(error: Exception | None) -> Any:
    """Return the status and the sentence of an error as other ranks can take them; None for none."""
    if error is None:
        return None
    status, sentence = explain(error)
    return int(status), sentence


class Gather:
    """Brings one value per cell from all ranks to rank 0, ordered by cell id; planned once, used for every write.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or None
    ids : int64 array, shape (cells of this rank,)
    """

    def __init__(self, comm: MPI.Comm | None, ids: NDArray[np.int64]) -> None:
        self._comm = comm
        self._counts = allgather(comm, ids.size)
        self.is_root = rank_of(comm) == 0
        all_ids = self._collect(np.ascontiguousarray(ids))
        self._order = np.argsort(all_ids, kind="stable") if self.is_root else np.empty(0, np.intp)
        self.ids = all_ids[self._order] if self.is_root else all_ids

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the values of all cells, shape (cells,) or (cells, n), on rank 0; an empty array elsewhere."""
        collected = self._collect(np.ascontiguousarray(values))
        return collected[self._order] if self.is_root else collected

    def _collect(self, values: NDArray[Any]) -> NDArray[Any]:
        if self._comm is None:
            return values
        width = int(np.prod(values.shape[1:], dtype=int))
        total = sum(self._counts) if self.is_root else 0
        collected = np.empty((total, *values.shape[1:]), values.dtype)
        counts = [count * width for count in self._counts]
        self._comm.Gatherv(values, (collected, counts) if self.is_root else None, root=0)
        return collected
