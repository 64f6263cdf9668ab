# SPDX-License-Identifier: Apache-2.0
"""How the products of a network reach the compiler: with shorter factors, or apart from what follows them.

Left to itself, the compiler hands a product to oneDNN together with its bias and its activation. MKL's product alone is
faster on some processors, by more than one more pass over its result costs: both are tried on the machine at hand.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch.fx import GraphModule, Node

from coupler_plugin.emulator.device import CPU
from coupler_plugin.emulator.trial import fastest

_ATEN: Final = torch.ops.aten
#: products whose factors may be shortened; sums over their terms stay float32
_PRODUCTS: Final = {_ATEN.linear.default, _ATEN.matmul.default, _ATEN.conv2d.default}
#: parts of the names of operations for which the compiler lays weights out anew, as only oneDNN reads them
_PACKED: Final = ("conv", "lstm", "gru", "rnn")


def arrange(graph: GraphModule, dtype: str, device: str) -> dict[str, Any]:
    """Prepare the products of a traced network, and return what the compiler must be told about them.

    Raises
    ------
    ValueError
        when there is none that could run in bfloat16.
    """
    if dtype == "bfloat16":
        shorten(graph)
        return {}
    if device != CPU or not are_faster_apart(graph):
        return {}
    separate(graph)
    return {"cpp.weight_prepack": False}


def shorten(graph: GraphModule) -> None:
    """Let the factors of products be bfloat16."""
    products = [node for node in graph.graph.nodes if node.target in _PRODUCTS]
    if not products:
        raise ValueError("it has no product that could run in bfloat16")
    for node in products:
        with graph.graph.inserting_before(node):
            node.args = tuple(
                graph.graph.call_function(_ATEN.to.dtype, (part, torch.bfloat16)) if isinstance(part, Node) else part
                for part in node.args
            )
        with graph.graph.inserting_after(node):
            longer = graph.graph.call_function(_ATEN.to.dtype, (node, torch.float32))
        node.replace_all_uses_with(longer, delete_user_cb=lambda user, longer=longer: user is not longer)
    graph.recompile()


def are_faster_apart(graph: GraphModule) -> bool:
    """Return whether this machine computes the layers of a network faster as products and what follows them.

    Only where nothing else in it has weights that the compiler would lay out anew.
    """
    layers = _layers(graph)
    if not layers or any(part in str(node.target) for node in graph.graph.nodes for part in _PACKED):
        return False
    apart = together = 0.0
    for node in layers:
        rows, weight, bias = torch.rand(node.args[0].meta["val"].shape), *(_constant(graph, n) for n in node.args[1:])
        result = torch.empty(len(rows), len(weight))
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), len(rows))
        times = fastest(
            [
                lambda: torch.mm(rows, weight.t(), out=result).add_(bias),  # noqa: B023
                lambda: torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "relu", [], ""),  # noqa: B023
            ]
        )
        apart, together = apart + times[0], together + times[1]
    return apart < together


def separate(graph: GraphModule) -> None:
    """Turn layers into products and sums of which the compiler makes one loop with the activation.

    It would join `product + bias` again; `product - (-bias)` has the same bits, and the bias is negated only once.
    """
    for node in _layers(graph):
        rows, weight, bias = node.args
        with graph.graph.inserting_before(node):
            transposed = graph.graph.call_function(_ATEN.t.default, (weight,))
            product = graph.graph.call_function(_ATEN.mm.default, (rows, transposed))
            negated = graph.graph.call_function(_ATEN.neg.default, (bias,))
            node.replace_all_uses_with(graph.graph.call_function(_ATEN.sub.Tensor, (product, negated)))
        graph.graph.erase_node(node)
    graph.recompile()


def _layers(graph: GraphModule) -> list[Any]:
    """Return the layers with a bias that are applied to columns."""
    return [
        node
        for node in graph.graph.nodes
        if node.target is _ATEN.linear.default and len(node.args) == 3 and node.args[0].meta["val"].dim() == 2
    ]


def _constant(graph: GraphModule, node: Node) -> torch.Tensor:
    found: torch.Tensor = getattr(graph, str(node.target))
    return found
