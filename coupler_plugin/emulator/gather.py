# SPDX-License-Identifier: Apache-2.0
"""One rank runs an emulator for its neighbours on a node: one context on a shared GPU, and one large batch.

All ranks of a team have their columns in one piece of memory that MPI shares among them: each writes its inputs where
the leader reads them, and reads its answers where the leader wrote them. What crosses between ranks is one number
before a call, that all inputs are there, and one after it, that all answers are; both carry a failure to all.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import numpy as np
import torch

from coupler_plugin.emulator.blocks import Blocks, Columns, failure
from coupler_plugin.emulator.device import device_of, pin
from coupler_plugin.emulator.load import EmulatorFile
from coupler_plugin.emulator.manifest import Manifest
from coupler_plugin.emulator.remembering import Remembering
from coupler_plugin.emulator.trial import GRAIN
from coupler_plugin.emulator.window import Window
from coupler_plugin.errors import CouplerError, Status
from coupler_plugin.meeting import await_request
from coupler_plugin.parallel import describe

if TYPE_CHECKING:
    from mpi4py import MPI

_LINE: Final = 64  # bytes of a cache line
_LEADER: Final = 0


class Team:
    """The ranks of a node that share a device; the first of them, the leader, runs for all.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        Of the coupler. Making a team is a collective call.
    device : str
        What `device.choose` gave this rank: ranks with the same one make a team.
    patience : float
        Longest time to wait for another rank in a step [s].

    Attributes
    ----------
    comm : mpi4py.MPI.Intracomm
        Of the team.
    ranks : list of int
        Its ranks, as the coupler's communicator counts them.
    """

    def __init__(self, comm: MPI.Comm, device: str, patience: float) -> None:
        from mpi4py import MPI

        node = comm.Split_type(MPI.COMM_TYPE_SHARED)
        devices: list[str] = sorted(set(node.allgather(device)))
        self.comm = cast("MPI.Intracomm", node.Split(devices.index(device), node.Get_rank()))
        node.Free()
        self.ranks: list[int] = self.comm.allgather(comm.Get_rank())
        self._patience = patience

    @property
    def is_leader(self) -> bool:
        """Whether this rank runs for the others."""
        return self.comm.Get_rank() == _LEADER

    def agree(self, what: str, error: Exception | None = None) -> None:
        """Wait for all ranks of the team, and raise on all of them if one brings an error.

        Raises
        ------
        CouplerError
            The rank's own error, else that of the first rank that has one; MPI, with the ranks that did not come, when
            they did not for longer than the team's patience.
        """
        failed = np.zeros(1, np.int64)
        request = self.comm.Iallreduce(np.full(1, error is not None, np.int64), failed)
        await_request(self.comm, request, what, self._patience, self.ranks)
        if failed[0]:
            described = self.comm.allgather(describe(error))
            if error is not None:
                raise error
            rank, (status, text) = next(pair for pair in zip(self.ranks, described, strict=True) if pair[1])
            raise CouplerError(Status(status), f"rank {rank} failed: {text}")


class Gathered(Remembering):
    """Columns of this rank that the leader of its team runs; a call is collective over the team.

    It looks like `Blocks`, and a column has the same bits: the leader's blocks hold the columns of all ranks, one rank
    after another.

    Parameters
    ----------
    emulator : EmulatorFile
    n : int
        Columns of this rank.
    block : int or "exact"
        Rows of a call; "exact" runs the columns of the team in one call.
    threads : int
        Threads of the leader that share its blocks.
    team : Team

    Attributes
    ----------
    inputs, static, state, outputs : float32 arrays, shape (n, C), (n, S), (n, K), (n, O)
        The columns of this rank, in the manifest's order of channels.
    sizes : tuple of int
        Rows of the calls: all of them are the leader's.
    keeps_bits : bool
        Whether a column has the same bits wherever it runs.
    waited : float
        How long the last call waited for other ranks [s].
    """

    def __init__(self, emulator: EmulatorFile, n: int, block: int | Literal["exact"], threads: int, team: Team) -> None:
        manifest = emulator.manifest
        self._team = team
        self._name = manifest.name
        grain = 1 if block == "exact" else GRAIN  # the columns of a rank start on a cache line
        counts = np.array(team.comm.allgather(-(-n // grain) * grain))
        rank, total = team.comm.Get_rank(), int(counts.sum())
        rows = total if block == "exact" else -(-total // block) * block
        columns = self._share(manifest, rows)
        first = int(counts[:rank].sum())
        mine = slice(first, first + n)
        self.static, self.state, self.outputs = (
            part.numpy()[mine] for part in (columns.static, columns.state, columns.outputs)
        )
        self._seen = self.inputs = columns.inputs.numpy()[mine]
        self._window: Window | None = None
        if manifest.window:  # which each rank keeps for itself; the leader gets it in the order of time
            self.inputs = np.zeros((n, manifest.n_inputs), np.float32)
            self._window = Window(manifest.window.length, torch.from_numpy(self.inputs), ())
        self._blocks: Blocks | None = None

        def prepare() -> None:
            pin(self._numbers, device_of(emulator.forward))
            self._blocks = Blocks(emulator, total, block, threads, columns)

        self._lead(prepare)
        self.waited = 0.0
        self.sizes = self._blocks.sizes if self._blocks else ()
        self.keeps_bits: bool = team.comm.bcast(self._blocks.keeps_bits if self._blocks else None, _LEADER)

    def run(self) -> None:
        """Compute the outputs of all columns of the team, and advance their state; a collective call of the team."""
        if self._window is not None:
            self._window.push()
            self._window.read(self._seen)
        began = perf_counter()
        self._meet()
        arrived = perf_counter()
        done = self._lead(self._call)
        self.waited = perf_counter() - done + arrived - began

    def _call(self) -> None:
        assert self._blocks is not None
        try:
            self._blocks.run()
        except Exception as error:  # torch.jit raises many kinds
            raise failure(self._name, error) from error

    def withdraw(self, error: Exception) -> None:
        """Tell the team, instead of a call, that this rank has failed before it."""
        self._meet(error)

    def _lead(self, work: Callable[[], None]) -> float:
        """Let the leader work while the others wait, and return when it was done here."""
        error: Exception | None = None
        if self._team.is_leader:
            try:
                work()
            except Exception as caught:  # of many kinds; the others wait for a word of it
                error = caught
        done = perf_counter()
        self._meet(error)
        return done

    def _meet(self, error: Exception | None = None) -> None:
        """Let all ranks of the team see what each has written."""
        self._memory.Sync()
        self._team.agree(f"the call of '{self._name}'", error)
        self._memory.Sync()

    def _share(self, manifest: Manifest, rows: int) -> Columns:
        """Return the columns of the team, in memory of the leader that all of its ranks see."""
        from mpi4py import MPI

        length = (manifest.window.length,) if manifest.window else ()
        widths = (manifest.n_inputs, manifest.n_static, manifest.n_state, manifest.n_outputs)
        shapes = [(rows, *(length if place == 0 else ()), width) for place, width in enumerate(widths)]
        sizes = [int(np.prod(shape)) for shape in shapes]
        starts = np.cumsum([0, *(-(-size // _LINE) * _LINE for size in sizes)])  # in numbers: whole cache lines
        is_leader = self._team.is_leader
        n_bytes = 4 * int(starts[-1]) + _LINE
        self._memory = MPI.Win.Allocate_shared(n_bytes if is_leader else 0, 1, comm=self._team.comm)
        self._memory.Lock_all()
        buffer, _ = self._memory.Shared_query(_LEADER)
        found = np.frombuffer(cast("Any", buffer), np.uint8)
        numbers = found[-found.ctypes.data % _LINE :][: 4 * int(starts[-1])].view(np.float32)
        if is_leader:
            numbers.fill(0.0)
        self._numbers = torch.from_numpy(numbers)
        parts = zip(starts, sizes, shapes, strict=False)
        return Columns(*(torch.from_numpy(numbers[at : at + size].reshape(shape)) for at, size, shape in parts))
