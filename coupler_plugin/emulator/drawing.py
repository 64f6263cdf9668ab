# SPDX-License-Identifier: Apache-2.0
"""Random numbers inside an emulator, such as those of dropout: seeded anew for every call, so that runs repeat.

What a call draws depends on the seed of the coupling file, the emulator, how often it was called, and the place of the
cells among all cells by their ids: not on ranks, restarts, or what else draws in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray

from coupler_plugin.emulator.load import EmulatorFile
from coupler_plugin.emulator.remembering import Remembering
from coupler_plugin.emulator.trial import checked, initial_state, sample_arguments
from coupler_plugin.emulator.window import Window

#: calls after which the profiling executor has settled on its code
_WARM_UP: Final = 3


@contextmanager
def generators_kept() -> Iterator[None]:
    """Leave torch's generators as they were: a host in Python may draw from them, too."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(list(devices)):
        yield


@dataclass(frozen=True)
class Draws:
    """Seeds torch's generators before a call of a module.

    Attributes
    ----------
    seed : int
        Of the coupling file.
    name : str
        Of the emulator: others draw other numbers.
    count : callable
        Returns how often the emulator was called, over all parts of a run.
    """

    seed: int
    name: str
    count: Callable[[], int]

    def begin(self, part: int) -> None:
        """Seed for one part of a call: a block of cells, or a tile."""
        words = [self.seed, crc32(self.name.encode()), self.count(), part]
        low, high = np.random.SeedSequence(words).generate_state(2, np.uint32)
        torch.manual_seed(int(low) << 31 | int(high) >> 1)


class DrawnBlocks(Remembering):
    """Runs the columns of one rank through an emulator that draws, as `Blocks` does through one that does not.

    A cell has its block and its row by its id, whatever rank owns it: a block that several ranks share is run by each
    of them, with its own cells in their rows.

    Parameters
    ----------
    emulator : EmulatorFile
    ids : int64 array, shape (n,)
        Global ids of the columns of this rank.
    block : int or "exact"
        Rows of a call; "exact" runs all columns in one call, whose numbers then depend on the ranks.
    draws : Draws

    Attributes
    ----------
    inputs, static, state, outputs : float32 arrays, shape (n, C), (n, S), (n, K), (n, O)
        The columns, in the manifest's order of channels. Write inputs, `run`, read outputs; the state stays.
    sizes : tuple of int
        Rows of the calls.
    keeps_bits : bool
        Whether a column has the same bits whatever runs beside it. An emulator that draws as many numbers as its inputs
        ask for, as for a Poisson distribution, does not keep them.
    """

    def __init__(
        self, emulator: EmulatorFile, ids: NDArray[np.int64], block: int | Literal["exact"], draws: Draws
    ) -> None:
        self._emulator, self._draws = emulator, draws
        self._manifest = manifest = emulator.manifest
        n = ids.size
        rows = self._rows = max(1, n) if block == "exact" else block
        number, place = (np.full(n, ids[:1].sum()), np.arange(n)) if block == "exact" else (ids // rows, ids % rows)
        order = np.argsort(number, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(number[order])) + 1) if n else []
        #: number of a block, this rank's cells in it, and their rows
        self._parts = [(int(number[part[0]]), part, place[part]) for part in parts]
        self.sizes = (rows,) * len(parts)
        self.inputs = np.zeros((n, manifest.n_inputs), np.float32)
        self.static = np.zeros((n, manifest.n_static), np.float32)
        self.state = initial_state(manifest, n).numpy()
        self.outputs = np.zeros((n, manifest.n_outputs), np.float32)
        self._window: Window | None = None
        if manifest.window:
            self._window = Window(manifest.window.length, torch.from_numpy(self.inputs), ())
        with generators_kept():
            self.keeps_bits = block != "exact" and (not n or self._rows_are_apart())

    def run(self) -> None:
        """Compute the outputs of all columns from their inputs, and advance their state."""
        if self._window is not None:
            self._window.push()
        seen = [self.inputs if self._window is None else self._window.recall()]
        seen += [self.static] * bool(self._manifest.static) + [self.state] * bool(self._manifest.state)
        with torch.inference_mode(), generators_kept():
            for number, cells, places in self._parts:
                arguments = [self._placed(values[cells], places) for values in seen]
                self._draws.begin(number)
                for target, part in zip((self.outputs, self.state), self._call(arguments), strict=False):
                    target[cells] = part.numpy()[places]

    def _placed(self, values: NDArray[np.float32], places: NDArray[np.int64]) -> torch.Tensor:
        """Return the block whose rows `places` hold the values."""
        block = torch.zeros(self._rows, *values.shape[1:])
        block.numpy()[places] = values
        return block

    def _call(self, arguments: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return checked(self._emulator.forward, arguments, self._manifest, self._emulator.path)

    def _rows_are_apart(self) -> bool:
        """Call the module until it has settled, and return whether a row keeps its bits when its neighbours change."""
        sample = sample_arguments(self._manifest, self._rows)
        changed = [torch.where(_is_odd(tensor), tensor.roll(2, 0), tensor) for tensor in sample]
        answers = []
        for arguments in (*[sample] * _WARM_UP, changed):
            torch.manual_seed(0)
            answers.append(self._call(arguments))
        return all(torch.equal(one[::2], other[::2]) for one, other in zip(answers[-2], answers[-1], strict=True))


def _is_odd(tensor: torch.Tensor) -> torch.Tensor:
    odd = torch.arange(len(tensor)) % 2 == 1
    return odd.reshape(-1, *(1 for _ in tensor.shape[1:]))
