"""How each layer's weights lie in flash: the encoding that is cheapest for what is optimised."""

from __future__ import annotations

import numpy as np

from deepcompress.constants import may_unfold, narrow, unfolded_bias
from deepcompress.cost import SHARED_CODE_BYTES, estimate
from deepcompress.encodings import ENCODINGS, block, codebook
from deepcompress.errors import UserError
from deepcompress.graph import Array, EncodedGraph, EncodedWeight, IntegerGraph, IntegerNode
from deepcompress.ops import OPERATORS

# Encodings for speed, whose kernels leave the zero point to the bias.
_FOLDED = ("dense", "block")


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
    if encoding == "block" and node.op in ("linear", "linear_rows"):
        return block.stored_weights(node.weight)
    return int(np.count_nonzero(node.weight))


def _choose(
    graph: IntegerGraph, node: IntegerNode, encoding: str, optimize: str, cpu: str
) -> EncodedWeight:
    possible = list(ENCODINGS) if encoding == "auto" else [encoding]
    zero_point = graph.quantization[node.inputs[0]].zero_point
    if getattr(OPERATORS[node.op], "KEEPS_BIAS_FOLDED", False):
        zero_point = 0
    encoded = [
        weight
        for name in possible
        if (arrays := ENCODINGS[name].encode(node.weight)) is not None
        for weight in _with_constants(node, zero_point, name, arrays)
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


def _with_constants(
    node: IntegerNode, zero_point: int, encoding: str, arrays: tuple[Array, ...]
) -> list[EncodedWeight]:
    """Weights with their bias folded, and where the kernel can do that, not folded."""
    multiplier = narrow(node.requantize.multiplier)
    forms = [EncodedWeight(encoding, arrays, narrow(node.bias), multiplier, zero_point=0)]
    if encoding not in _FOLDED and may_unfold(node, zero_point):
        bias = narrow(unfolded_bias(node, zero_point))
        forms.append(EncodedWeight(encoding, arrays, bias, multiplier, zero_point))
    return forms
