# SPDX-License-Identifier: Apache-2.0
"""Blocks of a module on a GPU: memory there that is made once, and a call of a block as work that is always the same.

The memory of the blocks on the host is pinned, so that the pass that packs inputs fills what the GPU copies from. All
blocks are put into queues of the GPU before anything is waited for: the copies of one run beside the products of
another. The code runs on any device of torch; on the CPU it is tested, with queues that are none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import torch

from coupler_plugin.emulator.device import OnDevice, queue_on, wait_for
from coupler_plugin.emulator.window import DeviceWindow

logger = logging.getLogger("coupler_plugin")

#: queues in which blocks take turns
_QUEUES: Final = 2
#: calls after which the profiling executor has settled on its code
_WARM_UP: Final = 3

Work = Callable[[], Any]


class Graph(Protocol):
    """What was recorded of some work."""

    def replay(self) -> Any:
        """Put the work into the queue that is in use."""

    def pool(self) -> Any:
        """Return the name of the memory in which it works."""


#: records work in a queue, in the memory of an earlier graph
Recorder = Callable[[Work, Any, Graph | None], Graph]


class StagedBlock:
    """One block: its memory on the device, and the work of a call.

    Parameters
    ----------
    module : OnDevice
    parts : sequence of contiguous float32 tensors of the host, shape (rows, ...)
        Inputs, static fields, state and outputs; what has no channels takes no part.
    window : float32 tensor of the device, shape (rows, T, C), optional
        Takes in the inputs as its newest sample, and is what the module sees.
    static_travels : bool
        Whether the static fields are copied in each call, because others may change them at any time.
    """

    def __init__(
        self,
        module: OnDevice,
        parts: Sequence[torch.Tensor],
        window: torch.Tensor | None,
        static_travels: bool,
    ) -> None:
        def on_device(part: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
            return [(torch.zeros(part.shape, device=module.device), part)] if part.numel() else []

        inputs, static, state, outputs = parts
        self._forward = module.forward
        self._parts, self._window = parts, window
        self._seen, self._static, self._kept = on_device(inputs), on_device(static), on_device(state)
        #: memory of the device, and that of the host which is copied into it in each call
        self._travelling = [*self._seen, *(self._static if static_travels else ()), *self._kept]
        self._arguments = [own for own, _ in (*self._seen, *self._static, *self._kept)]
        if window is not None:
            self._arguments[0] = window
        self._answers = [("outputs", outputs), *(("state", part) for _, part in self._kept)]

    def send_static(self) -> None:
        """Copy the static fields to the device."""
        for own, part in self._static:
            own.copy_(part)

    @property
    def memory(self) -> list[torch.Tensor]:
        """What a call reads and writes: all of the host, and the window."""
        return [*self._parts, *([] if self._window is None else [self._window])]

    def begin(self, sample: Sequence[torch.Tensor]) -> None:
        """Put plausible arguments where a call finds them."""
        inputs, *others = sample
        if self._window is not None:
            self._window.copy_(inputs)
            inputs = inputs[:, -1]
        for (_, part), values in zip((*self._seen, *self._static, *self._kept), (inputs, *others), strict=True):
            part.copy_(values)
        self.send_static()

    def answers(self) -> list[torch.Tensor]:
        """Return copies of what the last call has answered."""
        return [part.clone() for _, part in self._answers]

    def work(self) -> None:
        """Copy in, call the module and copy out, without waiting for any of it."""
        for own, part in self._travelling:
            own.copy_(part, non_blocking=True)
        if self._window is not None:
            self._window.copy_(torch.cat((self._window[:, 1:], self._seen[0][0][:, None]), 1))
        answer = self._forward(*self._arguments)
        parts = (answer,) if len(self._answers) == 1 else answer
        for (name, target), part in zip(self._answers, parts, strict=True):
            if part.shape != target.shape:
                raise misfit(name, part, target)
            target.copy_(part, non_blocking=True)


class Staged:
    """All blocks of a rank on a device.

    Parameters
    ----------
    module : OnDevice
    parts : sequence of sequences of tensors
        Inputs, static fields, state and outputs of each block.
    window : DeviceWindow or None
    static_travels : bool
        As each block has it.
    """

    def __init__(
        self,
        module: OnDevice,
        parts: Sequence[Sequence[torch.Tensor]],
        window: DeviceWindow | None,
        static_travels: bool,
    ) -> None:
        self._device = module.device
        self._backend: Any = torch.get_device_module(module.device)
        self._blocks = [
            StagedBlock(module, tensors, None if window is None else window.block(index), static_travels)
            for index, tensors in enumerate(zip(*parts, strict=True))
        ]
        self._queues = [queue_on(module.device) for _ in self._blocks[:_QUEUES]]
        self._calls: list[Work] = [block.work for block in self._blocks]
        wait_for(module.device)  # the queues are others than that in which all this memory was cleared

    def run(self, numbers: Iterable[int]) -> None:
        """Compute the answers of some blocks from their inputs, and wait until they are on the host.

        All blocks run, so that their windows move on together; the first error is raised.
        """
        errors = []
        for number in numbers:
            with self._backend.stream(self._queues[number % _QUEUES]):
                try:
                    self._calls[number]()
                except Exception as error:  # torch.jit raises many kinds
                    errors.append(error)
        for queue in self._queues:
            wait_for(self._device, queue)
        if errors:
            raise errors[0]

    @torch.inference_mode()
    def record(self, name: str, samples: Sequence[Sequence[torch.Tensor]], recorder: Recorder | None = None) -> None:
        """Let a call of each block be one launch, if that gives the bits of its operations one by one.

        Parameters
        ----------
        name : str
            Of the emulator, for the log.
        samples : sequence of sequences of tensors
            Plausible arguments of each block.
        recorder : callable, optional
            Default: `cuda_graph`.
        """
        graphs: list[Graph] = []
        try:
            for number, (block, sample) in enumerate(zip(self._blocks, samples, strict=True)):
                earlier = graphs[number - _QUEUES] if number >= _QUEUES else None
                queue = self._queues[number % _QUEUES]
                graphs.append(self._graph_of(block, sample, queue, earlier, recorder or cuda_graph))
        except RuntimeError as error:
            reason = str(error.__context__ or error).strip().partition("\n")[0].rstrip(".")  # the first, if two
            logger.info("'%s' runs on %s operation by operation, not as a graph: %s", name, self._device, reason)
        else:
            self._calls = [graph.replay for graph in graphs]

    def _graph_of(
        self, block: StagedBlock, sample: Sequence[torch.Tensor], queue: Any, earlier: Graph | None, recorder: Recorder
    ) -> Graph:
        """Return the graph of a block, whose memory is afterwards as it was."""
        before = [part.clone() for part in block.memory]
        try:
            # in the queue of the recording: libraries make memory for each, which a recording must not
            expected = [self._try(block, sample, block.work, queue) for _ in range(_WARM_UP)][-1]
            with self._backend.stream(queue):  # which a recording that fails would leave in use
                graph = recorder(block.work, queue, earlier)
            found = self._try(block, sample, graph.replay, queue)
            both = zip(found, expected, strict=True)
            if not all(torch.equal(one.view(torch.int32), other.view(torch.int32)) for one, other in both):
                raise RuntimeError("it gives other bits")
            return graph
        finally:
            for part, values in zip(block.memory, before, strict=True):
                part.copy_(values)
            wait_for(self._device)

    def _try(self, block: StagedBlock, sample: Sequence[torch.Tensor], call: Work, queue: Any) -> list[torch.Tensor]:
        """Return what a call of a block answers to a sample."""
        block.begin(sample)
        wait_for(self._device)
        with self._backend.stream(queue):
            call()
        wait_for(self._device, queue)
        return block.answers()

    @torch.inference_mode()  # any thread of the host may bind, and not all are in the mode in which memory was made
    def send_static(self) -> None:
        """Copy the static fields of all blocks to the device."""
        for block in self._blocks:
            block.send_static()
        wait_for(self._device)


def cuda_graph(work: Work, queue: Any, earlier: Graph | None) -> Graph:
    """Record what a function puts into a queue of a GPU; it then begins with one launch.

    Parameters
    ----------
    work : callable
    queue : torch.cuda.Stream
    earlier : torch.cuda.CUDAGraph, optional
        One of the same queue, which is over when this one begins: both then work in the same memory.
    """
    graph = torch.cuda.CUDAGraph()
    pool = None if earlier is None else earlier.pool()
    # another thread of the host may use the GPU meanwhile; it is not recorded, and does not end the recording
    with torch.cuda.graph(graph, pool=pool, stream=queue, capture_error_mode="thread_local"):
        work()
    return graph


def misfit(name: str, answer: torch.Tensor, wanted: torch.Tensor) -> ValueError:
    """Return what is said of an answer of another shape than its place."""
    return ValueError(f"its {name} have the shape {tuple(answer.shape)}, not {tuple(wanted.shape)}")
