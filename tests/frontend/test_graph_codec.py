"""Graphs as messages: the same graph comes back, and nothing else is accepted."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from deepcompress.errors import UserError
from deepcompress.frontend.frontend import ImportedLayer
from deepcompress.frontend.graph_codec import (
    MalformedMessage,
    attributes_of,
    decode_error,
    decode_graph,
    decode_layer,
    encode_error,
    encode_graph,
    encode_layer,
    read_message,
    write_message,
)
from deepcompress.ir.graph import Clamp, Graph, Node, Tensor
from deepcompress.ops import OPERATORS
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.lookup import Lookup
from hypothesis import HealthCheck, given, settings
from model_files import assert_same_graph
from strategies import every_operator


def transferred(data: Any) -> Any:
    return json.loads(json.dumps(data))


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(every_operator())
def test_networks_of_every_operator_come_back_as_they_are(graph: Any) -> None:
    header, body = encode_graph(graph)
    assert_same_graph(graph, decode_graph(transferred(header), body))


@pytest.mark.parametrize("op", OPERATORS)
def test_every_operator_names_its_attributes(op: str) -> None:
    assert attributes_of(op).__module__.startswith("deepcompress.ops.")


def test_layers_and_errors_come_back_as_they_are() -> None:
    error = UserError("what \ud800", "where", "do")
    assert decode_error(transferred(encode_error(error))).args == error.args
    for problem in (None, error):
        layer = ImportedLayer("a.b", "relu", (3, "s0"), 4, 5, ("a.b", "c"), problem)
        back = decode_layer(transferred(encode_layer(layer)))
        assert (back.problem and back.problem.args) == (problem and problem.args)
        assert encode_layer(back) == encode_layer(layer)


def small() -> tuple[dict[str, Any], bytes]:
    shape = (1, 4, 4)
    tensors = {"x": Tensor("x", shape), "y": Tensor("y", (2, 2, 2)), "z": Tensor("z", (2, 2, 2))}
    weight = np.arange(18, dtype=np.float32).reshape(2, 1, 3, 3)
    nodes = (
        Node("conv", "conv2d", ("x",), "y", Conv2d(1, 2, (3, 3)), {"weight": weight}),
        Node("tanh", "lookup", ("y",), "z", Lookup("tanh"), {}, Clamp(0.0, 6.0), "net.py:3"),
    )
    header, body = encode_graph(Graph("net", tensors, nodes, ("x",), ("z",), {"y": (-1.0, 1.0)}))
    return transferred(header), body


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no name": lambda graph: graph.pop("name"),
    "another field": lambda graph: graph.update(more=1),
    "a name that is a number": lambda graph: graph.update(name=3),
    "a long name": lambda graph: graph.update(name="x" * 10_001),
    "a shape of texts": lambda graph: graph["tensors"].append(["w", ["1"]]),
    "a negative shape": lambda graph: graph["tensors"].append(["w", [-1]]),
    "an operator that is none": lambda graph: graph["nodes"][0].update(op="os.system"),
    "attributes of another operator": lambda graph: graph["nodes"][0].update(
        attributes=graph["nodes"][1]["attributes"]
    ),
    "an attribute of another type": lambda graph: graph["nodes"][0]["attributes"].update(
        groups="1"
    ),
    "an attribute too few": lambda graph: graph["nodes"][0]["attributes"].pop("kernel"),
    "a pair of three": lambda graph: graph["nodes"][0]["attributes"].update(stride=[1, 1, 1]),
    "a pair of floats": lambda graph: graph["nodes"][0]["attributes"].update(stride=[1.5, 1]),
    "a nested object": lambda graph: graph["nodes"][0]["attributes"].update(pool={"a": 1}),
    "parameters of another type": lambda graph: graph["nodes"][0].update(
        parameters=[["weight", "object", [2, 1, 3, 3]]]
    ),
    "parameters that are longer": lambda graph: graph["nodes"][0].update(
        parameters=[["weight", "float32", [2, 1, 3, 4]]]
    ),
    "parameters that are shorter": lambda graph: graph["nodes"][0].update(
        parameters=[["weight", "float32", [2, 1, 3, 2]]]
    ),
    "an input that is not computed": lambda graph: graph["nodes"][0].update(inputs=["w"]),
    "an output that is computed twice": lambda graph: graph["nodes"][1].update(output="y"),
    "a tensor without a shape": lambda graph: graph["tensors"].pop(),
    "outputs that are not computed": lambda graph: graph.update(outputs=["w"]),
    "a range of one number": lambda graph: graph.update(ranges={"y": [1.0]}),
    "nodes that are a text": lambda graph: graph.update(nodes="nodes"),
    "nodes that are numbers": lambda graph: graph.update(nodes=[1]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_message_with_another_type_is_refused(change: str) -> None:
    header, body = small()
    decode_graph(header, body)
    CHANGES[change](header)
    with pytest.raises(MalformedMessage):
        decode_graph(header, body)


def test_a_message_is_read_as_it_was_written() -> None:
    stream = io.BytesIO()
    write_message(stream.write, b"L", {"a": [1, None, "\u2028"]}, b"")
    write_message(stream.write, b"G", [1.5], b"body")
    stream.seek(0)
    assert read_message(stream.read, 100) == (b"L", {"a": [1, None, "\u2028"]}, b"")
    assert read_message(stream.read, 100) == (b"G", [1.5], b"body")
    assert read_message(stream.read, 100) is None


def test_a_message_that_is_cut_off_or_too_long_is_refused() -> None:
    stream = io.BytesIO()
    write_message(stream.write, b"G", [1.5], b"body")
    whole = stream.getvalue()
    for length in range(1, len(whole)):
        with pytest.raises(MalformedMessage, match="cut off"):
            read_message(io.BytesIO(whole[:length]).read, 100)
    with pytest.raises(MalformedMessage, match="bytes"):
        read_message(io.BytesIO(whole).read, 8)
    with pytest.raises(MalformedMessage, match="not JSON"):
        read_message(io.BytesIO(whole.replace(b"[1.5]", b"[1.5[")).read, 100)
