# SPDX-License-Identifier: Apache-2.0
"""Networks of dense layers without torch's dispatcher, which takes longer than the products of a small network.

The products are those of the library that torch itself uses, called directly; a bias and a cut at zero follow each in
one pass. Other activations, and the scaling before and after the layers, are torch's, in place. Library, numbers and
their order stay the same and so do the bits, which `blocks.py` proves with the module itself before it uses the result.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch

from coupler_plugin._native import ffi, lib
from coupler_plugin.emulator.fusing import Fused

#: operations on each number alone, which have a form in place
_UNARY: Final[Mapping[str, Callable[..., Any]]] = {
    "aten::relu": torch.relu_,
    "aten::tanh": torch.tanh_,
    "aten::sigmoid": torch.sigmoid_,
    "aten::silu": torch._C._nn.silu_,
}
#: the same with a constant
_WITH_CONSTANT: Final[Mapping[str, Callable[..., Any]]] = {
    "aten::add": torch.Tensor.add_,
    "aten::sub": torch.Tensor.sub_,
    "aten::mul": torch.Tensor.mul_,
    "aten::div": torch.Tensor.div_,
}
#: what a plan points to lives as long as the plan
_KEPT: Final[WeakKeyDictionary[Any, Any]] = WeakKeyDictionary()


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class InPlace:
    """An operation of torch on memory that it changes, and its constants."""

    operation: Callable[..., Any]
    constants: Sequence[Any] = ()


#: layers of which each takes the result of the one before, or an operation on the result of the last
Step = list[Layer] | InPlace


def dense(forward: Any) -> Fused | None:
    """Return the frozen method `forward` as layers that are computed directly; None where it does anything else.

    Parameters
    ----------
    forward : torch.ScriptMethod
    """
    steps, sgemm = _steps(forward.graph), _sgemm()
    layers = [layer for step in steps if isinstance(step, list) for layer in step]
    if not layers or sgemm is None:
        return None
    widths = [layer.weights.shape[0] for layer in layers]
    if isinstance(steps[0], InPlace):  # not in the memory of the inputs, which stay
        widths.insert(0, layers[0].weights.shape[1])
    bind = partial(_bind, sgemm, steps)

    def call(block: torch.Tensor, answer: torch.Tensor, *memory: torch.Tensor) -> torch.Tensor:
        bind(block, answer, *memory)()
        return answer

    return Fused(call, tuple(widths[:-1]), writes_answer=True, bind=bind)


@cache
def _sgemm() -> int | None:
    """Return the address of the product that torch calls; None where its library keeps that to itself."""
    path = Path(torch.__file__).parent / "lib" / f"libtorch_cpu.{'dylib' if sys.platform == 'darwin' else 'so'}"
    if sys.byteorder != "little" or not path.exists():
        return None
    function = getattr(ctypes.CDLL(str(path)), "sgemm_", None)
    return None if function is None else ctypes.cast(function, ctypes.c_void_p).value


def _steps(graph: Any) -> list[Step]:
    """Return what a graph does to its argument, one after the other; nothing where it does anything else."""
    _, *arguments = graph.inputs()
    if len(arguments) != 1:
        return []
    steps: list[Step] = []
    value = arguments[0]
    for node in graph.nodes():
        if node.kind() == "prim::Constant":
            continue
        inputs = list(node.inputs())
        is_chained = bool(inputs) and inputs[0].debugName() == value.debugName() and len(value.uses()) == 1
        if not is_chained or any(other.node().kind() != "prim::Constant" for other in inputs[1:]):
            return []
        step = _step(node.kind(), [other.toIValue() for other in inputs[1:]])
        if step is None:
            return []
        last = steps[-1] if steps else None
        if isinstance(last, list) and isinstance(step, Layer):
            last.append(step)
        elif isinstance(last, list) and step == InPlace(torch.relu_):
            last[-1] = replace(last[-1], is_cut=True)
        else:
            steps.append([step] if isinstance(step, Layer) else step)
        value = node.output()
    return steps if [answer.debugName() for answer in graph.outputs()] == [value.debugName()] else []


def _step(kind: str, constants: Sequence[Any]) -> Layer | InPlace | None:
    if kind == "aten::linear":
        weights, bias = constants
        numbers = [weights] if bias is None else [weights, bias]
        is_plain = all(part.dtype is torch.float32 and part.is_contiguous() for part in numbers)
        is_full = weights.dim() == 2 and (bias is None or bias.shape == weights.shape[:1])
        return Layer(weights, bias) if is_plain and is_full else None
    if kind in _UNARY:
        return InPlace(_UNARY[kind])
    if kind in _WITH_CONSTANT and constants[1:] in ([], [1]):  # a factor of what is added
        return InPlace(_WITH_CONSTANT[kind], tuple(constants[:1]))
    return None


def _bind(
    sgemm: int, steps: Sequence[Step], block: torch.Tensor, answer: torch.Tensor, *memory: torch.Tensor
) -> Callable[[], Any]:
    """Return a call that takes all steps in memory that stays where it is."""
    results, now = [*memory, answer], block
    calls: list[Callable[[], Any]] = []
    if isinstance(steps[0], InPlace):
        now = results.pop(0)
        calls.append(partial(now.copy_, block))
    for step in steps:
        if isinstance(step, InPlace):
            calls.append(partial(step.operation, now, *step.constants))
        else:
            made, results = results[: len(step)], results[len(step) :]
            calls.append(_layers(sgemm, step, now, made))
            now = made[-1]
    if len(calls) == 1:
        return calls[0]

    def run() -> None:
        for call in calls:
            call()

    return run


def _layers(
    sgemm: int, layers: Sequence[Layer], block: torch.Tensor, results: Sequence[torch.Tensor]
) -> Callable[[], None]:
    """Return a call of layers that follow each other."""
    rows = len(block)
    shapes = [(rows, layer.weights.shape[1]) for layer in layers]
    for taken, shape in zip([block, *results], [*shapes, (rows, layers[-1].weights.shape[0])], strict=True):
        if tuple(taken.shape) != shape or taken.dtype is not torch.float32 or not taken.is_contiguous():
            raise ValueError(f"a layer takes {shape}, not {tuple(taken.shape)}")
    described = ffi.new(
        "dense_layer[]",
        [
            {
                "weights": _numbers(layer.weights),
                "bias": _numbers(layer.bias),
                "inputs": layer.weights.shape[1],
                "width": layer.weights.shape[0],
                "is_cut": layer.is_cut,
                "result": _numbers(result),
            }
            for layer, result in zip(layers, results, strict=True)
        ],
    )
    plan = ffi.new("dense_layers *", (sgemm, _numbers(block), rows, described, len(layers)))
    _KEPT[plan] = described, layers, block, results
    return partial(lib.dense_run, plan)


def _numbers(tensor: torch.Tensor | None) -> Any:
    return ffi.NULL if tensor is None else ffi.cast("float *", tensor.data_ptr())
