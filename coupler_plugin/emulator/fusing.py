# SPDX-License-Identifier: Apache-2.0
"""A module in fewer operations: what torch spends on each is most of the time of a small network.

Weights are transposed once instead of at every call, activations are applied in the memory of what they follow, and a
last product is written where its answer is wanted. The kernels stay the same and so do the bits, which `blocks.py`
proves with the module itself before it uses the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch

#: activations that have a form in place, beside relu, which torch has as a part of the product
_IN_PLACE: Final = ("tanh", "sigmoid", "silu")


def _graph(*lines: str) -> str:
    body = "\n".join(f"  {line}" for line in lines)
    return f"graph(%x, %w, %b):\n{body}\n  return (%y)"


_ONE: Final = ("%t = aten::t(%w)", "%one : int = prim::Constant[value=1]()")
_GELU: Final = "%gelu : bool = prim::Constant[value=0]()"
_RULES: Final = (
    (
        _graph("%z = aten::linear(%x, %w, %b)", "%y = aten::relu(%z)"),
        _graph(*_ONE, _GELU, "%y = aten::_addmm_activation(%b, %x, %t, %one, %one, %gelu)"),
    ),
    *(
        (
            _graph("%z = aten::linear(%x, %w, %b)", f"%y = aten::{name}(%z)"),
            _graph(*_ONE, "%z = aten::addmm(%b, %x, %t, %one, %one)", f"%y = aten::{name}_(%z)"),
        )
        for name in _IN_PLACE
    ),
    (_graph("%y = aten::linear(%x, %w, %b)"), _graph(*_ONE, "%y = aten::addmm(%b, %x, %t, %one, %one)")),
)  # fmt: skip


@dataclass(frozen=True)
class Fused:
    """A module as a function.

    Attributes
    ----------
    call : callable
    writes_answer : bool
        Whether it takes a tensor of the shape of its answer as a last argument, fills it and returns it.
    """

    call: Callable[..., Any]
    writes_answer: bool


def fuse(forward: Any) -> Fused | None:
    """Return the frozen method `forward` as a function of fewer operations; None where that cannot be told to work.

    Parameters
    ----------
    forward : torch.ScriptMethod
        Where it branches, or keeps something in the module, what one call shows says nothing about another.
    """
    graph = forward.graph.copy()
    owner = next(graph.inputs())
    if owner.uses() or any(list(node.blocks()) for node in graph.nodes()):
        return None
    try:
        for rule in _RULES:
            torch._C._jit_pass_custom_pattern_based_rewrite_graph(*rule, graph)
        torch._C._jit_pass_constant_propagation(graph)
        torch._C._jit_pass_dce(graph)
        graph.eraseInput(0)
        writes_answer = _write_last_product(graph)
        return Fused(torch._C._create_function_from_graph("forward", graph), writes_answer)
    except (AttributeError, RuntimeError):  # none of this is promised by torch
        return None


def _write_last_product(graph: Any) -> bool:
    """Let the graph write its answer into one more input, if the answer is one product that nothing else uses."""
    answers = list(graph.outputs())
    last = answers[0].node()
    if len(answers) != 1 or last.kind() != "aten::addmm" or len(answers[0].uses()) != 1:
        return False
    product = graph.create(last.kind(), [*last.inputs(), graph.addInput("answer")], 1)
    product.insertBefore(last)
    answers[0].replaceAllUsesWith(product.output())
    last.destroy()
    graph.lint()
    return True
