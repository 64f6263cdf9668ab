# SPDX-License-Identifier: Apache-2.0
"""Dense layers that follow each other, in one call of C: products of torch's own library, or of ours.

The library's products of small layers leave some processors a fifth below what they can do, and its results pass
through memory once more for bias and activation. Ours (`native/product.h`) do both at once, in one of two orders of
sums. An order that gives the bits of the library is found by trying, for each layer and number of rows.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch

from coupler_plugin._native import ffi, lib
from coupler_plugin.emulator.trial import fastest

#: columns of the panels of our products, by the sums of a result that run beside each other
_COLUMNS: Final[Mapping[int, int]] = {1: 16, 4: 8}
#: rows that pass through all layers while their numbers are in the fastest cache
_AT_ONCE: Final = 96
#: rows whose bits are compared, and what makes the products of one of them too small for a number
_COMPARED: Final = 4096
_TINY: Final = 1e-44
#: calls of each product, of which the shortest counts
_TIMED: Final = 50
#: what a plan points to lives as long as the plan
_KEPT: Final[WeakKeyDictionary[Any, Any]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Layer:
    """A product, and what follows it at once.

    Attributes
    ----------
    weights : contiguous float32 tensor, shape (width, inputs)
    bias : contiguous float32 tensor, shape (width), optional
    is_cut : bool
        Whether relu follows.
    """

    weights: torch.Tensor
    bias: torch.Tensor | None
    is_cut: bool = False


@dataclass(frozen=True, eq=False)
class Panels:
    """Bias and weights of a layer as a product of our own reads them.

    Attributes
    ----------
    numbers : contiguous float32 tensor, shape (panels, 1 + inputs, columns)
    n_sums : int
        As in `native/product.h`.
    """

    numbers: torch.Tensor
    n_sums: int


#: what a product of our own takes for a layer and a number of rows; None: the library's is used
Choice = Callable[[Layer, int], Panels | None]


@cache
def library() -> int | None:
    """Return the address of the product that torch calls; None where its library keeps that to itself."""
    path = Path(torch.__file__).parent / "lib" / f"libtorch_cpu.{'dylib' if sys.platform == 'darwin' else 'so'}"
    if sys.byteorder != "little" or not path.exists():
        return None
    function = getattr(ctypes.CDLL(str(path)), "sgemm_", None)
    return None if function is None else ctypes.cast(function, ctypes.c_void_p).value


def bind(
    choose: Choice, layers: Sequence[Layer], block: torch.Tensor, results: Sequence[torch.Tensor]
) -> Callable[[], None]:
    """Return a call of layers, in memory that stays where it is; that of the last result alone is filled.

    Raises
    ------
    ValueError
        when a layer or its result has another shape.
    """
    rows = len(block)
    shapes = [(rows, layer.weights.shape[1]) for layer in layers]
    for taken, shape in zip([block, *results], [*shapes, (rows, layers[-1].weights.shape[0])], strict=True):
        if tuple(taken.shape) != shape or taken.dtype is not torch.float32 or not taken.is_contiguous():
            raise ValueError(f"a layer takes {shape}, not {tuple(taken.shape)}")
    chosen = [choose(layer, rows) for layer in layers]
    described = ffi.new(
        "dense_layer[]",
        [
            {
                "weights": _numbers(layer.weights),
                "bias": _numbers(layer.bias),
                "panels": _numbers(panels.numbers if panels else None),
                "n_sums": panels.n_sums if panels else 0,
                "inputs": layer.weights.shape[1],
                "width": layer.weights.shape[0],
                "is_cut": layer.is_cut,
                "result": _numbers(result),
            }
            for layer, panels, result in zip(layers, chosen, results, strict=True)
        ],
    )
    at_once = _AT_ONCE if all(chosen) else rows  # the bits of a library may depend on the number of rows
    plan = ffi.new("dense_layers *", (library(), _numbers(block), rows, at_once, described, len(layers)))
    _KEPT[plan] = described, layers, chosen, block, results
    return partial(lib.dense_run, plan)


def of_same_bits() -> Choice:
    """Return the choice of our products where they give the library's bits in less time, each tried once.

    Where torch has several threads, which the library spreads large products over, all are left to it.
    """
    tried = cache(_of_same_bits)
    return lambda layer, rows: None if torch.get_num_threads() > 1 else tried(layer, rows)


def of_sums(layers: Sequence[Layer], sums: Sequence[int]) -> Choice:
    """Return the choice of what `quickest_sums` gave.

    Raises
    ------
    ValueError
        when that was for other layers.
    """
    panels = {layer: _panels(layer, n_sums) if n_sums else None for layer, n_sums in zip(layers, sums, strict=True)}
    return lambda layer, rows: panels[layer] if _is_possible(rows) else None


def quickest_sums(layers: Sequence[Layer], rows: int) -> list[int]:
    """Return the sums of the product of each layer that takes the least time, whatever its bits; 0: the library's."""
    if not _is_possible(rows):
        return [0] * len(layers)
    chosen = [_quickest(layer, rows, [None, *_candidates(layer)]) for layer in layers]
    return [panels.n_sums if panels else 0 for panels in chosen]


def _of_same_bits(layer: Layer, rows: int) -> Panels | None:
    if not _is_possible(rows):
        return None
    return next(
        (_quickest(layer, rows, [None, panels]) for panels in _candidates(layer) if _is_same(layer, rows, panels)), None
    )


def _is_same(layer: Layer, rows: int, panels: Panels) -> bool:
    """Return whether our product has the library's bits, for blocks that begin on a cache line, as all do here.

    Few numbers may be the same in another order.
    """
    width, inputs = layer.weights.shape
    block, expected, found = torch.empty(rows, inputs), torch.empty(rows, width), torch.empty(rows, width)
    library, ours = _alone(layer, None, block, expected), _alone(layer, panels, block, found)
    generator = torch.Generator().manual_seed(0)
    for _ in range(-(-_COMPARED // rows)):
        block.normal_(generator=generator)
        block[0] *= _TINY
        block[1] *= 0.0  # zeros with signs
        library()
        ours()
        if not torch.equal(expected.view(torch.int32), found.view(torch.int32)):
            return False
    return True


def _quickest(layer: Layer, rows: int, candidates: Sequence[Panels | None]) -> Panels | None:
    """Return what takes the least time for the rows that pass at once."""
    width, inputs = layer.weights.shape
    rows = min(rows, _AT_ONCE)
    block, result = torch.ones(rows, inputs), torch.empty(rows, width)
    times = fastest([_alone(layer, panels, block, result) for panels in candidates], _TIMED)
    return candidates[times.index(min(times))]


def _is_possible(rows: int) -> bool:
    return rows >= lib.PRODUCT_ROWS and bool(lib.product_is_here())


def _candidates(layer: Layer) -> list[Panels]:
    return [_panels(layer, n_sums) for n_sums in _COLUMNS if layer.weights.shape[1] % n_sums == 0]


def _alone(layer: Layer, panels: Panels | None, block: torch.Tensor, result: torch.Tensor) -> Callable[[], None]:
    return bind(lambda *_: panels, [layer], block, [result])


def _panels(layer: Layer, n_sums: int) -> Panels:
    width, inputs = layer.weights.shape
    if n_sums not in _COLUMNS or inputs % n_sums:
        raise ValueError(f"there is no product with {n_sums} sums of {inputs} inputs")
    columns = _COLUMNS[n_sums]
    numbers = torch.zeros(-(-width // columns) * columns, 1 + inputs)
    if layer.bias is not None:
        numbers[:width, 0] = layer.bias
    numbers[:width, 1:] = layer.weights
    return Panels(numbers.view(-1, columns, 1 + inputs).transpose(1, 2).contiguous(), n_sums)


def _numbers(tensor: torch.Tensor | None) -> Any:
    return ffi.NULL if tensor is None else ffi.cast("float *", tensor.data_ptr())
