"""The specification of the values that flow between passes: one table of what must be true.

A row states one fact of one stage, and finds where a value violates it. Rows here need nothing but
the value. Packages above add rows that need operators, encodings or kernels: the whole table is
`pipeline.specification.SPECIFICATION`. A violated rule is a defect of ours, never of the user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from math import isfinite
from typing import Any

import numpy as np

from deepcompress.ir.arrays import AnyArray
from deepcompress.ir.graph import Graph, IntegerGraph, Requantize, WeightedNode


class Stage(Enum):
    """What is known of a network: the type of the value that a pass takes or returns."""

    FILE = "file"
    FLOAT = "float"
    INTEGER = "integer"
    SELECTED = "selected"
    PLANNED = "planned"


class SpecificationError(AssertionError):
    """A value violates its specification. The text names stage, node and rule."""


# Where a value violates a rule: "node conv1: its weight can be written".
Violations = Iterator[str]


@dataclass(frozen=True)
class Rule:
    """One fact of all values of a stage.

    Attributes:
        sentence: the fact.
        violations: finds each node or tensor of a value for which it is not true.
    """

    stage: Stage
    sentence: str
    violations: Callable[[Any], Violations]


def check(value: Any, stage: Stage, rules: Iterable[Rule], *, after: str = "") -> None:
    """Raises SpecificationError if a value violates a rule of its stage.

    Args:
        after: the pass that made the value.
    """
    for rule in rules:
        if rule.stage is stage:
            for place in rule.violations(value):
                origin = f"after {after}, " if after else ""
                raise SpecificationError(f"{origin}{stage.value} graph, {place}: {rule.sentence}")


AnyGraph = Graph | IntegerGraph


# --- float and integer graphs


def _repeated_names(graph: AnyGraph) -> Violations:
    names = Counter(node.name for node in graph.nodes)
    return (f"node {name}" for name, count in names.items() if count > 1)


def _tensors_produced_twice(graph: AnyGraph) -> Violations:
    produced = Counter((*graph.inputs, *(node.output for node in graph.nodes)))
    return (f"tensor {name}" for name, count in produced.items() if count > 1)


def _read_before_produced(graph: AnyGraph) -> Violations:
    produced = set(graph.inputs)
    for node in graph.nodes:
        for name in node.inputs:
            if name not in produced:
                yield f"node {node.name} reads {name}"
        produced.add(node.output)


def _outputs_without_node(graph: AnyGraph) -> Violations:
    produced = {node.output for node in graph.nodes}
    return (f"output {name}" for name in graph.outputs if name not in produced)


def _used_tensors(graph: AnyGraph) -> Iterable[str]:
    """Inputs of the network and outputs of nodes, each once."""
    return dict.fromkeys((*graph.inputs, *(node.output for node in graph.nodes)))


def _wrong_tensors(graph: AnyGraph) -> Violations:
    for name in _used_tensors(graph):
        tensor = graph.tensors.get(name)
        if tensor is None or tensor.name != name:
            yield f"tensor {name}"


def _wrong_shapes(graph: AnyGraph) -> Violations:
    for name in _used_tensors(graph):
        tensor = graph.tensors.get(name)
        if tensor is not None and not all(type(n) is int and n > 0 for n in tensor.shape):
            yield f"tensor {name} {tensor.shape}"


# --- float graphs


def _wrong_parameters(graph: Graph) -> Violations:
    for node in graph.nodes:
        for name, array in node.parameters.items():
            if array.dtype != np.float32 or array.flags.writeable:
                yield f"node {node.name}, parameter {name} ({array.dtype})"


def _parameters_not_finite(graph: Graph) -> Violations:
    for node in graph.nodes:
        for name, array in node.parameters.items():
            if not np.isfinite(array).all():
                yield f"node {node.name}, parameter {name}"


def _empty_clamps(graph: Graph) -> Violations:
    nodes = graph.nodes
    return (f"node {n.name} {n.clamp}" for n in nodes if not n.clamp.minimum <= n.clamp.maximum)


def _ranges_without_tensor(graph: Graph) -> Violations:
    used = set(_used_tensors(graph))
    return (f"tensor {name}" for name in graph.ranges if name not in used)


def _reversed_ranges(graph: Graph) -> Violations:
    for name, (low, high) in graph.ranges.items():
        if not low <= high:
            yield f"tensor {name} ({low} .. {high})"


# --- integer graphs


def _wrong_scales(graph: IntegerGraph) -> Violations:
    for name in _used_tensors(graph):
        by = graph.quantization.get(name)
        if by is None or not (by.scale > 0 and isfinite(by.scale)):
            yield f"tensor {name} {by}"


def _zero_points_out_of_range(graph: IntegerGraph) -> Violations:
    for name, by in graph.quantization.items():
        if not -128 <= by.zero_point <= 127:
            yield f"tensor {name} {by}"


def _weighted(graph: IntegerGraph) -> Iterator[WeightedNode]:
    return (node for node in graph.nodes if isinstance(node, WeightedNode))


def _is_constant(array: AnyArray, dtype: type[np.generic], *shape: int | None) -> bool:
    """Whether it is read-only, of a type and of a shape; None stands for any size."""
    fits = len(array.shape) == len(shape) and all(
        size in (None, n) for size, n in zip(shape, array.shape, strict=True)
    )
    return fits and array.dtype == dtype and not array.flags.writeable


def _wrong_weights(graph: IntegerGraph) -> Violations:
    for node in _weighted(graph):
        if not _is_constant(node.weight, np.int8, None, None):
            yield f"node {node.name} {node.weight.dtype} {node.weight.shape}"


def _wrong_biases(graph: IntegerGraph) -> Violations:
    for node in _weighted(graph):
        if not _is_constant(node.bias, np.int32, len(node.weight)):
            yield f"node {node.name} {node.bias.dtype} {node.bias.shape}"


def _wrong_multipliers(graph: IntegerGraph) -> Violations:
    for node in _weighted(graph):
        positive = bool((node.multiplier >= 0).all())
        if not (positive and _is_constant(node.multiplier, np.int32, len(node.weight))):
            yield f"node {node.name} {node.multiplier.dtype} {node.multiplier.shape}"


def _wrong_limits(graph: IntegerGraph) -> Violations:
    for node in graph.nodes:
        limits = [node.clamp]
        requantize = getattr(node, "requantize", None)
        if isinstance(requantize, Requantize):
            limits.append((requantize.minimum, requantize.maximum))
        for minimum, maximum in limits:
            if not -128 <= minimum <= maximum <= 127:
                yield f"node {node.name} ({minimum} .. {maximum})"


def _wrong_tables(graph: IntegerGraph) -> Violations:
    for node in graph.nodes:
        for array in node.tables:
            if array.values.flags.writeable or array.values.dtype.kind not in "iu":
                yield f"node {node.name}, table {array.name} ({array.values.dtype})"


# --- the table

_STRUCTURE: Sequence[tuple[str, Callable[[Any], Violations]]] = (
    ("node names are unique", _repeated_names),
    ("every tensor is produced once", _tensors_produced_twice),
    ("nodes are in execution order", _read_before_produced),
    ("every output of the network is computed by a node", _outputs_without_node),
    ("every tensor in use is described under its name", _wrong_tensors),
    ("the sizes of a shape are positive integers", _wrong_shapes),
)

RULES: tuple[Rule, ...] = (
    *(Rule(Stage.FLOAT, sentence, find) for sentence, find in _STRUCTURE),
    Rule(Stage.FLOAT, "parameters are read-only float32 arrays", _wrong_parameters),
    Rule(Stage.FLOAT, "parameters are finite", _parameters_not_finite),
    Rule(Stage.FLOAT, "a clamp lets values through", _empty_clamps),
    Rule(Stage.FLOAT, "every stated range is of a tensor in use", _ranges_without_tensor),
    Rule(Stage.FLOAT, "a stated range is not reversed", _reversed_ranges),
    *(Rule(Stage.INTEGER, sentence, find) for sentence, find in _STRUCTURE),
    Rule(Stage.INTEGER, "every tensor in use has a positive, finite scale", _wrong_scales),
    Rule(Stage.INTEGER, "zero points are in int8", _zero_points_out_of_range),
    Rule(Stage.INTEGER, "weights are read-only int8 [channels, weights]", _wrong_weights),
    Rule(Stage.INTEGER, "biases are read-only int32 [channels]", _wrong_biases),
    Rule(
        Stage.INTEGER,
        "multipliers are read-only int32 [channels], in 0 .. 2**31 - 1",
        _wrong_multipliers,
    ),
    Rule(Stage.INTEGER, "limits of the output are in int8 and in order", _wrong_limits),
    Rule(Stage.INTEGER, "tables are read-only arrays of integers", _wrong_tables),
)
