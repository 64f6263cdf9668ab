# SPDX-License-Identifier: Apache-2.0
"""A module in fewer operations: what torch spends on each is most of the time of a small network.

Weights are transposed once instead of at every call, activations are applied in the memory of what they follow, and
products are written into memory that is made once, the last one where its answer is wanted. The kernels stay the same
and so do the bits, which `blocks.py` proves with the module itself before it uses the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch

#: activations that have a form in place, beside relu, which torch has as a part of the product
_IN_PLACE: Final = ("tanh", "sigmoid", "silu")


def _graph(*lines: str) -> str:
    body = "\n".join(f"  {line}" for line in lines)
    return f"graph(%x, %w, %b):\n{body}\n  return (%y)"


#: products, and how many inputs they have where torch finds the memory for the result
_PRODUCTS: Final = {"aten::addmm": 5, "aten::_addmm_activation": 6}
_FACTOR: Final = 2  #: which of them are the weights, transposed

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
        Takes the arguments of the module, memory for its answer if it writes that, and memory for each of `widths`.
    widths : tuple of int
        Of the products on its way, each of which has one row for each row of its arguments.
    writes_answer : bool
        Whether it fills a tensor of the shape of its answer.
    bind : callable, optional
        Takes the same once and returns a call on the memory of these arguments.
    """

    call: Callable[..., Any]
    widths: tuple[int, ...] = ()
    writes_answer: bool = False
    bind: Callable[..., Callable[[], Any]] | None = None

    def on(self, arguments: Sequence[torch.Tensor]) -> Callable[[], Any]:
        """Return a call on arguments whose memory stays where it is."""
        return partial(self.call, *arguments) if self.bind is None else self.bind(*arguments)

    def memory(self, rows: int, width: int) -> list[torch.Tensor]:
        """Return new memory for an answer of some width, if it fills that, and for the products."""
        return [torch.empty(rows, size) for size in (*[width] * self.writes_answer, *self.widths)]


def fuse(forward: Any) -> Sequence[Fused]:
    """Return the frozen method `forward` as functions of fewer operations, the best one first.

    Not all products have a row for each row of the arguments: the last one leaves their memory to torch.

    Parameters
    ----------
    forward : torch.ScriptMethod
        Where it branches, or keeps something in the module, what one call shows says nothing about another: there is
        no function then.
    """
    graph = forward.graph.copy()
    owner = next(graph.inputs())
    if owner.uses() or any(list(node.blocks()) for node in graph.nodes()):
        return ()
    try:
        for rule in _RULES:
            torch._C._jit_pass_custom_pattern_based_rewrite_graph(*rule, graph)
        torch._C._jit_pass_constant_propagation(graph)
        torch._C._jit_pass_dce(graph)
        graph.eraseInput(0)
        writes_answer = _write_last_product(graph)
        plain = Fused(_function(graph.copy()), (), writes_answer)
        widths = _write_products(graph)
        return (Fused(_function(graph), widths, writes_answer), plain) if widths else (plain,)
    except (AttributeError, RuntimeError):  # none of this is promised by torch
        return ()


def _function(graph: Any) -> Callable[..., Any]:
    graph.lint()
    made: Callable[..., Any] = torch._C._create_function_from_graph("forward", graph)
    return made


def _write_last_product(graph: Any) -> bool:
    """Let the graph write its answer into one more input, if the answer is one product that nothing else uses."""
    answers = list(graph.outputs())
    last = answers[0].node()
    if len(answers) != 1 or last.kind() != "aten::addmm" or len(answers[0].uses()) != 1:
        return False
    _write_into(graph, last, graph.addInput("answer"))
    return True


def _write_products(graph: Any) -> tuple[int, ...]:
    """Let the graph write its other products into more inputs, and return their widths."""
    widths: list[int] = []
    for kind, count in _PRODUCTS.items():
        for product in graph.findAllNodes(kind):
            inputs = list(product.inputs())
            sizes = inputs[_FACTOR].type().sizes()
            if len(inputs) == count and sizes is not None:
                _write_into(graph, product, graph.addInput(f"product{len(widths)}"))
                widths.append(sizes[1])
    return tuple(widths)


def _write_into(graph: Any, product: Any, memory: Any) -> None:
    """Replace a product by one that is written into memory."""
    written = graph.create(product.kind(), [*product.inputs(), memory], 1)
    written.insertBefore(product)
    product.output().replaceAllUsesWith(written.output())
    product.destroy()
