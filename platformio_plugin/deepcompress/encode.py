"""How each layer's weights lie in flash: the encoding that is cheapest for what is optimised."""

from __future__ import annotations

import numpy as np

from deepcompress.cost import SHARED_CODE_BYTES, estimate
from deepcompress.encodings import ENCODINGS, block, codebook
from deepcompress.errors import UserError
from deepcompress.graph import EncodedGraph, EncodedWeight, IntegerGraph, IntegerNode


def encode(
    graph: IntegerGraph, *, encoding: str = "auto", optimize: str = "balanced", cpu: str
) -> EncodedGraph:
    """The graph with every weight encoded.

    Args:
        encoding: "auto", or one of `ENCODINGS` for all layers.
        optimize: what "auto" minimises: "size", "speed", or "balanced" (their product).

    Raises:
        UserError: a layer that the one encoding cannot hold.
    """
    weights = {
        node.name: _choose(graph, node, encoding, optimize, cpu) for node in _weighted(graph)
    }
    return EncodedGraph(graph, weights)


def _weighted(graph: IntegerGraph) -> list[IntegerNode]:
    return [node for node in graph.nodes if node.weight is not None]


def stored_weights(node: IntegerNode, encoding: str) -> int:
    """Weights that a kernel multiplies by."""
    if encoding == "dense":
        return node.weight.size
    if encoding == "block" and node.op == "linear":
        return block.stored_weights(node.weight)
    return int(np.count_nonzero(node.weight))


def _choose(
    graph: IntegerGraph, node: IntegerNode, encoding: str, optimize: str, cpu: str
) -> EncodedWeight:
    possible = list(ENCODINGS) if encoding == "auto" else [encoding]
    encoded = [
        EncodedWeight(name, arrays)
        for name in possible
        if (arrays := ENCODINGS[name].encode(node.weight)) is not None
    ]
    if not encoded:
        raise UserError(
            f"its weights have too many different values for encoding = {encoding}",
            f"layer {node.name}",
            f"Retrain with codebook_bits = {codebook.LARGEST_BITS} or less, or set encoding = auto",
        )
    output = graph.tensors[node.output].shape

    def price(weight: EncodedWeight) -> float:
        stored = stored_weights(node, weight.encoding)
        cost = estimate(node, weight, stored, output, cpu)
        # As if all layers chose the same, and so shared its decoder.
        shared = SHARED_CODE_BYTES.get(weight.encoding, 0) / len(_weighted(graph))
        flash_bytes = weight.flash_bytes + cost.code_bytes + shared
        return {
            "size": flash_bytes,
            "speed": cost.cycles,
            "balanced": flash_bytes * cost.cycles,
        }[optimize]

    return min(encoded, key=price)
