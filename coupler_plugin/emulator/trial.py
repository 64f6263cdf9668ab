# SPDX-License-Identifier: Apache-2.0
"""A module tried on sample arguments: whether it runs, answers in the shapes of its manifest, and keeps its bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from coupler_plugin.emulator.file import last_line
from coupler_plugin.emulator.manifest import Input, Manifest, Variable
from coupler_plugin.errors import CouplerError, Status

#: a bucket starts and ends on a cache line, whatever the number of channels
GRAIN: Final = 16


def checked(
    forward: Callable[..., Any],
    arguments: Sequence[torch.Tensor],
    manifest: Manifest,
    path: Path,
    into: Sequence[torch.Tensor] = (),
) -> list[torch.Tensor]:
    """Call a module and return its outputs and, if it has one, its new state, once their shapes are right.

    A row of its arguments is a column, or a tile of an emulator that sees tiles.

    Raises
    ------
    CouplerError
        MODEL, when it does not run on the shapes of its manifest, or answers in others.
    """
    try:
        with torch.inference_mode():
            answer = forward(*arguments, *into)
    except Exception as error:  # torch.jit raises many kinds
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in arguments)
        raise CouplerError(
            Status.MODEL,
            f"the emulator '{path}' does not run on inputs of the shapes {shapes} that its manifest asks for: "
            f"{last_line(error)}.",
        ) from error
    parts = list(answer) if manifest.state and isinstance(answer, tuple) else [answer]
    rows, tile = len(arguments[0]), manifest.tile
    fine = tuple(tile.scale * size for size in tile.size) if tile else ()
    wanted: list[Any] = [(rows, manifest.n_outputs, *fine)]
    wanted += [(rows, manifest.n_state, *(tile.size if tile else ()))] * bool(manifest.state)
    found = [tuple(part.shape) if isinstance(part, torch.Tensor) else type(part).__name__ for part in parts]
    if found != wanted:
        raise CouplerError(
            Status.MODEL,
            f"the emulator '{path}' returns {found} where its manifest promises {wanted} (outputs, state).",
        )
    return parts


def fastest(calls: Sequence[Callable[[], Any]], times: int = 15) -> list[float]:
    """Return the shortest time that each of some calls takes [s]; they take turns."""
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(times):
        for call, so_far in zip(calls, taken, strict=True):
            begin = perf_counter()
            call()
            so_far.append(perf_counter() - begin)
    return [min(so_far) for so_far in taken]


#: runs the emulator on some rows of a sample
Call = Callable[[torch.Tensor], list[torch.Tensor]]


def smallest_bucket(call: Call, whole: Sequence[torch.Tensor], tail: int) -> int:
    """Return the smallest proved number of rows that holds `tail` rows.

    Parameters
    ----------
    call : callable
    whole : sequence of tensors
        What it gives for all rows of the sample, which fill a block.
    tail : int
        Rows to run.
    """
    block = len(whole[0])
    size = GRAIN
    while size < block:
        if size >= tail and block % size == 0 and gives_same_bits(call, whole, torch.split(torch.arange(block), size)):
            return size
        size *= 2
    return block


def gives_same_bits(call: Call, whole: Sequence[torch.Tensor], parts: Iterable[torch.Tensor]) -> bool:
    """Return whether some rows, called as they are given in `parts`, have the bits that they have in `whole`."""
    return all(
        np.array_equal(_bits(part), _bits(reference[rows]))
        for rows in parts
        for part, reference in zip(call(rows), whole, strict=True)
    )


def _bits(tensor: torch.Tensor) -> NDArray[np.int32]:
    return tensor.contiguous().numpy().view(np.int32)


def sample_arguments(manifest: Manifest, rows: int) -> list[torch.Tensor]:
    """Return plausible arguments of `forward`: inputs drawn from the training statistics, by a fixed seed.

    A row is a column, or a tile of an emulator that sees tiles.
    """
    generator = torch.Generator().manual_seed(0)
    field = manifest.tile.size if manifest.tile else ()

    def draw(entries: Sequence[Variable], *shape: int) -> torch.Tensor:
        channels = [_draw(entry, torch.randn(*shape, *field, entry.size, generator=generator)) for entry in entries]
        return torch.cat(channels, dim=-1).movedim(-1, len(shape)).contiguous()

    shape = (rows, manifest.window.length) if manifest.window else (rows,)
    arguments = [draw(manifest.inputs, *shape)]
    if manifest.static:
        arguments.append(draw(manifest.static, rows))
    if manifest.state:
        # a state of zeros would hide what a product does to it
        initial = initial_state(manifest, rows).reshape(rows, manifest.n_state, *(1 for _ in field))
        arguments.append(initial + torch.rand(rows, manifest.n_state, *field, generator=generator))
    return arguments


def _draw(entry: Variable, noise: torch.Tensor) -> torch.Tensor:
    if isinstance(entry, Input) and entry.statistics is not None:
        statistics = entry.statistics
        return torch.clamp(statistics.mean + statistics.std * noise, statistics.min, statistics.max)
    if entry.valid_range is not None:
        low, high = entry.valid_range
        return low + (high - low) * torch.sigmoid(noise)
    return noise


def initial_state(manifest: Manifest, rows: int) -> torch.Tensor:
    """Return the state before the first call, shape (rows, K)."""
    columns = [torch.full((rows, entry.size), entry.initial) for entry in manifest.state]
    return torch.cat(columns, dim=1) if columns else torch.zeros(rows, 0)
