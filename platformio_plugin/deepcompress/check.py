"""What must be true after each stage. A sentence that fails is a defect of ours, but for those
that say a model is too large for the arithmetic: these are UserErrors."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from deepcompress.constants import folded_bias, widen
from deepcompress.encodings import ENCODINGS
from deepcompress.errors import UserError
from deepcompress.forward import forward_numpy
from deepcompress.graph import EncodedGraph, Graph, IntegerGraph, Plan
from deepcompress.ops import OPERATORS
from deepcompress.ops.conv2d import padded_bytes

_OFFSET_LIMIT = 2**23


def shapes_follow(graph: Graph) -> None:
    """Every node's output shape is what its operator says of its inputs."""
    for node in graph.nodes:
        inputs = [graph.tensors[name].shape for name in node.inputs]
        said = OPERATORS[node.op].output_shape(node.attributes, node.parameters, inputs)
        if said != graph.tensors[node.output].shape:
            raise AssertionError(f"{node.name}: {said} is not {graph.tensors[node.output].shape}")


def same_function(before: Graph, after: Graph, inputs: np.ndarray) -> None:
    """Two float graphs compute the same, but for the order of float additions."""
    expected, found = forward_numpy(before, inputs), forward_numpy(after, inputs)
    scale = max(1e-6, float(np.abs(expected).max()))
    worst = float(np.abs(expected.ravel() - found.ravel()).max()) / scale
    if worst > 1e-4:
        raise AssertionError(f"folding changed the function by {worst:g} of its range")


def accumulators_fit(graph: IntegerGraph) -> None:
    """|bias| + 128 * sum |weight| is below 2**31 in every output channel."""
    for node in graph.nodes:
        if node.weight is None:
            continue
        largest = np.abs(node.bias.astype(np.int64))
        largest += 128 * np.abs(node.weight.astype(np.int64)).sum(axis=1)
        if largest.max() >= 2**31:
            raise UserError(
                f"a sum of {node.weight.shape[1]} products does not fit 32 bits",
                f"layer {node.name}",
                "Split the layer into two that are added",
            )


def offsets_fit(graph: IntegerGraph) -> None:
    """A convolution's input, padding included, is below 2**23 bytes: the range of an offset."""
    for node in graph.nodes:
        if node.op != "conv2d":
            continue
        source = graph.tensors[node.inputs[0]]
        size = padded_bytes(node.attributes, source.shape) or source.size
        if size >= _OFFSET_LIMIT:
            raise UserError(
                f"its input of {size} bytes is larger than any supported board's RAM",
                f"layer {node.name}",
                "Use a smaller input or more stride before it",
            )


def encodings_are_lossless(encoded: EncodedGraph) -> None:
    for node in encoded.integer.nodes:
        if node.weight is not None:
            weight = encoded.weights[node.name]
            decoded = ENCODINGS[weight.encoding].decode(weight.arrays, node.weight.shape)
            if not np.array_equal(decoded, node.weight):
                raise AssertionError(f"{node.name}: {weight.encoding} does not decode to itself")
            multiplier = widen(weight.multiplier, len(node.weight))
            if not (
                np.array_equal(folded_bias(node, weight), node.bias)
                and np.array_equal(multiplier, node.requantize.multiplier)
            ):
                raise AssertionError(f"{node.name}: its stored constants are not its own")


def buffers_do_not_collide(plan: Plan) -> None:
    """A step's output and scratch overlap none of the tensors needed during or after it."""
    tensors = plan.encoded.integer.tensors
    needed_until: dict[str, int] = dict.fromkeys(plan.encoded.integer.outputs, len(plan.steps))
    for i, step in reversed(list(enumerate(plan.steps))):
        for name in step.node.inputs:
            needed_until.setdefault(name, i)
    alive = {plan.encoded.integer.inputs[0]}
    for i, step in enumerate(plan.steps):
        alive = {name for name in alive if needed_until.get(name, -1) >= i}
        spans = [(plan.addresses[name], tensors[name].size) for name in alive]
        written = [
            (step.output, tensors[step.node.output].size),
            (step.scratch, step.scratch_bytes),
        ]
        _assert_disjoint(step.node.name, [*spans, *(span for span in written if span[1])])
        alive.add(step.node.output)


def _assert_disjoint(name: str, spans: list[tuple[int, int]]) -> None:
    ordered = sorted(spans)
    for (start, size), (following, _) in pairwise(ordered):
        if start + size > following:
            raise AssertionError(f"{name}: buffers overlap at {following}")
