# SPDX-License-Identifier: Apache-2.0
"""History windows: the last samples of each column, on the host or on a device, for emulators that see a past."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from coupler_plugin.emulator.device import wait_for


class Window:
    """The last `length` samples of each column, in a ring, so that a new sample moves no old one.

    Parameters
    ----------
    length : int
        Samples T in the window.
    sample : float32 tensor, shape (rows, C)
        Where the newest sample is found at each `push`.
    sizes : sequence of int
        Rows of the blocks in which the window is read.
    lanes : int
        Blocks that are read at a time: those whose numbers differ by less.
    """

    def __init__(self, length: int, sample: torch.Tensor, sizes: Sequence[int], lanes: int = 1) -> None:
        # numpy moves small arrays in a fraction of the time that torch's dispatcher takes.
        self._sample = sample.numpy()
        self._length = length
        self._ring = np.zeros((len(sample), length, sample.shape[1]), np.float32)
        self._next = 0  #: place of the oldest sample, where the newest goes
        self._is_empty = True
        keys = {(size, index % lanes) for index, size in enumerate(sizes)}
        staging = {key: torch.empty(key[0], *self._ring.shape[1:]) for key in keys}
        ends = np.cumsum(sizes, dtype=int)
        self._blocks = [
            (self._ring[end - size : end], staging[size, index % lanes].numpy(), staging[size, index % lanes])
            for index, (end, size) in enumerate(zip(ends, sizes, strict=True))
        ]

    def push(self) -> None:
        """Take the newest sample in; the first one stands for all the past that is not known."""
        if self._is_empty:
            self._ring[:] = self._sample[:, np.newaxis]
            self._is_empty = False
        self._ring[:, self._next] = self._sample
        self._next = (self._next + 1) % self._length

    def newest(self) -> NDArray[np.float32] | None:
        """Return the sample of the last `push`, shape (rows, C); None before the first."""
        return None if self._is_empty else self._ring[:, self._next - 1]

    def recall(self) -> NDArray[np.float32]:
        """Return all samples, oldest first, shape (rows, T, C)."""
        return np.roll(self._ring, -self._next, axis=1)

    def read(self, samples: NDArray[np.float32]) -> None:
        """Copy all samples, oldest first, into an array of the shape (rows, T, C)."""
        self._order(self._ring, samples)

    def restore(self, samples: NDArray[np.float32]) -> None:
        """Go on from samples that were recalled, shape (n, T, C) with n rows or fewer."""
        self._ring[: len(samples)] = samples
        self._next = 0
        self._is_empty = False

    def block(self, index: int) -> torch.Tensor:
        """Return the window of one block, oldest sample first, shape (rows, T, C); its lane overwrites it next time."""
        ring, ordered, tensor = self._blocks[index]
        self._order(ring, ordered)
        return tensor

    def _order(self, ring: NDArray[np.float32], samples: NDArray[np.float32]) -> None:
        old = self._length - self._next
        samples[:, :old] = ring[:, self._next :]
        samples[:, old:] = ring[:, : self._next]


class DeviceWindow:
    """The last `length` samples of each column in memory of a device, where only the newest travels to.

    It is to blocks on a device what `Window` is to those on the host; the work of a block moves its samples on.

    Parameters
    ----------
    length : int
        Samples T in the window.
    sample : float32 tensor of the host, shape (rows, C)
        Where the newest sample is found at each `push`.
    sizes : sequence of int
        Rows of the blocks in which the window is read.
    device : torch.device
    """

    def __init__(self, length: int, sample: torch.Tensor, sizes: Sequence[int], device: torch.device) -> None:
        self._sample = sample
        self._shape = (len(sample), length, sample.shape[1])
        self._blocks = [torch.zeros(size, *self._shape[1:], device=device) for size in sizes]
        self._newest = np.zeros((len(sample), sample.shape[1]), np.float32)
        self._device = device
        self._is_empty = True

    def push(self) -> None:
        """Announce the newest sample; the first one stands for all the past that is not known."""
        np.copyto(self._newest, self._sample.numpy())
        if self._is_empty:
            self._fill(self._sample[:, None].expand(self._shape))

    def newest(self) -> NDArray[np.float32] | None:
        """Return the sample of the last `push`, shape (rows, C); None before the first."""
        return None if self._is_empty else self._newest

    def recall(self) -> NDArray[np.float32]:
        """Return all samples, oldest first, shape (rows, T, C)."""
        return np.concatenate([np.empty((0, *self._shape[1:]), np.float32), *(one.cpu() for one in self._blocks)])

    def restore(self, samples: NDArray[np.float32]) -> None:
        """Go on from samples that were recalled, shape (n, T, C) with n rows or fewer."""
        self._fill(torch.from_numpy(np.ascontiguousarray(samples)))
        self._newest[: len(samples)] = samples[:, -1]

    def block(self, index: int) -> torch.Tensor:
        """Return the window of one block, oldest sample first, shape (rows, T, C)."""
        return self._blocks[index]

    @torch.inference_mode()
    def _fill(self, samples: torch.Tensor) -> None:
        for block in self._blocks:
            part, samples = samples[: len(block)], samples[len(block) :]
            block[: len(part)].copy_(part)
        wait_for(self._device)
        self._is_empty = False
