# SPDX-License-Identifier: Apache-2.0
"""Arrays of the host that live on a GPU: they are accumulated there, and travel only when an emulator is due.

A host whose fields stay on the device binds them as tensors. What a window holds comes down when it is read, packed;
answers go up into the cells that are written and nowhere else. The sums are those of the host's memory, bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from coupler_plugin.accumulate import EMPTY, Accumulator
from coupler_plugin.cells import Cells, PackedArray, Values, level_axis
from coupler_plugin.emulator.device import host_zeros, wait_for
from coupler_plugin.errors import CouplerError, Status

_OPERATION: Final[dict[str, Callable[..., torch.Tensor]]] = {
    "mean": torch.add,
    "sum": torch.add,
    "min": torch.minimum,
    "max": torch.maximum,
}


class DeviceArray(PackedArray):
    """An array of the host in memory of a device, read and written in place by way of pinned memory.

    To the rest of the plugin it is packed: `view` has the shape (n, size) and is what the device holds at that moment.

    Parameters
    ----------
    name : str
        The field, for errors.
    tensor : float32 or float64 tensor
        Of the cells' shape, or with one more dimension of levels at any position. It is kept, never copied.
    cells : Cells

    Attributes
    ----------
    size : int
        Number of levels; 1 for an array of the cells' shape.
    memory : str
        Where the array lies, for errors.
    device : torch.device
    tensor : tensor, shape (*cells.shape, size)
        The host's memory with the levels last; of a single cell, shape (1, size).

    Raises
    ------
    CouplerError
        ARRAY, when the kind or shape does not fit.
    """

    def __init__(self, name: str, tensor: torch.Tensor, cells: Cells) -> None:
        if tensor.dtype not in (torch.float32, torch.float64) or tensor.layout != torch.strided:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise CouplerError(
                Status.ARRAY, f"bind: '{name}' is a tensor of kind {kind}; give a dense one of float32 or float64."
            )
        axis = level_axis(name, tuple(tensor.shape), cells.shape)
        tensor = tensor.detach()
        levels_last = tensor.unsqueeze(-1) if axis is None else tensor.movedim(axis, -1)
        self.tensor = levels_last if cells.shape else levels_last.unsqueeze(0)
        self.device = tensor.device
        self.memory = f"memory of the device {self.device}"
        self.cells = cells
        self._packed = host_zeros((cells.n, self.tensor.shape[-1]), self.device, tensor.dtype)
        super().__init__(self._packed.numpy())

    @property
    @torch.inference_mode()
    def view(self) -> NDArray[Any]:
        """What the cells hold now, shape (n, size); it lies where the next look will be put."""
        self._packed.copy_(self.in_cells(self.tensor))
        return self._view

    @torch.inference_mode()
    def write(self, values: Values, which: NDArray[np.bool_] | None = None) -> None:
        """Copy `values`, shape (n, size), into the host's places of the cells (or of those in `which`) and no other."""
        with np.errstate(all="ignore"):  # what does not fit into float32 is infinite there, as in the host's memory
            np.copyto(self._view, values, casting="same_kind")
        rows = None if which is None else torch.from_numpy(np.flatnonzero(which))
        self.put(self._packed if rows is None else self._packed[rows], self.tensor, rows)
        wait_for(self.device)

    def put(self, values: torch.Tensor, target: torch.Tensor, rows: torch.Tensor | None = None) -> None:
        """Copy values of the host, shape (n, size), into the cells' places in `target`, or into those of some rows."""
        if rows is None and self.cells.places is None:
            target.copy_(values.reshape(target.shape))
            return
        places = self._places if rows is None else tuple(part[rows.to(self.device)] for part in self._places)
        target[places] = values.to(self.device)

    def in_cells(self, array: torch.Tensor) -> torch.Tensor:
        """Return the cells' part of a tensor like `tensor`, shape (n, size)."""
        return array.reshape(-1, self.size) if self.cells.places is None else array[self._places]

    @cached_property
    def _places(self) -> tuple[torch.Tensor, ...]:
        """The places of the cells along each of their dimensions."""
        flat = np.arange(self.cells.n) if self.cells.places is None else self.cells.places
        parts = np.unravel_index(flat, self.tensor.shape[:-1])
        return tuple(torch.from_numpy(np.ascontiguousarray(part)).to(self.device) for part in parts)


class DeviceAccumulator(Accumulator):
    """Aggregates an array on its device over a window, in float64 and in the order of `Accumulator`."""

    def __init__(self, aggregate: str, array: DeviceArray) -> None:
        super().__init__("last", array)
        self.aggregate = aggregate
        self._sums: torch.Tensor | None = None
        if aggregate != "last":
            with torch.inference_mode(False):  # else no thread could add to it that is not in that mode
                shape, device = array.tensor.shape, array.device
                self._sums = torch.full(shape, EMPTY[aggregate], dtype=torch.float64, device=device)
                self._packed = host_zeros((array.cells.n, array.size), device, torch.float64)

    @property
    def array(self) -> DeviceArray:
        """What is accumulated."""
        assert isinstance(self.source, DeviceArray)
        return self.source

    def update(self) -> None:
        """Take a sample, without waiting for it."""
        self.count += 1
        if self._sums is not None:
            _OPERATION[self.aggregate](self._sums, self.array.tensor, out=self._sums)

    @torch.inference_mode()
    def read(self, values: Values) -> None:
        """Write the value of the window into `values`, shape (n, size)."""
        if self._sums is None or self.count == 0:
            self.source.read(values)
            return
        held = self._packed.copy_(self.array.in_cells(self._sums)).numpy()
        if self.aggregate == "mean":
            np.divide(held, self.count, out=values)
        else:
            np.copyto(values, held)

    def recall(self) -> Values | None:
        """Return what the window holds so far, shape (n, size); None for one that holds nothing."""
        if self._sums is None or self.count == 0:
            return None
        held: Values = self.array.in_cells(self._sums).cpu().numpy()
        return held

    @torch.inference_mode()
    def restore(self, count: int, values: Values) -> None:
        """Go on with a window that was recalled after `count` samples."""
        assert self._sums is not None
        self.count = count
        self.array.put(torch.from_numpy(np.ascontiguousarray(values)), self._sums)

    def reset(self) -> None:
        """Begin the next window."""
        if self.count and self._sums is not None:
            self._sums.fill_(EMPTY[self.aggregate])
        self.count = 0
