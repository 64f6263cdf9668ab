# SPDX-License-Identifier: Apache-2.0
"""Networks of dense layers without torch's dispatcher, which takes longer than the products of a small network.

Layers are computed by `layers.py`; other activations than relu, and the scaling before and after the layers, are
torch's, in place. Numbers and the order of their sums stay the same and so do the bits, which `blocks.py` proves with
the module itself before it uses the result; a compiled package has sums of its own instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import torch

from coupler_plugin.emulator.fusing import Fused
from coupler_plugin.emulator.layers import Choice, Layer, bind, library, of_same_bits, of_sums, quickest_sums

_NN: Final[Any] = torch._C._nn
#: forms in place of operations on each number alone, which take the same constants
_IN_PLACE: Final[Mapping[str, Callable[..., Any]]] = {
    "aten::relu": torch.relu_,
    "aten::tanh": torch.tanh_,
    "aten::sigmoid": torch.sigmoid_,
    "aten::silu": _NN.silu_,
    "aten::gelu": lambda x, form: _NN.gelu_(x, approximate=form),
    "aten::leaky_relu": _NN.leaky_relu_,
    "aten::elu": _NN.elu_,
    "aten::softplus": lambda x, beta, threshold: _NN.softplus(x, beta, threshold, out=x),
    "aten::exp": torch.exp_,
    "aten::clamp": torch.clamp_,
}
#: those with one constant
_WITH_CONSTANT: Final[Mapping[str, Callable[..., Any]]] = {
    "aten::add": torch.Tensor.add_,
    "aten::sub": torch.Tensor.sub_,
    "aten::mul": torch.Tensor.mul_,
    "aten::div": torch.Tensor.div_,
}


@dataclass(frozen=True)
class InPlace:
    """An operation of torch on memory that it changes, and its constants."""

    operation: Callable[..., Any]
    constants: Sequence[Any] = ()


#: layers of which each takes the result of the one before, or an operation on the result of the last
Step = list[Layer] | InPlace


def dense(forward: Any, sums: Sequence[int] | None = None) -> Fused | None:
    """Return the frozen method `forward` as layers that are computed directly; None where it does anything else.

    Parameters
    ----------
    forward : torch.ScriptMethod
    sums : sequence of int, optional
        For each layer what `freed` gave; by default all products have the bits of the library.
    """
    steps = _steps(forward.graph)
    layers = _layers(steps)
    if not layers or library() is None:
        return None
    widths = [layer.weights.shape[0] for layer in layers]
    if isinstance(steps[0], InPlace):  # not in the memory of the inputs, which stay
        widths.insert(0, layers[0].weights.shape[1])
    place = partial(_bind, steps, of_same_bits() if sums is None else of_sums(layers, sums))

    def call(block: torch.Tensor, answer: torch.Tensor, *memory: torch.Tensor) -> torch.Tensor:
        place(block, answer, *memory)()
        return answer

    return Fused(call, tuple(widths[:-1]), writes_answer=True, bind=place)


def freed(forward: Any, rows: int) -> list[int]:
    """Return for each layer of `dense` the sums that take the least time here, whatever their bits; none without it."""
    return quickest_sums(_layers(_steps(forward.graph)), rows) if library() is not None else []


def _layers(steps: Sequence[Step]) -> list[Layer]:
    return [layer for step in steps if isinstance(step, list) for layer in step]


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
    if kind in _IN_PLACE:
        return InPlace(_IN_PLACE[kind], tuple(constants))
    if kind in _WITH_CONSTANT and constants[1:] in ([], [1]):  # a factor of what is added
        return InPlace(_WITH_CONSTANT[kind], tuple(constants[:1]))
    return None


def _bind(
    steps: Sequence[Step], choose: Choice, block: torch.Tensor, answer: torch.Tensor, *memory: torch.Tensor
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
            calls.append(bind(choose, step, now, made))
            now = made[-1]
    if len(calls) == 1:
        return calls[0]

    def run() -> None:
        for call in calls:
            call()

    return run
