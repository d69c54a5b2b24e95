"""How each layer's weights lie in flash: the encoding that is cheapest for what is optimised."""

from __future__ import annotations

import numpy as np

from deepcompress.cost import Cost, estimate
from deepcompress.encodings import ENCODINGS
from deepcompress.errors import UserError
from deepcompress.graph import EncodedGraph, EncodedWeight, IntegerGraph, IntegerNode, Tensor


def encode(
    graph: IntegerGraph, *, encoding: str = "auto", optimize: str = "balanced", cpu: str
) -> EncodedGraph:
    """The graph with every weight encoded.

    Args:
        encoding: "auto", or one of `ENCODINGS` for all layers that can have it.
        optimize: what "auto" minimises: "size", "speed", or "balanced" (their product).

    Raises:
        UserError: a layer that cannot have the encoding asked for.
    """
    weights = {
        node.name: _choose(graph, node, encoding, optimize, cpu)
        for node in graph.nodes
        if node.weight is not None
    }
    return EncodedGraph(graph, weights)


def stored_weights(node: IntegerNode, encoding: str) -> int:
    """Weights that a kernel multiplies by."""
    return node.weight.size if encoding == "dense" else int(np.count_nonzero(node.weight))


def _choose(
    graph: IntegerGraph, node: IntegerNode, encoding: str, optimize: str, cpu: str
) -> EncodedWeight:
    possible = _possible(node, graph.tensors)
    if encoding != "auto":
        if encoding not in possible:
            raise UserError(
                f"the encoding {encoding} needs a window no larger than the padded layer's input",
                f"layer {node.name}",
                "Use encoding = auto or dense",
            )
        possible = [encoding]
    encoded = [EncodedWeight(name, ENCODINGS[name].encode(node.weight)) for name in possible]
    output = graph.tensors[node.output].shape

    def price(weight: EncodedWeight) -> float:
        stored = stored_weights(node, weight.encoding)
        return _price(weight, estimate(node, weight, stored, output, cpu), optimize)

    return min(encoded, key=price)


def _price(weight: EncodedWeight, cost: Cost, optimize: str) -> float:
    flash_bytes = weight.flash_bytes + cost.code_bytes
    return {
        "size": flash_bytes,
        "speed": cost.cycles,
        "balanced": flash_bytes * cost.cycles,
    }[optimize]


def _possible(node: IntegerNode, tensors: dict[str, Tensor]) -> list[str]:
    """Encodings whose kernel can run this layer.

    At the border a sparse kernel reads a weight's row and column off its input's offset, which
    says them only where the window is no larger than the input.
    """
    if node.op == "conv2d" and any(node.attributes.padding):
        _, height, width = tensors[node.inputs[0]].shape
        if node.attributes.extent[0] > height or node.attributes.extent[1] > width:
            return ["dense"]
    return list(ENCODINGS)
