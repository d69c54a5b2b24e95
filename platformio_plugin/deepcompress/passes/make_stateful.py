"""Makes a network stateful: each inference continues where the one before it ended.

Its inputs are then successive chunks of one stream. Recurrent layers keep their state. A causal
convolution, which is padded on the left alone, reads the end of the chunk before this one instead
of zeros. All other layers compute each chunk by itself, as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from deepcompress.errors import UserError, setting
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ops import OPERATORS
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.flatten import Flatten
from deepcompress.ops.history import History
from deepcompress.ops.rearrange import Rearrange
from deepcompress.ops.recurrent import Recurrent


def make_stateful(graph: Graph) -> Graph:
    """The stateful graph; its first inference gives the same result as the original graph.

    Raises:
        UserError: no layer can keep a state, a layer reads a chunk from its end, or a stride does
            not divide the length of a chunk.
    """
    _check_directions(graph)
    tensors, ranges = dict(graph.tensors), dict(graph.ranges)
    nodes = tuple(made for node in graph.nodes for made in _stateful(node, tensors, ranges))
    if not any(node.attributes.stateful for node in nodes):
        raise UserError(
            "nothing in it remembers: it has no GRU, LSTM or causal convolution",
            f"option {setting('stateful')}",
            "Leave it out, or pad one-dimensional convolutions on the left alone",
        )
    return replace(graph, nodes=nodes, tensors=tensors, ranges=ranges)


def _check_directions(graph: Graph) -> None:
    """Refuses recurrent layers that read a chunk from its end: the next chunk comes after it."""
    for node in graph.nodes:
        source = graph.producer(node.inputs[0])
        while source is not None and isinstance(source.attributes, Flatten):
            source = graph.producer(source.inputs[0])
        reversed_input = (
            isinstance(node.attributes, Recurrent)
            and source is not None
            and isinstance(source.attributes, Rearrange)
            and any(step < 0 for _, step in source.attributes.loops)
        )
        if reversed_input:
            raise UserError(
                "it reads a chunk from its end, so its state is of no use to the next chunk",
                f"layer {node.name}",
                f"Leave {setting('stateful')} out, and feed the whole sequence at once. Or train "
                "the network in one direction",
            )


def _stateful(
    node: Node, tensors: dict[str, Tensor], ranges: dict[str, tuple[float, float]]
) -> Iterator[Node]:
    """The nodes in place of a node, in execution order; adds their tensors and stated ranges."""
    attributes = node.attributes
    if isinstance(attributes, Recurrent):
        yield replace(node, attributes=replace(attributes, stateful=True))
    elif isinstance(attributes, Conv2d) and _is_causal(attributes, tensors[node.inputs[0]]):
        _check_chunks(node.name, attributes, tensors[node.inputs[0]])
        history = Node(
            name=f"{node.name}.history",
            op="history",
            inputs=node.inputs,
            output=f"{node.output}.history",
            attributes=History(attributes.padding[1]),
            parameters={},
        )
        shape = OPERATORS["history"].output_shape(
            history.attributes, [tensors[node.inputs[0]].shape]
        )
        tensors[history.output] = Tensor(history.output, shape)
        if node.inputs[0] in ranges:
            ranges[history.output] = ranges[node.inputs[0]]
        yield history
        unpadded = replace(attributes, padding=(0, 0, 0, 0))
        yield replace(node, inputs=(history.output,), attributes=unpadded)
    else:
        yield node


def _is_causal(convolution: Conv2d, source: Tensor) -> bool:
    """Whether it is along one dimension and padded on the left alone."""
    top, left, bottom, right = convolution.padding
    return source.shape[1] == 1 and left > 0 and not (top or bottom or right)


def _check_chunks(layer: str, convolution: Conv2d, source: Tensor) -> None:
    """A chunk must give one output per stride, so that the next chunk continues the outputs."""
    _, height, width = source.shape
    stride = convolution.stride[1]
    outputs = convolution.convolved(height, width)[1]
    pool = convolution.pool
    if outputs * stride != width or (pool and outputs % pool.stride[1]):
        raise UserError(
            f"a chunk of {width} samples gives {outputs} outputs at a stride of {stride}",
            f"layer {layer}",
            "Pad by dilation * (kernel_size - 1), and feed chunks that strides divide",
        )
