"""A network that goes on where its last inference ended, for inputs that are pieces of a stream.

Recurrent layers keep their state. A causal convolution, padded with zeros on the left alone, sees
there what came before instead. All else computes each piece by itself, as it did.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from deepcompress.errors import UserError, setting
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ops import OPERATORS
from deepcompress.ops.history import History
from deepcompress.ops.recurrent import RECURRENT


def make_stateful(graph: Graph) -> Graph:
    """The graph, stateful; its first inference is that of the graph as it was.

    Raises:
        UserError: nothing in it has a past, or pieces of this length do not fit a stride.
    """
    tensors = dict(graph.tensors)
    nodes = tuple(made for node in graph.nodes for made in _stateful(node, tensors))
    if not any(node.attributes.stateful for node in nodes):
        raise UserError(
            "nothing in it remembers: it has no GRU, LSTM or causal convolution",
            f"option {setting('stateful')}",
            "Leave it out, or pad one-dimensional convolutions on the left alone",
        )
    return replace(graph, nodes=nodes, tensors=tensors)


def _stateful(node: Node, tensors: dict[str, Tensor]) -> Iterator[Node]:
    if node.op in RECURRENT:
        yield replace(node, attributes=replace(node.attributes, stateful=True))
    elif _is_causal(node, tensors):
        _check_pieces(node, tensors)
        history = Node(
            name=f"{node.name}.history",
            op="history",
            inputs=node.inputs,
            output=f"{node.output}.history",
            attributes=History(node.attributes.padding[1]),
            parameters={},
        )
        shape = OPERATORS["history"].output_shape(
            history.attributes, [tensors[node.inputs[0]].shape]
        )
        tensors[history.output] = Tensor(history.output, shape)
        yield history
        attributes = replace(node.attributes, padding=(0, 0, 0, 0))
        yield replace(node, inputs=(history.output,), attributes=attributes)
    else:
        yield node


def _is_causal(node: Node, tensors: dict[str, Tensor]) -> bool:
    """A convolution along one dimension, padded on the left alone."""
    if node.op != "conv2d" or tensors[node.inputs[0]].shape[1] != 1:
        return False
    top, left, bottom, right = node.attributes.padding
    return left > 0 and not (top or bottom or right)


def _check_pieces(node: Node, tensors: dict[str, Tensor]) -> None:
    """Pieces must give as many outputs as fit between them, so that the next goes on behind."""
    _, height, width = tensors[node.inputs[0]].shape
    stride = node.attributes.stride[1]
    outputs = node.attributes.convolved(height, width)[1]
    pool = node.attributes.pool
    if outputs * stride != width or (pool and outputs % pool.stride[1]):
        raise UserError(
            f"a piece of {width} samples gives {outputs} outputs at a stride of {stride}",
            f"layer {node.name}",
            "Pad by dilation * (kernel_size - 1), and feed pieces that strides divide",
        )
