"""Each rule of the specification holds for a good network, and finds one that violates it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.plan import Plan, SelectedGraph
from deepcompress.backend.select_kernels import select_kernels
from deepcompress.data.calibration import Calibration
from deepcompress.errors import UserError
from deepcompress.ir.arrays import frozen
from deepcompress.ir.graph import Array, Clamp, Graph, IntegerGraph, Node, Quantization, Tensor
from deepcompress.ir.spec import SpecificationError, Stage, check
from deepcompress.ops.clamp import Limits
from deepcompress.ops.linear import Linear
from deepcompress.passes.quantize import quantize
from deepcompress.pipeline.specification import SPECIFICATION


@cache
def good(stage: Stage) -> Any:
    """Two linear layers with a ReLU between them."""
    if stage is Stage.FLOAT:
        return float_graph()
    if stage is Stage.INTEGER:
        inputs = np.random.default_rng(1).standard_normal((8, 6)).astype(np.float32)
        return quantize(good(Stage.FLOAT), Calibration(inputs))
    if stage is Stage.SELECTED:
        return select_kernels(good(Stage.INTEGER), cpu="cortex-m4")
    return plan_memory(good(Stage.SELECTED))


def float_graph() -> Graph:
    random = np.random.default_rng(0)

    def linear(name: str, source: str, output: str, columns: int, rows: int) -> Node:
        weight = random.standard_normal((rows, columns)).astype(np.float32)
        parameters = {"weight": frozen(weight), "bias": frozen(weight[:, 0].copy())}
        return Node(name, "linear", (source,), output, Linear(columns, rows), parameters)

    shapes = {"x": (6,), "a": (4,), "b": (4,), "y": (3,)}
    nodes = (
        linear("first", "x", "a", 6, 4),
        Node("relu", "clamp", ("a",), "b", Limits(0.0, np.inf), {}),
        linear("last", "b", "y", 4, 3),
    )
    tensors = {name: Tensor(name, shape) for name, shape in shapes.items()}
    return Graph("net", tensors, nodes, ("x",), ("y",), ranges={"y": (-1.0, 1.0)})


def with_node(graph: Any, index: int, **changes: Any) -> Any:
    nodes = list(graph.nodes)
    nodes[index] = replace(nodes[index], **changes)
    return replace(graph, nodes=tuple(nodes))


def with_parameter(graph: Graph, weight: np.ndarray) -> Graph:
    node = graph.nodes[0]
    return with_node(graph, 0, parameters={**node.parameters, "weight": weight})


def with_tensor(graph: Any, name: str, tensor: Tensor) -> Any:
    return replace(graph, tensors={**graph.tensors, name: tensor})


def with_quantization(graph: IntegerGraph, by: Quantization) -> IntegerGraph:
    return replace(graph, quantization={**graph.quantization, "y": by})


def with_selection(graph: SelectedGraph, name: str, **changes: Any) -> SelectedGraph:
    selection = replace(graph.selections[name], **changes)
    return replace(graph, selections={**graph.selections, name: selection})


def with_weight(graph: SelectedGraph, **changes: Any) -> SelectedGraph:
    weight = replace(graph.selections["first"].weight, **changes)
    return with_selection(graph, "first", weight=weight)


def with_other_values(graph: SelectedGraph) -> SelectedGraph:
    arrays = list(graph.selections["first"].weight.arrays)
    arrays[0] = replace(arrays[0], values=arrays[0].values[::-1].copy())
    return with_weight(graph, arrays=tuple(arrays))


def at_one_address(plan: Plan) -> Plan:
    steps = tuple(replace(step, output=0, inputs=(0,)) for step in plan.steps)
    return replace(plan, addresses=dict.fromkeys(plan.addresses, 0), steps=steps)


def weight_of(graph: Any) -> np.ndarray:
    node = graph.nodes[0]
    return (node.parameters["weight"] if isinstance(node, Node) else node.weight).copy()


STRUCTURE: dict[str, Callable[[Any], Any]] = {
    "node names are unique": lambda g: with_node(g, 1, name="first"),
    "every tensor is produced once": lambda g: with_node(g, 1, output="x"),
    "nodes are in execution order": lambda g: replace(g, nodes=g.nodes[::-1]),
    "every output of the network is computed by a node": lambda g: replace(g, outputs=("x",)),
    "every tensor in use is described under its name": lambda g: with_tensor(
        g, "b", Tensor("c", (4,))
    ),
    "the sizes of a shape are positive integers": lambda g: with_tensor(g, "b", Tensor("b", (0,))),
}
FLOAT: dict[str, Callable[[Any], Any]] = STRUCTURE | {
    "parameters are read-only float32 arrays": lambda g: with_parameter(
        g, weight_of(g).astype(np.float64)
    ),
    "parameters are finite": lambda g: with_parameter(g, frozen(weight_of(g) * np.float32(np.nan))),
    "a clamp lets values through": lambda g: with_node(g, 0, clamp=Clamp(1.0, 0.0)),
    "every stated range is of a tensor in use": lambda g: replace(
        with_tensor(g, "gone", Tensor("gone", (4,))), ranges={"gone": (-1.0, 1.0)}
    ),
    "a stated range is not reversed": lambda g: replace(g, ranges={"y": (1, -1)}),
    "shapes are those that the operators compute": lambda g: with_tensor(g, "y", Tensor("y", (5,))),
}
INTEGER: dict[str, Callable[[Any], Any]] = STRUCTURE | {
    "every tensor in use has a positive, finite scale": lambda g: with_quantization(
        g, Quantization(0.0, 0)
    ),
    "zero points are in int8": lambda g: with_quantization(g, Quantization(1.0, 128)),
    "weights are read-only int8 [channels, weights]": lambda g: with_node(
        g, 0, weight=weight_of(g).astype(np.int16)
    ),
    "biases are read-only int32 [channels]": lambda g: with_node(
        g, 0, bias=frozen(np.zeros(3, np.int32))
    ),
    "multipliers are read-only int32 [channels], in 0 .. 2**31 - 1": lambda g: with_node(
        g, 0, multiplier=frozen(np.full(4, -1, np.int32))
    ),
    "limits of the output are in int8 and in order": lambda g: with_node(g, 0, clamp=(5, 4)),
    "tables are read-only arrays of integers": lambda g: with_node(
        g, 1, tables=(Array("table", frozen(np.zeros(2)), ""),)
    ),
}
SELECTED: dict[str, Callable[[Any], Any]] = {
    "every node has a kernel": lambda g: replace(
        g, selections={name: s for name, s in g.selections.items() if name != "relu"}
    ),
    "nodes with weights have an encoding, and no others": lambda g: with_selection(
        g, "first", weight=None
    ),
    "kernels accept their layers": lambda g: with_selection(
        g, "relu", kernel=g.selections["first"].kernel
    ),
    "a kernel subtracts the zero point of its input, or nothing": lambda g: with_weight(
        g, zero_point=77
    ),
    "encodings are lossless": with_other_values,
}
PLANNED: dict[str, Callable[[Any], Any]] = {
    "tensors are inside the arena": lambda p: replace(p, arena_bytes=1),
    "steps are in execution order": lambda p: replace(p, steps=p.steps[::-1]),
    "no buffer is overwritten while it is needed": at_one_address,
}
BROKEN = {
    Stage.FLOAT: FLOAT,
    Stage.INTEGER: INTEGER,
    Stage.SELECTED: SELECTED,
    Stage.PLANNED: PLANNED,
}
CASES = [(stage, sentence) for stage, broken in BROKEN.items() for sentence in broken]


@pytest.mark.parametrize("stage", BROKEN)
def test_a_good_network_violates_no_rule(stage: Stage) -> None:
    check(good(stage), stage, SPECIFICATION)


@pytest.mark.parametrize(("stage", "sentence"), CASES)
def test_a_violated_rule_is_found(stage: Stage, sentence: str) -> None:
    (rule,) = (rule for rule in SPECIFICATION if (rule.stage, rule.sentence) == (stage, sentence))
    broken = BROKEN[stage][sentence](good(stage))
    with pytest.raises(SpecificationError) as error:
        check(broken, stage, [rule], after="test")
    assert str(error.value).startswith(f"after test, {stage.value} graph, ")
    assert str(error.value).endswith(f": {sentence}")


def test_an_accumulator_that_may_overflow_is_the_networks_limit() -> None:
    """The rule's error says what the user can do, because this is no defect of ours."""
    graph = with_node(good(Stage.INTEGER), 0, bias=frozen(np.full(4, 2**31 - 1, np.int32)))
    with pytest.raises(UserError, match="does not fit 32 bits"):
        check(graph, Stage.INTEGER, SPECIFICATION)


def test_every_rule_has_a_network_that_violates_it() -> None:
    rules = {(rule.stage, rule.sentence) for rule in SPECIFICATION}
    assert rules == {*CASES, (Stage.INTEGER, "accumulators fit 32 bits")}
