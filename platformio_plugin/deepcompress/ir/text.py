"""Text form of graphs: one line per node, in execution order; equal graphs have equal texts.

    %out = conv2d(%x) in_channels=1 kernel=(3, 3) weight=float32[4,1,3,3]:1f0c2ab9 : [4,10,10]  # 0

A line has the operator and its inputs, the attributes that differ from their default, constants by
type, shape and checksum, then after ":" the output's shape and, once known, its quantization, and
after "#" the user's name of the layer. Names of tensors have the prefix %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from functools import singledispatch
from typing import Any
from zlib import crc32

import numpy as np

from deepcompress.escape import visible
from deepcompress.ir.arrays import AnyArray
from deepcompress.ir.graph import (
    ByteInput,
    Clamp,
    Graph,
    IntegerGraph,
    IntegerNode,
    Node,
    Quantization,
    RequantizedNode,
    Tensor,
    WeightedNode,
)


@singledispatch
def text(value: object) -> str:
    """The text form of a value. Packages above register the types that they define."""
    raise TypeError(f"{type(value).__name__} has no text form")


@text.register
def _(graph: Graph) -> str:
    def result(tensor: str) -> str:
        stated = graph.ranges.get(tensor)
        by = f" range={number(stated[0])}..{number(stated[1])}" if stated else ""
        return f"{shape(graph.tensors[tensor])}{by}"

    return document("float", graph, result, map(_float_node, graph.nodes))


@text.register
def _(graph: IntegerGraph) -> str:
    def result(tensor: str) -> str:
        return f"int8{shape(graph.tensors[tensor])}{quantization(graph.quantization[tensor])}"

    head = "" if graph.byte_input is None else f"bytes {_byte_input(graph.byte_input)}\n"
    nodes = (node_text(node) for node in graph.nodes)
    return head + document("integer", graph, result, nodes)


def document(
    stage: str, graph: Graph | IntegerGraph, result: Callable[[str], str], nodes: Iterable[str]
) -> str:
    """A graph's text from its nodes' operators, constants and attributes.

    Args:
        result: from a tensor's name to its type.
        nodes: what is written between "=" and ":", by node.
    """
    lines = [f"{stage} graph {graph.name}"]
    lines += [f"%{name} = input : {result(name)}" for name in graph.inputs]
    names = [(node.output, node.name) for node in graph.nodes]
    for (output, name), computed in zip(names, nodes, strict=True):
        lines.append(f"%{output} = {computed} : {result(output)}  # {name}")
    lines.append(f"return {', '.join(f'%{name}' for name in graph.outputs)}")
    return "\n".join(map(visible, lines)) + "\n"


def _float_node(node: Node) -> str:
    words = [call(node), *attributes(node.attributes), *arrays(node.parameters)]
    if node.clamp != Clamp():
        words.append(f"clamp={number(node.clamp.minimum)}..{number(node.clamp.maximum)}")
    return " ".join(words)


def node_text(node: IntegerNode) -> str:
    """What an integer node computes, without its output."""
    words = [call(node), *attributes(node.attributes)]
    if isinstance(node, WeightedNode):
        constants: dict[str, AnyArray] = {
            "weight": node.weight,
            "bias": node.bias,
            "multiplier": node.multiplier,
        }
        words += arrays(constants)
    if isinstance(node, RequantizedNode):
        words.append(f"shift={node.requantize.shift}")
    words += [f"{name}={value}" for name, value in node.fields.items()]
    words += arrays({table.name: table.values for table in node.tables})
    if node.clamp != (-128, 127):
        words.append(f"clamp={node.clamp[0]}..{node.clamp[1]}")
    return " ".join(words)


def call(node: Node | IntegerNode) -> str:
    """conv2d(%x): a node's operator and inputs."""
    return f"{node.op}({', '.join(f'%{name}' for name in node.inputs)})"


def attributes(value: Any) -> Iterator[str]:
    """name=value of each field that differs from its default."""
    for field in fields(value):
        current = getattr(value, field.name)
        if _default(field) is MISSING or current != _default(field):
            yield f"{field.name}={_attribute(current)}"


def _default(field: Field[Any]) -> Any:
    return field.default


def _attribute(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return number(float(value))
    if hasattr(value, "__dataclass_fields__"):
        return f"{type(value).__name__}({', '.join(attributes(value))})"
    if isinstance(value, tuple):
        return f"({', '.join(map(_attribute, value))})"
    return str(value)


def arrays(constants: Mapping[str, AnyArray]) -> Iterator[str]:
    """name=type[shape]:checksum of each array."""
    for name, array in constants.items():
        checksum = crc32(np.ascontiguousarray(array).tobytes())
        yield f"{name}={array.dtype}[{','.join(map(str, array.shape))}]:{checksum:08x}"


def shape(tensor: Tensor) -> str:
    """[4,10,10]"""
    return f"[{','.join(map(str, tensor.shape))}]"


def quantization(by: Quantization) -> str:
    """scale and zero point, after a type."""
    return f" scale={number(by.scale)} zp={by.zero_point}"


def number(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return repr(float(value))


def _byte_input(given: ByteInput) -> str:
    constants = {"multiplier": given.multiplier, "offset": given.offset}
    return f"{' '.join(arrays(constants))} shift={given.shift}"
