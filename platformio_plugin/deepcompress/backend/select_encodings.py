"""How each layer's weights lie in flash: the encoding that is cheapest for what is optimised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deepcompress.arith.narrow_constants import may_unfold, narrow, unfolded_bias
from deepcompress.backend.cost_model import SHARED_CODE_BYTES, estimate
from deepcompress.encodings import ENCODINGS, block, codebook
from deepcompress.errors import UserError, setting
from deepcompress.ir.graph import Array, EncodedGraph, EncodedWeight, IntegerGraph, WeightedNode
from deepcompress.ops import OPERATORS
from deepcompress.ops.conv2d import is_narrow
from deepcompress.target import find

# Encodings for speed, whose kernels leave the zero point to the bias.
_FOLDED = ("dense", "panel", "block")
_LINEAR = ("linear", "linear_rows")


def select_encodings(
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
    return EncodedGraph(graph, weights, optimize)


def _weighted(graph: IntegerGraph) -> list[WeightedNode]:
    return [node for node in graph.nodes if isinstance(node, WeightedNode)]


def stored_weights(node: WeightedNode, encoding: str) -> int:
    """Weights that a kernel multiplies by."""
    if encoding == "panel" or (encoding == "dense" and node.op != "conv2d"):
        return node.weight.size
    if encoding == "block" and node.op in _LINEAR:
        return block.stored_weights(node.weight)
    return int(np.count_nonzero(node.weight))


def stored_matrix(node: WeightedNode, encoding: str) -> np.ndarray:
    """The weights in the order in which the kernel reads them; its own inverse.

    A linear layer unpacks four inputs at a time, in the order 0, 2, 1, 3.
    """
    if encoding != "panel" or node.op not in _LINEAR:
        return node.weight
    order = np.arange(node.weight.shape[1])
    fours = order[: len(order) // 4 * 4].reshape(-1, 4)
    fours[:, 1:3] = fours[:, 2:0:-1].copy()
    return node.weight[:, order]


def _possible(node: WeightedNode, encoding: str) -> list[str]:
    """The encodings to choose from; dense instead of panel where the kernel has no panels."""
    has_panels = node.op in _LINEAR or (node.op == "conv2d" and node.attributes.groups == 1)
    if encoding == "auto":
        return [name for name in ENCODINGS if has_panels or name != "panel"]
    return ["dense" if encoding == "panel" and not has_panels else encoding]


def _choose(
    graph: IntegerGraph, node: WeightedNode, encoding: str, optimize: str, cpu: str
) -> EncodedWeight:
    zero_point = graph.quantization[node.inputs[0]].zero_point
    if OPERATORS[node.op].keeps_bias_folded:
        zero_point = 0
    encoded = [
        weight
        for name in _possible(node, encoding)
        if (arrays := ENCODINGS[name].encode(stored_matrix(node, name))) is not None
        for constants in _with_constants(node, zero_point, name, arrays)
        for weight in _with_tiles(node, constants, cpu)
    ]
    if not encoded:
        raise UserError(
            f"its weights have too many different values for {setting('encoding', encoding)}",
            f"layer {node.name}",
            f"Retrain with codebook_bits = {codebook.LARGEST_BITS} or less, or set "
            f"{setting('encoding', 'auto')}",
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
    node: WeightedNode, zero_point: int, encoding: str, arrays: tuple[Array, ...]
) -> list[EncodedWeight]:
    """Weights with their bias folded, and where the kernel can do that, not folded."""
    multiplier = narrow(node.multiplier)
    forms = [EncodedWeight(encoding, arrays, narrow(node.bias), multiplier, zero_point=0)]
    if encoding not in _FOLDED and may_unfold(node, zero_point):
        bias = narrow(unfolded_bias(node, zero_point))
        forms.append(EncodedWeight(encoding, arrays, bias, multiplier, zero_point))
    return forms


def _with_tiles(node: WeightedNode, weight: EncodedWeight, cpu: str) -> list[EncodedWeight]:
    """Weights with each number of positions that their kernel could compute at a time."""
    if node.op != "conv2d" or weight.encoding == "panel" or not find(cpu).has_dsp:
        return [weight]
    wide = (4, 8, 16) if is_narrow(node.weight) else (4, 8)
    return [replace(weight, tiles=tiles) for tiles in wide]
