# SPDX-License-Identifier: Apache-2.0
"""Tiles: the cells of a grid run through an emulator that sees a neighbourhood, and overlapping answers become one.

To the guard and the exports this looks like column blocks: inputs, state and outputs lie on the cells. In a call they
are gathered into tiles with their halo, wherever these run, and the answers are blended on the way back. A tile meets
the same kernels on any rank, and a cell the same sums: the number of ranks changes no bit.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from coupler_plugin.emulator.device import device_of, host_zeros
from coupler_plugin.emulator.drawing import Draws, generators_kept
from coupler_plugin.emulator.load import EmulatorFile
from coupler_plugin.emulator.planning import GridPlan, fine_ids
from coupler_plugin.emulator.remembering import Remembering
from coupler_plugin.emulator.trial import checked, sample_arguments
from coupler_plugin.emulator.window import Window
from coupler_plugin.parallel import together
from coupler_plugin.regrid import Route

if TYPE_CHECKING:
    from mpi4py import MPI

Values = NDArray[np.float64]

#: calls after which the profiling executor has settled on its code
_WARM_UP: Final = 3


class Tiles(Remembering):
    """Runs the tiles of one rank through an emulator; a call is collective.

    Parameters
    ----------
    emulator : EmulatorFile
    plan : GridPlan
        With a tiling.
    block : int or "exact"
        Pixels of a call: as many tiles run at once as it holds, at least one. "exact" runs all at once.
    comm : mpi4py.MPI.Comm or None
    draws : Draws, optional
        Of an emulator that draws random numbers: its tiles run one by one, each with numbers of its own.

    Attributes
    ----------
    inputs, static, state, outputs : float32 arrays, shape (n, C), (n, S), (n, K), (n, O s s)
        The cells of this rank, in the manifest's order of channels; with the scale s, outputs have s * s numbers of the
        finer grid for each channel.
    sizes : tuple of int
        Pixels of the calls.
    keeps_bits : bool
        Whether a tile has the same bits wherever it runs.
    """

    def __init__(
        self,
        emulator: EmulatorFile,
        plan: GridPlan,
        block: int | Literal["exact"],
        comm: MPI.Comm | None,
        draws: Draws | None = None,
    ) -> None:
        assert plan.tiling is not None
        self._manifest = manifest = emulator.manifest
        self._emulator, self._comm, self._scale = emulator, comm, plan.scale
        self._n_tiles = plan.tiles.size
        self._shape = plan.tiling.tile
        pixels = plan.tiling.pixels
        self._draws, self._tiles = draws, plan.tiles
        self._batch = 1 if draws else max(1, self._n_tiles if block == "exact" else block // pixels)
        self.sizes = (self._batch * pixels,) * -(-self._n_tiles // self._batch)
        ids, n = plan.cells.ids, plan.cells.n
        self.inputs = np.zeros((n, manifest.n_inputs), np.float32)
        self.static = np.zeros((n, manifest.n_static), np.float32)
        initial = [np.full((n, entry.size), entry.initial, np.float32) for entry in manifest.state]
        self.state = np.concatenate(initial, axis=1) if initial else np.zeros((n, 0), np.float32)
        self.outputs = np.zeros((n, manifest.n_outputs * plan.scale**2), np.float32)
        self._window: Window | None = None
        if manifest.window:
            self._window = Window(manifest.window.length, torch.from_numpy(self.inputs), ())
        finer = plan.tiling.refined(plan.scale)
        pixel_ids, finer_ids = plan.tiling.pixel_ids(plan.tiles), finer.pixel_ids(plan.tiles)
        blended = partial(Route, comm=comm, of_one=True)
        self._gather = Route(ids, pixel_ids, plan.tiling.gather(plan.tiles), comm=comm)
        self._blend = blended(finer_ids, fine_ids(ids, plan.tiling.grid, plan.scale), finer.blending(plan.tiles))
        self._blend_state = blended(pixel_ids, ids, plan.tiling.blending(plan.tiles)) if manifest.state else None
        self._answers = np.zeros((finer_ids.size, manifest.n_outputs))
        self._states = np.zeros((pixel_ids.size, manifest.n_state))
        self._blended = np.zeros((n * plan.scale**2, manifest.n_outputs))
        self._static_tiles: torch.Tensor | None = None
        with generators_kept() if draws else nullcontext():
            keeps_bits = together(comm, partial(try_tiles, emulator, self._batch) if self._n_tiles else _nothing_to_try)
        self.keeps_bits = draws is not None or (keeps_bits and block != "exact")

    def run(self) -> None:
        """Compute the outputs of all cells from their inputs, and advance their state; a collective call."""
        if self._window is not None:
            self._window.push()
        if self._static_tiles is None:
            self._static_tiles = self._tiled(self.static)
        past = self.inputs if self._window is None else self._window.recall().reshape(len(self.inputs), -1)
        seen = self._tiled(np.concatenate([past, self.state], axis=1))
        with generators_kept() if self._draws else nullcontext():
            together(self._comm, partial(self._call, seen, self._static_tiles))
        self._blend(self._answers, self._blended)
        answers = self._blended.reshape(len(self.outputs), self._scale**2, -1).swapaxes(1, 2)
        np.copyto(self.outputs, answers.reshape(self.outputs.shape), casting="same_kind")
        if self._blend_state is not None:
            np.copyto(self.state, self._blend_state(self._states), casting="same_kind")

    def _tiled(self, values: NDArray[np.float32]) -> torch.Tensor:
        """Return what all tiles of this rank see, shape (tiles of whole batches, channels, H, W); a collective call."""
        pixels = self._gather(values.astype(np.float64))
        shape = (len(self.sizes) * self._batch, values.shape[1], *self._shape)
        tiles = host_zeros(shape, device_of(self._emulator.forward))
        by_tile = pixels.reshape(self._n_tiles, *self._shape, values.shape[1])
        np.copyto(tiles.numpy()[: self._n_tiles], by_tile.transpose(0, 3, 1, 2), casting="same_kind")
        return tiles

    def _call(self, seen: torch.Tensor, static: torch.Tensor) -> None:
        """Run the tiles of this rank, and leave their answers and new states pixel by pixel."""
        manifest = self._manifest
        past = seen.shape[1] - manifest.n_state
        for first in range(0, len(seen), self._batch):
            batch = slice(first, first + self._batch)
            inputs = seen[batch, :past]
            if manifest.window:
                inputs = inputs.reshape(self._batch, manifest.window.length, manifest.n_inputs, *self._shape)
            arguments = [inputs.contiguous()]
            if manifest.static:
                arguments.append(static[batch])
            if manifest.state:
                arguments.append(seen[batch, past:].contiguous())
            if self._draws:
                self._draws.begin(int(self._tiles[first]))
            parts = checked(self._emulator.forward, arguments, manifest, self._emulator.path)
            for target, part in zip((self._answers, self._states), parts, strict=False):
                rows = target.reshape(self._n_tiles, -1, target.shape[1])[batch]
                by_pixel = part.numpy()[: len(rows)].transpose(0, 2, 3, 1)
                np.copyto(rows, by_pixel.reshape(rows.shape))


def _nothing_to_try() -> bool:
    return True


def try_tiles(emulator: EmulatorFile, batch: int) -> bool:
    """Call the module until it has settled, and return whether a tile has the same bits at every place of a batch.

    Raises
    ------
    CouplerError
        MODEL, when it does not run on the shapes of its manifest, or answers in others.
    """
    sample = sample_arguments(emulator.manifest, batch)
    for _ in range(_WARM_UP):
        whole = checked(emulator.forward, sample, emulator.manifest, emulator.path)
    turned = checked(emulator.forward, [tensor.roll(1, 0) for tensor in sample], emulator.manifest, emulator.path)
    return all(torch.equal(one.roll(1, 0), other) for one, other in zip(whole, turned, strict=True))
