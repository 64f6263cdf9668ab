# SPDX-License-Identifier: Apache-2.0
"""Column blocks: the columns of a rank run through an emulator in calls of a fixed number of rows.

A network's answer for a row can change its last bits with the number of rows of the call. With blocks of one size
every row meets the same kernels however the cells are spread over ranks; a check with the real module shows whether it
also meets them at every place of the block. A short last block may run in a smaller bucket, but only in one that the
same check has shown to give every row the bits of the full block.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final, Literal

import torch

from coupler_plugin._native import ffi, lib
from coupler_plugin.emulator.device import OnDevice, device_of, host_zeros
from coupler_plugin.emulator.file import last_line
from coupler_plugin.emulator.fusing import Fused
from coupler_plugin.emulator.lanes import Lanes, one_thread
from coupler_plugin.emulator.load import EmulatorFile
from coupler_plugin.emulator.manifest import Manifest
from coupler_plugin.emulator.remembering import Remembering
from coupler_plugin.emulator.staging import Staged, misfit
from coupler_plugin.emulator.trial import checked, gives_same_bits, initial_state, sample_arguments, smallest_bucket
from coupler_plugin.emulator.window import DeviceWindow, Window
from coupler_plugin.errors import CouplerError, Status

#: calls after which the profiling executor has settled on its code
_WARM_UP: Final = 3


@dataclass(frozen=True)
class Columns:
    """Memory of the rows of all blocks.

    Attributes
    ----------
    inputs, static, state, outputs : contiguous float32 tensors, shape (rows, C), (rows, S), (rows, K), (rows, O)
    """

    inputs: torch.Tensor
    static: torch.Tensor
    state: torch.Tensor
    outputs: torch.Tensor

    @classmethod
    def zeros(cls, manifest: Manifest, rows: int, device: torch.device | None = None) -> Columns:
        """Return new memory, from which `device` copies; torch aligns it to cache lines, numpy need not."""
        widths = (manifest.n_inputs, manifest.n_static, manifest.n_state, manifest.n_outputs)
        return cls(*(host_zeros((rows, width), device) for width in widths))


class Blocks(Remembering):
    """Runs the columns of one rank through an emulator.

    Parameters
    ----------
    emulator : EmulatorFile
    n : int
        Columns of this rank.
    block : int or "exact"
        Rows of a call; "exact" runs all columns in one call without padding.
    threads : int
        Threads that share several blocks; one block, and those of compiled native code, are torch's to spread.
    columns : Columns, optional
        Memory that others see, too, of as many rows as whole blocks have; where the emulator has a window, which
        somebody else then keeps, its inputs have the shape (rows, T, C).

    Attributes
    ----------
    inputs, static, state, outputs : float32 arrays, shape (n, C), (n, S), (n, K), (n, O)
        The columns, in the manifest's order of channels. Write inputs, `run`, read outputs; the state stays.
    sizes : tuple of int
        Rows of the calls.
    keeps_bits : bool
        Whether a column has the same bits wherever it runs; "exact" promises nothing.
    """

    def __init__(
        self,
        emulator: EmulatorFile,
        n: int,
        block: int | Literal["exact"],
        threads: int = 1,
        columns: Columns | None = None,
    ) -> None:
        self._module = Fused(emulator.forward)
        self._path = emulator.path
        self._is_fixed = emulator.block is not None
        self._n = n
        # torch keeps Python's lock while a package runs, so its blocks would only wait: it shares products instead
        can_share = not self._is_fixed and not isinstance(emulator.forward, OnDevice)
        lanes = min(threads, -(-n // block)) if can_share and n and block != "exact" else 1
        with one_thread() if lanes > 1 else nullcontext():
            self._prepare(emulator, block, lanes, columns)

    def _prepare(
        self, emulator: EmulatorFile, block: int | Literal["exact"], lanes: int, columns: Columns | None
    ) -> None:
        """Find out how the module may be called, and make the memory of all calls."""
        manifest, n = emulator.manifest, self._n
        module = emulator.forward if isinstance(emulator.forward, OnDevice) else None
        if n:
            self._use_first_same(emulator.fused, manifest, n if block == "exact" else block)
        self.keeps_bits = block != "exact"
        self.sizes = self._choose_sizes(manifest, block)
        rows = sum(self.sizes)
        memory = columns or Columns.zeros(manifest, rows, device_of(emulator.forward))
        inputs, static, state, outputs = (
            part[:rows] for part in (memory.inputs, memory.static, memory.state, memory.outputs)
        )
        arguments: list[list[torch.Tensor]] = []
        self._lanes = Lanes(lanes) if lanes > 1 else None
        on_device: DeviceWindow | None = None
        self._window: Window | DeviceWindow | None = None
        if manifest.window and columns is None:
            if module is None:
                self._window = Window(manifest.window.length, inputs, self.sizes, lanes)
            else:
                self._window = on_device = DeviceWindow(manifest.window.length, inputs, self.sizes, module.device)
        if self._window is None:
            arguments.append(self._split(inputs))
        if manifest.static:
            arguments.append(self._split(static))
        state.copy_(initial_state(manifest, rows))
        self._state_rows = [Rows(block, "state") for block in self._split(state)] if manifest.state else None
        if manifest.state:
            arguments.append(self._split(state))
        answers = self._split(outputs)
        if self._module.writes_answer:
            arguments.append(answers)
        arguments += self._products(lanes)
        self._arguments = list(zip(*arguments, strict=True)) if arguments else [()] * len(self.sizes)
        self._output_rows = [Rows(block, "outputs") for block in answers]
        self.inputs, self.static, self.state, self.outputs = (
            tensor.numpy()[:n] for tensor in (inputs, static, state, outputs)
        )
        #: computes the answers of some blocks
        self._work: Callable[[Iterable[int]], None] = self._run
        if self._module.writes_answer and self._window is None and not manifest.state:
            self._calls = [self._module.on(arguments) for arguments in self._arguments]
            self._work = self._run_in_place
        self._staged: Staged | None = None
        self._warm_up(manifest)
        if module is not None:
            parts = [self._split(rows) for rows in (inputs, static, state, outputs)]
            self._staged = Staged(module, parts, on_device, static_travels=columns is not None)
            self._work = self._staged.run
            if module.is_fixed and module.device.type == "cuda":
                samples = {size: sample_arguments(manifest, size) for size in self.sizes}
                self._staged.record(manifest.name, [samples[size] for size in self.sizes])

    def send_static(self) -> None:
        """Let a device that keeps the static fields know them, which have just been written."""
        if self._staged is not None:
            self._staged.send_static()

    def _split(self, rows: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.split(rows, list(self.sizes)))

    def run(self) -> None:
        """Compute the outputs of all columns from their inputs, and advance their state."""
        if not torch.is_inference_mode_enabled():
            with torch.inference_mode():  # with gradients in view, torch's LSTM takes three times as long
                self.run()
            return
        if self._window is not None:
            self._window.push()
        lanes, count = self._lanes, len(self.sizes)
        if lanes is None:
            self._work(range(count))
        else:
            lanes.run(lambda lane: self._work(range(lane, count, lanes.count)))

    def _run(self, blocks: Iterable[int]) -> None:
        for index in blocks:
            arguments = self._arguments[index]
            if self._window is not None:
                arguments = (self._window.block(index), *arguments)
            answer = self._module.call(*arguments)
            if self._state_rows is not None:
                answer, state = answer
                self._state_rows[index].take(state)
            self._output_rows[index].take(answer)

    def _run_in_place(self, blocks: Iterable[int]) -> None:
        """Do the same where all that a call takes and gives is in memory that was made once."""
        torch.get_num_threads()  # asked by a thread for the first time, it takes over the number of the process
        calls = self._calls
        for index in blocks:
            calls[index]()

    def _choose_sizes(self, manifest: Manifest, block: int | Literal["exact"]) -> tuple[int, ...]:
        if self._n == 0:
            return ()
        if block == "exact":
            return (self._n,)
        sample = sample_arguments(manifest, block)

        def call(rows: torch.Tensor) -> list[torch.Tensor]:
            return self._checked([tensor[rows] for tensor in sample], manifest)

        whole = call(torch.arange(block))
        self.keeps_bits = gives_same_bits(call, whole, [torch.arange(block).roll(block // 2 + 1)])
        full, tail = divmod(self._n, block)
        if self._is_fixed:
            return (block,) * (full + bool(tail))
        return (block,) * full + ((smallest_bucket(call, whole, tail),) if tail else ())

    def _products(self, lanes: int) -> list[list[torch.Tensor]]:
        """Return memory for each product of the module, block by block; those of a lane follow each other."""
        keys = [(size, index % lanes) for index, size in enumerate(self.sizes)]
        made = [{(size, lane): torch.empty(size, width) for size, lane in keys} for width in self._module.widths]
        return [[memory[key] for key in keys] for memory in made]

    def _use_first_same(self, candidates: Sequence[Fused], manifest: Manifest, rows: int) -> None:
        """Run the module in fewer operations, in the first way that gives the same bits."""
        if not candidates:
            return
        sample, as_it_is = sample_arguments(manifest, rows), self._module
        whole = self._checked(sample, manifest)

        def is_same() -> bool:
            return gives_same_bits(lambda _: self._checked(sample, manifest), whole, [torch.arange(rows)])

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "An output with one or more elements was resized")
            for candidate in candidates:
                self._module = candidate
                try:
                    if all(is_same() for _ in range(_WARM_UP)):
                        return
                except CouplerError:
                    continue
        self._module = as_it_is

    def _warm_up(self, manifest: Manifest) -> None:
        for size in dict.fromkeys(self.sizes):
            sample = sample_arguments(manifest, size)
            for _ in range(_WARM_UP):
                self._checked(sample, manifest)

    def _checked(self, arguments: Sequence[torch.Tensor], manifest: Manifest) -> list[torch.Tensor]:
        rows, module = len(arguments[0]), self._module
        memory = module.memory(rows, manifest.n_outputs)
        parts = checked(module.call, arguments, manifest, self._path, memory)
        if any(len(product) != rows for product in memory):  # torch has made it fit
            raise CouplerError(Status.MODEL, f"the emulator '{self._path}' has products of other numbers of rows.")
        return parts


def failure(name: str, error: Exception) -> CouplerError:
    """Return what is said of an emulator whose module raised in a call."""
    return CouplerError(Status.RUN, f"the emulator '{name}' failed: {last_line(error)}.")


class Rows:
    """Where the answers of one block go.

    Parameters
    ----------
    block : contiguous float32 tensor
    name : str
        What it holds, for errors.
    """

    def __init__(self, block: torch.Tensor, name: str) -> None:
        self._block = block
        self._name = name
        self._address, self._size = ffi.cast("void *", block.data_ptr()), block.nbytes

    def take(self, answer: torch.Tensor) -> None:
        """Copy an answer in; torch's dispatcher takes longer than a small copy, and is asked only where it must be."""
        if answer is self._block:  # it was written here
            return
        if answer.dtype is torch.float32 and answer.nbytes == self._size and answer.is_contiguous():
            lib.packing_copy(self._address, answer.data_ptr(), self._size)
        elif answer.shape == self._block.shape:
            self._block.copy_(answer)
        else:
            raise misfit(self._name, answer, self._block)
