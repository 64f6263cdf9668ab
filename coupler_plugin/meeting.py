# SPDX-License-Identifier: Apache-2.0
"""Meetings: collective calls of the set-up wait for every rank, but not for ever, and name those that stay away.

A rank that never comes, because its host forgot a call there or failed before it, would leave the others waiting in
their next collective call without a word. Nothing is sent to find that out but a barrier; only a rank whose patience
ends calls the roll, and those that wait answer it.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

from coupler_plugin.errors import RanksAwayError, Status

if TYPE_CHECKING:
    from mpi4py import MPI

#: longest wait before the coupling file, which may say otherwise, is read [s]
PATIENCE = 600.0
#: tags of the messages of a roll call
_CALL, _HERE, _VERDICT = 32101, 32102, 32103
_LONGEST_NAP: Final = 0.02  # [s]
_ROLL_CALL: Final = 5.0  # longest wait for answers [s]
_NAMED: Final = 8  # ranks

Verdict = tuple[list[int], float]  #: the ranks that are missing, and how long they were waited for [s]


def meet(comm: MPI.Comm | None, call: str, seconds: float) -> None:
    """Wait until every rank has come to a call.

    Parameters
    ----------
    call : str
        What the host calls, for the message.
    seconds : float
        Longest time to wait [s].

    Raises
    ------
    CouplerError
        MPI on every rank that waited, with the ranks that are missing; the communicator is of no use then.
    """
    if comm is not None:
        await_request(comm, comm.Ibarrier(), call, seconds)


def await_request(
    comm: MPI.Comm, request: MPI.Request, call: str, seconds: float, names: Sequence[int] | None = None
) -> None:
    """Wait for a collective request that all ranks take part in; `meet` says more.

    Parameters
    ----------
    names : sequence of int, optional
        What the ranks of `comm` are called in errors; default: their numbers there.
    """
    began, nap = monotonic(), 0.0
    while not request.Test():
        if comm.Iprobe(tag=_CALL):
            raise _refusal(comm, call, *_answer(comm), names)
        if monotonic() - began > seconds:
            raise _refusal(comm, call, *_call_roll(comm, seconds), names)
        sleep(nap)
        nap = min(nap + 1e-4, _LONGEST_NAP)


def _call_roll(comm: MPI.Comm, patience: float) -> Verdict:
    """Return the ranks that do not answer, and the patience that has ended; tell those that do answer."""
    seconds = min(_ROLL_CALL, patience)
    own, size = comm.Get_rank(), comm.Get_size()
    others = [rank for rank in range(size) if rank != own]
    called = [comm.isend(None, rank, _CALL) for rank in others]
    here = {own}
    until = monotonic() + seconds
    while len(here) < size and monotonic() < until:
        for rank in others:
            if comm.Iprobe(source=rank, tag=_HERE):
                comm.recv(source=rank, tag=_HERE)
                here.add(rank)
            if comm.Iprobe(source=rank, tag=_CALL):  # its patience has ended at the same moment
                comm.recv(source=rank, tag=_CALL)
                comm.isend(None, rank, _HERE)
                here.add(rank)
        sleep(_LONGEST_NAP)
    missing = sorted(set(range(size)) - here)
    told = [comm.isend((missing, patience), rank, _VERDICT) for rank in others]  # one that comes late is told, too
    until = monotonic() + seconds
    while not all(request.Test() for request in (*called, *told)) and monotonic() < until:
        sleep(_LONGEST_NAP)
    return missing, patience


def _answer(comm: MPI.Comm) -> Verdict:
    """Answer a roll call, and return what it found."""
    from mpi4py import MPI

    status = MPI.Status()
    comm.recv(source=MPI.ANY_SOURCE, tag=_CALL, status=status)
    caller = status.Get_source()
    comm.isend(None, caller, _HERE)
    verdict: Verdict = comm.recv(source=caller, tag=_VERDICT)
    return verdict


def _refusal(
    comm: MPI.Comm, call: str, missing: list[int], patience: float, names: Sequence[int] | None
) -> RanksAwayError:
    size = comm.Get_size()
    if missing:
        called = [rank if names is None else names[rank] for rank in missing[:_NAMED]]
        named = ", ".join(map(str, called)) + (", ..." if len(missing) > _NAMED else "")
        who = f"{'rank' if len(missing) == 1 else 'ranks'} {named} of {size} did not come"
    else:
        who = f"all {size} ranks came, but too late for one of them"
    return RanksAwayError(
        Status.MPI,
        f"{call}: {who} within {patience:g} s; it is a collective call. Look for what these ranks wait for or where "
        "they failed, or give them more time by 'timeout:' in the coupling file.",
    )
