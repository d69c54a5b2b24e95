"""Graphs, layers and errors as plain data: how the child process sends what it has opened.

The child has read an untrusted file, so what it sends is untrusted too. Nothing is unpickled: the
structure is JSON, the weights are raw bytes, and every value is checked against the type of the
field that it becomes.

    message   kind, 1 byte; sizes of header and body, 8 bytes each; header, JSON; body, raw bytes
"""

from __future__ import annotations

import json
import struct
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from math import prod
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from deepcompress.errors import UserError
from deepcompress.frontend.frontend import ImportedLayer
from deepcompress.ir.arrays import frozen
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Clamp, Graph, Node, Tensor
from deepcompress.ops import OPERATORS

_HEADER = struct.Struct(">cQQ")
_LONGEST_TEXT = 10_000
_LONGEST_ERROR = 1_200  # characters of each part


class MalformedMessage(Exception):
    """A message is not what `write_message` and the encoders write."""


def write_message(write: Callable[[bytes], object], kind: bytes, header: Any, body: bytes) -> None:
    """Writes one message; `header` is plain data, `body` the bytes of its arrays."""
    text = json.dumps(header).encode()
    write(_HEADER.pack(kind, len(text), len(body)) + text)
    if body:
        write(body)


def read_message(read: Callable[[int], bytes], longest: int) -> tuple[bytes, Any, bytes] | None:
    """The next message; None at the end.

    Args:
        read: returns exactly as many bytes as asked for, or fewer at the end.
        longest: most bytes of one message.

    Raises:
        MalformedMessage: it is longer, or is cut off, or its header is not JSON.
    """
    start = read(_HEADER.size)
    if not start:
        return None
    if len(start) < _HEADER.size:
        raise MalformedMessage("a message is cut off")
    kind, header_size, body_size = _HEADER.unpack(start)
    if header_size + body_size > longest:
        raise MalformedMessage(f"a message has {header_size + body_size} bytes")
    header, body = read(header_size), read(body_size)
    if len(header) < header_size or len(body) < body_size:
        raise MalformedMessage("a message is cut off")
    try:
        return kind, json.loads(header), body
    except (ValueError, RecursionError):
        raise MalformedMessage("a header is not JSON") from None


def encode_error(error: UserError) -> list[str]:
    """The parts of an error, which may quote names of any length, cut to a readable length."""
    return [part[:_LONGEST_ERROR] for part in (error.what, error.where, error.do)]


def decode_error(data: Any) -> UserError:
    """The error. Raises MalformedMessage."""
    what, where, do = (_text(part) for part in _sequence(data, 3))
    return UserError(what, where, do)


def encode_layer(layer: ImportedLayer) -> dict[str, Any]:
    problem = layer.problem and encode_error(layer.problem)
    return {
        "name": layer.name[:_LONGEST_TEXT],  # `check_graph` refuses the network afterwards
        "op": layer.op,
        "output_shape": layer.output_shape,
        "parameters": layer.parameters,
        "values": layer.values,
        "nodes": [name[:_LONGEST_TEXT] for name in layer.nodes],
        "problem": problem,
    }


def decode_layer(data: Any) -> ImportedLayer:
    """The layer. Raises MalformedMessage."""
    _keys(data, {"name", "op", "output_shape", "parameters", "values", "nodes", "problem"})
    return ImportedLayer(
        _text(data["name"]),
        _text(data["op"]),
        tuple(_value(int | str, size) for size in _sequence(data["output_shape"])),
        _value(int, data["parameters"]),
        _value(int, data["values"]),
        _value(tuple[str, ...], data["nodes"]),
        None if data["problem"] is None else decode_error(data["problem"]),
    )


def encode_graph(graph: Graph) -> tuple[dict[str, Any], bytes]:
    """The graph's structure as plain data, and its parameters, one after another, as bytes."""
    arrays: list[bytes] = []
    header = {
        "name": graph.name,
        "tensors": [[tensor.name, tensor.shape] for tensor in graph.tensors.values()],
        "nodes": [_encode_node(node, arrays) for node in graph.nodes],
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "ranges": {name: list(map(float, pair)) for name, pair in graph.ranges.items()},
    }
    return header, b"".join(arrays)


def _encode_node(node: Node, arrays: list[bytes]) -> dict[str, Any]:
    arrays += [np.ascontiguousarray(array).tobytes() for array in node.parameters.values()]
    return {
        "name": node.name,
        "op": node.op,
        "inputs": node.inputs,
        "output": node.output,
        "attributes": _plain(node.attributes),
        "parameters": [
            [name, array.dtype.name, array.shape] for name, array in node.parameters.items()
        ],
        "clamp": _plain(node.clamp),
        "source": node.source,
    }


def _plain(value: Any) -> Any:
    """A dataclass as a dict of its fields, at any depth."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value.item() if isinstance(value, np.generic) else value


def decode_graph(header: Any, body: bytes) -> Graph:
    """The graph of `encode_graph`.

    Raises:
        MalformedMessage: a value is not of its field's type, a name is not that of a tensor or
            operator, or the bytes are not those of the parameters.
    """
    _keys(header, {"name", "tensors", "nodes", "inputs", "outputs", "ranges"})
    tensors = dict(_tensors(header["tensors"]))
    blocks = _Blocks(body)
    graph = Graph(
        _text(header["name"]),
        tensors,
        tuple(_decode_node(data, blocks) for data in _sequence(header["nodes"])),
        _value(tuple[str, ...], header["inputs"]),
        _value(tuple[str, ...], header["outputs"]),
        {
            _text(name): _value(tuple[float, float], pair)
            for name, pair in _mapping(header["ranges"]).items()
        },
    )
    blocks.check_used()
    _check_names(graph)
    return graph


def _tensors(data: Any) -> Iterator[tuple[str, Tensor]]:
    for pair in _sequence(data):
        name, shape = _sequence(pair, 2)
        yield _text(name), Tensor(_text(name), _shape(shape))


def _decode_node(data: Any, blocks: _Blocks) -> Node:
    _keys(data, {"name", "op", "inputs", "output", "attributes", "parameters", "clamp", "source"})
    op = _text(data["op"])
    if op not in OPERATORS:
        raise MalformedMessage(f"there is no operator {op[:40]}")
    parameters = {}
    for entry in _sequence(data["parameters"]):
        name, kind, shape = _sequence(entry, 3)
        parameters[_text(name)] = blocks.next(_text(kind), _shape(shape))
    return Node(
        _text(data["name"]),
        op,
        _value(tuple[str, ...], data["inputs"]),
        _text(data["output"]),
        _dataclass(attributes_of(op), data["attributes"]),
        parameters,
        _dataclass(Clamp, data["clamp"]),
        _text(data["source"]),
    )


class _Blocks:
    """Cuts the arrays from a message's body, in the order in which they were written."""

    def __init__(self, body: bytes) -> None:
        self._body = memoryview(body)
        self._used = 0

    def next(self, kind: str, shape: tuple[int, ...]) -> Any:
        if kind != "float32":
            raise MalformedMessage("parameters are float32")
        size = 4 * prod(shape)
        block = self._body[self._used : self._used + size]
        if len(block) < size:
            raise MalformedMessage("the parameters are cut off")
        self._used += size
        return frozen(np.frombuffer(block, np.float32).reshape(shape).copy())

    def check_used(self) -> None:
        if self._used != len(self._body):
            raise MalformedMessage("there are more bytes than parameters")


def _check_names(graph: Graph) -> None:
    """Raises MalformedMessage if something names a tensor that nothing before it computes."""
    known = set(graph.inputs)
    for node in graph.nodes:
        if not known.issuperset(node.inputs) or node.output in known:
            raise MalformedMessage(f"the tensors of {node.name[:40]} are not in order")
        known.add(node.output)
    if not known.issuperset(graph.outputs) or not known.issubset(graph.tensors):
        raise MalformedMessage("the tensors are not those of the nodes")


@cache
def attributes_of(op: str) -> type[Attributes]:
    """The class of an operator's attributes: the type argument of its class."""
    for base in type(OPERATORS[op]).__mro__:
        for generic in getattr(base, "__orig_bases__", ()):
            for argument in get_args(generic):
                if isinstance(argument, type) and issubclass(argument, Attributes):
                    return argument
    raise AssertionError(f"{op} names no class of attributes")


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _dataclass(kind: type, data: Any) -> Any:
    names = {field.name for field in fields(kind) if field.init}
    needed = {
        field.name
        for field in fields(kind)
        if field.default is MISSING and field.default_factory is MISSING
    }
    if not isinstance(data, dict) or not needed <= set(data) <= names:
        raise MalformedMessage(f"{kind.__name__} has other fields")
    return kind(**{name: _value(_hints(kind)[name], value) for name, value in data.items()})


def _value(hint: Any, value: Any) -> Any:
    """The value as an instance of a type; JSON's lists become tuples."""
    if get_origin(hint) in (Union, types.UnionType):
        return _any_of(get_args(hint), value)
    if get_origin(hint) is tuple:
        return _tuple(get_args(hint), value)
    if is_dataclass(hint):
        return _dataclass(hint, value)  # type: ignore[arg-type]
    if hint is str:
        return _text(value)
    if hint in (int, float, bool) and type(value) in (int, bool):
        return value
    if hint not in (float, type(None)) or type(value) is not hint:
        raise MalformedMessage(f"a {type(value).__name__} is where {hint} should be")
    return value


def _any_of(hints: Sequence[Any], value: Any) -> Any:
    for hint in hints:
        try:
            return _value(hint, value)
        except MalformedMessage:
            continue
    raise MalformedMessage(f"a {type(value).__name__} is none of {hints}")


def _tuple(hints: Sequence[Any], value: Any) -> tuple[Any, ...]:
    if len(hints) == 2 and hints[1] is Ellipsis:
        return tuple(_value(hints[0], part) for part in _sequence(value))
    parts = _sequence(value, len(hints))
    return tuple(_value(hint, part) for hint, part in zip(hints, parts, strict=True))


def _shape(value: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = _value(tuple[int, ...], value)
    if min(shape, default=0) < 0:
        raise MalformedMessage("a shape is negative")
    return shape


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise MalformedMessage("a text is not one, or too long")
    return value


def _sequence(value: Any, length: int | None = None) -> list[Any]:
    if not isinstance(value, list) or length not in (None, len(value)):
        raise MalformedMessage("a list is not one, or has another length")
    return value


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedMessage("a mapping is not one")
    return value


def _keys(value: Any, names: set[str]) -> None:
    if set(_mapping(value)) != names:
        raise MalformedMessage("a record has other fields")
