"""Checks of single values that need operators, encodings or kernels; rows of `specification.py`.

A check that fails is a defect of ours and raises AssertionError. Only a network that is too large
for the arithmetic is the user's to change: that raises UserError.
"""

from __future__ import annotations

from itertools import count

import numpy as np

from deepcompress.arith.narrow_constants import folded_bias, unfolded_bias, widen
from deepcompress.backend.kernels.weighted import WeightedKernel
from deepcompress.backend.plan import Plan, SelectedGraph
from deepcompress.encodings import ENCODINGS
from deepcompress.errors import UserError
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.ir.graph import Graph, IntegerGraph, IntegerNode, WeightedNode
from deepcompress.ops import OPERATORS

# The part of the range of a network's results by which fusion may change them: rounding.
_ROUNDING = 1e-4
# More than any microcontroller has; `buffers_do_not_collide` needs eight times as much.
_MOST_ARENA_BYTES = 1 << 26


def shapes_follow(graph: Graph) -> None:
    """Every node's output has the shape that its operator computes from its inputs."""
    for node in graph.nodes:
        inputs = [graph.tensors[name].shape for name in node.inputs]
        shape = OPERATORS[node.op].output_shape(node.attributes, inputs)
        if shape != graph.tensors[node.output].shape:
            raise AssertionError(f"{node.name}: {shape} is not {graph.tensors[node.output].shape}")


def same_function(before: Graph, after: Graph, inputs: np.ndarray) -> None:
    """Two float graphs compute the same function, up to the order of float additions.

    Infinite results, such as log(0), are not compared.

    Args:
        inputs: float32 [samples, *input shape] on which their outputs are compared.

    Raises:
        UserError: the network's results depend on the order of additions, or the product of two
            layers' weights is too large for float32.
    """
    _check_parameters(after)
    expected, actual = forward_numpy(before, inputs), forward_numpy(after, inputs)
    worst = _difference(expected, actual)
    if worst <= _ROUNDING:
        return
    exact = forward_numpy(before, inputs.astype(np.float64))
    if _difference(exact, expected) > _ROUNDING / 10:
        raise UserError(
            f"rounding to float32 changes its results by {_difference(exact, expected):.1g} of "
            "their range, as when large numbers cancel each other",
            f"model {before.name}",
            "Check its weights and biases; the training may have diverged: use an earlier "
            "checkpoint",
        )
    raise AssertionError(f"fusion changed the function by {worst:g} of its range")


def _difference(expected: np.ndarray, actual: np.ndarray) -> float:
    """The largest difference of finite results, as a part of their range; infinite if NaN."""
    expected, actual = expected.astype(np.float64).ravel(), actual.astype(np.float64).ravel()
    finite = np.isfinite(expected)
    if not finite.any():
        return 0.0
    scale = max(1e-6, float(np.abs(expected[finite]).max()))
    worst = float(np.abs(expected[finite] - actual[finite]).max()) / scale
    return worst if worst >= 0 else float("inf")


def _check_parameters(graph: Graph) -> None:
    """Raises UserError if fusion has multiplied weights to more than float32 holds."""
    for node in graph.nodes:
        for name, values in node.parameters.items():
            if not np.isfinite(values).all():
                raise UserError(
                    f"its {name}, multiplied by the numbers of the layer next to it, is too large",
                    f"layer {node.name}",
                    "Check the weights of both; the training may have diverged: use an earlier "
                    "checkpoint",
                )


def accumulators_fit(graph: IntegerGraph) -> None:
    """|bias| + 128 * sum |weight| is below 2**31 in every output channel, as kernels require."""
    for node in graph.nodes:
        if not isinstance(node, WeightedNode):
            continue
        bias, input_bound = node.bias.astype(np.int64), 128
        if node.op == "conv_transpose2d":  # its kernel subtracts the zero point from each input
            bias = unfolded_bias(node, graph.quantization[node.inputs[0]].zero_point)
            input_bound = 255
        largest = np.abs(bias)
        largest += input_bound * np.abs(node.weight.astype(np.int64)).sum(axis=1)
        if largest.max() >= 2**31:
            raise UserError(
                f"a sum of {node.weight.shape[1]} products does not fit 32 bits",
                f"layer {node.name}",
                "Split the layer into two that are added",
            )


def encodings_are_lossless(selected: SelectedGraph) -> None:
    """The stored weights, biases and multipliers of every layer decode to its integers."""
    for selection in selected.selections.values():
        node, kernel, weight = selection.layer.node, selection.kernel, selection.weight
        if weight is not None and isinstance(kernel, WeightedKernel):
            assert isinstance(node, WeightedNode)
            decoded = ENCODINGS[weight.encoding].decode(weight.arrays, node.weight.shape)
            if not np.array_equal(decoded, kernel.arrange(node.weight)):
                raise AssertionError(f"{node.name}: {weight.encoding} does not decode to itself")
            multiplier = widen(weight.multiplier, len(node.weight))
            if not (
                np.array_equal(folded_bias(node, weight), node.bias)
                and np.array_equal(multiplier, node.multiplier)
            ):
                raise AssertionError(f"{node.name}: its stored constants are not its own")


def buffers_do_not_collide(plan: Plan) -> None:
    """Every step reads from its inputs what was last written to them, and so does the user.

    The plan is run on an arena of numbers instead of bytes: each byte that a step computes is a new
    number, and a tensor that is a part of another has the numbers of that part.
    """
    graph = plan.integer
    if plan.arena_bytes > _MOST_ARENA_BYTES:
        raise UserError(
            f"it needs {plan.arena_bytes:,} bytes of RAM",
            f"model {graph.name}",
            "No microcontroller has as much: use smaller layers, or less padding and dilation",
        )
    steps = {step.node.name: step for step in plan.steps}
    numbers = count(1)
    arena = np.zeros(plan.arena_bytes, np.int64)
    values: dict[str, np.ndarray] = {}

    def span(tensor: str) -> slice:
        address = plan.addresses[tensor]
        return slice(address, address + graph.tensors[tensor].size)

    def compute(tensor: str) -> None:
        size = graph.tensors[tensor].size
        values[tensor] = np.fromiter(numbers, np.int64, size)
        arena[span(tensor)] = values[tensor]

    def require(tensor: str, where: str) -> None:
        if not np.array_equal(arena[span(tensor)], values[tensor]):
            raise AssertionError(f"{where}: {tensor} was overwritten")

    kept = [
        slice(step.scratch, step.scratch + step.scratch_bytes)
        for step in plan.steps
        if step.selection.scratch.start is not None
    ]
    for state in kept:
        arena[state] = -1
    for name in graph.inputs:
        compute(name)
    for node in graph.nodes:
        step = steps.get(node.name)
        if step is None:
            values[node.output] = _renamed(graph, node, [values[name] for name in node.inputs])
            continue
        scratch = slice(step.scratch, step.scratch + step.scratch_bytes)
        may_overlap = step.selection.scratch.may_overlap_input
        overwrites_input = may_overlap and scratch.stop <= span(node.inputs[0]).stop
        written = span(node.output)
        if overwrites_input:
            require(node.inputs[0], node.name)
        if scratch not in kept:
            arena[scratch] = 0
        for name in node.inputs:
            if not overwrites_input:
                require(name, node.name)
            in_place = OPERATORS[node.op].in_place and span(name) == written
            if not in_place and _meet(span(name), written):
                raise AssertionError(f"{node.name}: its output overlaps {name}")
        compute(node.output)
        if (arena[scratch] > 0).any():
            raise AssertionError(f"{node.name}: its scratch overlaps its output")
    for name in graph.outputs:
        require(name, "the end")
    if any((arena[state] != -1).any() for state in kept):
        raise AssertionError("what lasts from one inference to the next was overwritten")


def _meet(one: slice, other: slice) -> bool:
    return bool(one.start < other.stop and other.start < one.stop)


def _renamed(graph: IntegerGraph, node: IntegerNode, inputs: list[np.ndarray]) -> np.ndarray:
    """The values of a node without a step: a part of its input, or its inputs one after another."""
    operator = OPERATORS[node.op]
    if len(inputs) > 1:
        return np.concatenate(inputs)
    offset = operator.view(node.attributes, graph.tensors[node.inputs[0]].shape)
    assert offset is not None, node.name
    return inputs[0][offset : offset + graph.tensors[node.output].size]
