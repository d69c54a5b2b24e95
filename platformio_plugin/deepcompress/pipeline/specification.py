"""The whole specification: the rows of `ir/spec.py`, and those that need operators or kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from deepcompress.backend.plan import Plan, SelectedGraph
from deepcompress.ir.graph import WeightedNode
from deepcompress.ir.spec import RULES, Rule, Stage, Violations
from deepcompress.pipeline import verify
from deepcompress.target import find


def _failures(check: Callable[[Any], None]) -> Callable[[Any], Violations]:
    """A check that raises AssertionError, as one that yields its text."""

    def violations(value: Any) -> Iterator[str]:
        try:
            check(value)
        except AssertionError as error:
            yield str(error)

    return violations


def _nodes_without_kernel(selected: SelectedGraph) -> Violations:
    nodes = {node.name for node in selected.integer.nodes}
    return (f"node {name}" for name in sorted(nodes ^ selected.selections.keys()))


def _weights_without_encoding(selected: SelectedGraph) -> Violations:
    nodes = selected.integer.nodes
    weighted = {node.name for node in nodes if isinstance(node, WeightedNode)}
    return (f"node {name}" for name in sorted(weighted ^ selected.weights.keys()))


def _unaccepted_layers(selected: SelectedGraph) -> Violations:
    cpu = find(selected.cpu)
    for name, selection in selected.selections.items():
        encoding = selection.weight.encoding if selection.weight else None
        if not selection.kernel.accepts(selection.layer, encoding, cpu):
            yield f"node {name}, kernel {selection.kernel.name}"


def _wrong_zero_points(selected: SelectedGraph) -> Violations:
    for name, selection in selected.selections.items():
        zero_point = selection.layer.quantization[0].zero_point
        weight = selection.weight
        if weight is not None and weight.zero_point not in (0, zero_point):
            yield f"node {name} ({weight.zero_point})"


def _tensors_outside_arena(plan: Plan) -> Violations:
    for name, tensor in plan.integer.tensors.items():
        address = plan.addresses.get(name)
        if address is not None and not 0 <= address <= plan.arena_bytes - tensor.size:
            yield f"tensor {name} at {address}"


def _steps_out_of_order(plan: Plan) -> Violations:
    order = {node.name: i for i, node in enumerate(plan.integer.nodes)}
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
    Rule(Stage.SELECTED, "every node has a kernel", _nodes_without_kernel),
    Rule(
        Stage.SELECTED,
        "nodes with weights have an encoding, and no others",
        _weights_without_encoding,
    ),
    Rule(Stage.SELECTED, "kernels accept their layers", _unaccepted_layers),
    Rule(
        Stage.SELECTED,
        "a kernel subtracts the zero point of its input, or nothing",
        _wrong_zero_points,
    ),
    Rule(Stage.SELECTED, "encodings are lossless", _failures(verify.encodings_are_lossless)),
    Rule(Stage.PLANNED, "tensors are inside the arena", _tensors_outside_arena),
    Rule(Stage.PLANNED, "steps are in execution order", _steps_out_of_order),
    Rule(
        Stage.PLANNED,
        "no buffer is overwritten while it is needed",
        _failures(verify.buffers_do_not_collide),
    ),
)
