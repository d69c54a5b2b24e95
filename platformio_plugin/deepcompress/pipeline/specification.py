"""The whole specification: the rows of `ir/spec.py`, and those that need operators or kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from deepcompress.ir.graph import EncodedGraph, Plan, WeightedNode
from deepcompress.ir.spec import RULES, Rule, Stage, Violations
from deepcompress.pipeline import verify


def _failures(check: Callable[[Any], None]) -> Callable[[Any], Violations]:
    """A check that raises AssertionError, as one that yields its text."""

    def violations(value: Any) -> Iterator[str]:
        try:
            check(value)
        except AssertionError as error:
            yield str(error)

    return violations


def _weights_without_encoding(encoded: EncodedGraph) -> Violations:
    weighted = {node.name for node in encoded.integer.nodes if isinstance(node, WeightedNode)}
    return (f"node {name}" for name in sorted(weighted ^ encoded.weights.keys()))


def _encoded_zero_points(encoded: EncodedGraph) -> Violations:
    for node in encoded.integer.nodes:
        weight = encoded.weights.get(node.name)
        zero_point = encoded.integer.quantization[node.inputs[0]].zero_point
        if weight is not None and weight.zero_point not in (0, zero_point):
            yield f"node {node.name} ({weight.zero_point})"


def _tensors_outside_arena(plan: Plan) -> Violations:
    for name, tensor in plan.encoded.integer.tensors.items():
        address = plan.addresses.get(name)
        if address is not None and not 0 <= address <= plan.arena_bytes - tensor.size:
            yield f"tensor {name} at {address}"


def _steps_out_of_order(plan: Plan) -> Violations:
    order = {node.name: i for i, node in enumerate(plan.encoded.integer.nodes)}
    last = -1
    for step in plan.steps:
        index = order.get(step.node.name, -1)
        if index <= last:
            yield f"node {step.node.name}"
        last = index


SPECIFICATION: tuple[Rule, ...] = (
    *RULES,
    Rule(
        Stage.FLOAT,
        "shapes are those that the operators compute",
        _failures(verify.shapes_follow),
    ),
    Rule(Stage.INTEGER, "accumulators fit 32 bits", _failures(verify.accumulators_fit)),
    Rule(
        Stage.ENCODED,
        "nodes with weights have an encoding, and no others",
        _weights_without_encoding,
    ),
    Rule(
        Stage.ENCODED,
        "a kernel subtracts the zero point of its input, or nothing",
        _encoded_zero_points,
    ),
    Rule(Stage.ENCODED, "encodings are lossless", _failures(verify.encodings_are_lossless)),
    Rule(Stage.PLANNED, "tensors are inside the arena", _tensors_outside_arena),
    Rule(Stage.PLANNED, "steps are in execution order", _steps_out_of_order),
    Rule(
        Stage.PLANNED,
        "no buffer is overwritten while it is needed",
        _failures(verify.buffers_do_not_collide),
    ),
)
