"""Operator fusion: a table of rewrites of a producer and its only consumer.

Activations, pooling, BatchNorm, padding, permutations and changes of shape become part of the
layers next to them where that leaves the function as it is. Each row of `REWRITES` names a pair of
operators, a condition and the nodes that replace the pair. Rewrites are applied until none matches;
of several that match, the one whose consumer runs first is applied first, and for one pair the
first row. `verify.same_function` compares the result numerically.

A stated range stays with its values: if they are in another tensor after a rewrite, that tensor
gets the range. If they are in none, the range is removed. Weights are computed in float64 and
stored as float32 (`fold_weights.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np

from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Clamp, Graph, Node
from deepcompress.ops import OPERATORS, keeps_scale
from deepcompress.ops.clamp import Limits
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.flatten import Flatten
from deepcompress.ops.history import History
from deepcompress.ops.linear import Linear
from deepcompress.ops.max_pool2d import MaxPool2d
from deepcompress.ops.mean import Mean
from deepcompress.ops.pad import Pad
from deepcompress.ops.rearrange import Rearrange
from deepcompress.ops.recurrent import Recurrent, last_step
from deepcompress.ops.scale_shift import ScaleShift
from deepcompress.passes import fold_weights
from deepcompress.passes.graph_editor import GraphEditor


def fuse(graph: Graph) -> Graph:
    """The graph with all rewrites applied and without changes of shape that nothing needs."""
    editor = GraphEditor(graph)
    _drop_views(editor)
    while (consumer := editor.next_consumer()) is not None:
        if _rewrite_first_match(editor, consumer):
            _drop_views(editor)
    return editor.graph()


def _rewrite_first_match(editor: GraphEditor, consumer: Node) -> bool:
    for tensor in consumer.inputs:
        producer = editor.sole_producer(tensor)
        if producer is None:
            continue
        for row in REWRITES:
            if row.applies(producer, consumer):
                _replace(editor, producer, consumer, row.rewrite(producer, consumer))
                return True
    return False


def _replace(editor: GraphEditor, producer: Node, consumer: Node, nodes: tuple[Node, ...]) -> None:
    """Replaces the pair; the nodes' operators say which shapes their tensors have."""
    outputs = (*(node.output for node in nodes[:-1]), consumer.output)
    for node, output in zip(nodes, outputs, strict=True):
        shapes = [editor.tensors[name].shape for name in node.inputs]
        operator = OPERATORS[node.op]
        editor.set_shape(output, operator.output_shape(node.attributes, shapes))
    editor.replace_pair(producer, consumer, nodes)
    _move_ranges(editor, producer, consumer, nodes)


def _move_ranges(
    editor: GraphEditor, producer: Node, consumer: Node, nodes: tuple[Node, ...]
) -> None:
    """Moves the ranges of a pair to the tensors that have the same values after the rewrite.

    The producer's output is gone, or has other values. The consumer's output stays.
    """
    if keeps_scale(consumer):
        editor.copy_range(producer.output, consumer.output)
    if len(nodes) == 1 and nodes[0].op == consumer.op and _only_moves(producer):
        editor.copy_range(producer.output, producer.inputs[0])
    editor.remove_range(producer.output)
    if len(nodes) == 2 and _only_moves(nodes[1]):
        editor.copy_range(consumer.output, nodes[0].output)


# --- views: changes of shape


def _drop_views(editor: GraphEditor) -> None:
    """Removes changes of shape that nothing needs.

    Tensors are contiguous, so a view costs nothing at run time, but it separates a layer from the
    one before it. A Linear, a rearrangement and another view read their input as one vector of
    values, whatever its shape; every layer may read around a view that leaves the shape as it is.
    """
    editor.begin_sweep()
    while (found := editor.next_view()) is not None:
        view, readers = found
        source = view.inputs[0]
        for reader in readers:
            if _may_read_around(editor, reader, view):
                editor.redirect(reader, view.output, source)
        if _keeps_shape(editor, view) and not editor.is_network_input(source):
            editor.rename_output(view.output, source)
        if not editor.is_read(view.output):
            editor.remove_view(view)


def _may_read_around(editor: GraphEditor, reader: Node, view: Node) -> bool:
    """A view after an operator of any output shape stays, until it becomes part of that one."""
    before = editor.producer(view.inputs[0])
    if before is not None and _has_any_shape(before):
        return _keeps_shape(editor, view)
    ignores_shape = isinstance(reader.attributes, (Flatten, Linear, Rearrange))
    return ignores_shape or _keeps_shape(editor, view)


def _keeps_shape(editor: GraphEditor, view: Node) -> bool:
    return editor.tensors[view.inputs[0]].shape == editor.tensors[view.output].shape


def _has_any_shape(node: Node) -> bool:
    """Whether an attribute of the operator says which shape its output has."""
    return isinstance(node.attributes, (Mean, Rearrange))


def _as_view(node: Node[Rearrange], source: str) -> Node[Flatten]:
    """A view of a tensor in place of a node, in the shape of the node's output."""
    shape = Flatten(node.attributes.shape)
    return Node(node.name, "flatten", (source,), node.output, shape, {}, node.clamp, node.source)


# --- pairs that reorder values


def _swap(producer: Node, consumer: Node) -> tuple[Node, Node]:
    return (
        replace(consumer, inputs=producer.inputs, output=producer.output),
        replace(producer, inputs=(producer.output,), output=consumer.output),
    )


def _always(producer: Node, consumer: Node) -> bool:
    return True


# --- activation functions


def _only_moves(node: Node) -> bool:
    return OPERATORS[node.op].only_moves


def _computes_values(producer: Node, clamp: Node[Limits]) -> bool:
    return not _only_moves(producer)


def _clamp_into_producer(producer: Node, clamp: Node[Limits]) -> tuple[Node]:
    limits = Clamp(clamp.attributes.minimum, clamp.attributes.maximum)
    return (replace(producer, clamp=producer.clamp.then(limits).then(clamp.clamp)),)


def _moves_one_tensor(producer: Node, clamp: Node[Limits]) -> bool:
    """The history of a stateful layer begins with zeros, which the clamp must not change."""
    limits = clamp.attributes
    keeps_zero = limits.minimum <= 0 <= limits.maximum
    begins_with_zeros = isinstance(producer.attributes, History)
    one_input = len(producer.inputs) == 1
    return _only_moves(producer) and one_input and (keeps_zero or not begins_with_zeros)


def _clamp_before_move(producer: Node, clamp: Node[Limits]) -> tuple[Node, Node]:
    limits = clamp.attributes
    if isinstance(producer.attributes, Pad):
        value = float(np.clip(producer.attributes.value, limits.minimum, limits.maximum))
        producer = replace(producer, attributes=replace(producer.attributes, value=value))
    return _swap(producer, clamp)


# --- pooling


def _windows_are_disjoint(convolution: Node[Conv2d], pooling: Node[MaxPool2d]) -> bool:
    """Overlapping windows would compute outputs twice, and windows may not reach outside."""
    pool = pooling.attributes
    overlaps = any(s < k for s, k in zip(pool.stride, pool.extent, strict=True))
    return not (overlaps or any(pool.padding) or pool.ceil or convolution.attributes.pool)


def _pooling_into_convolution(convolution: Node[Conv2d], pooling: Node[MaxPool2d]) -> tuple[Node]:
    attributes = replace(convolution.attributes, pool=pooling.attributes)
    # max(clamp(x)) = clamp(max(x)), so the activation may come after the pooling.
    clamp = convolution.clamp.then(pooling.clamp)
    return (replace(convolution, attributes=attributes, clamp=clamp),)


# --- scale and shift: BatchNorm and arithmetic with constants


def _has_no_activation(producer: Node, consumer: Node) -> bool:
    return producer.clamp == Clamp()


def _scalings_into_one(first: Node[ScaleShift], second: Node[ScaleShift]) -> tuple[Node]:
    channels, parameters = fold_weights.compose_scalings(first.parameters, second.parameters)
    attributes = replace(first.attributes, channels=channels)
    return (replace(first, attributes=attributes, parameters=parameters, clamp=second.clamp),)


def _rows_are_scalable(layer: Node[Conv2d | Linear], scaling: Node[ScaleShift]) -> bool:
    """A negative scale after a fused pooling would turn its maximum into a minimum."""
    scale = scaling.parameters["scale"]
    pooled = isinstance(layer.attributes, Conv2d) and layer.attributes.pool is not None
    return (
        _has_no_activation(layer, scaling)
        and len(layer.parameters["weight"]) % len(scale) == 0
        and not (pooled and (scale < 0).any())
    )


def _scaling_into_rows(layer: Node[Conv2d | Linear], scaling: Node[ScaleShift]) -> tuple[Node]:
    parameters = fold_weights.scale_rows(layer.parameters, scaling.parameters)
    return (replace(layer, parameters=parameters, clamp=scaling.clamp),)


def _columns_are_scalable(scaling: Node[ScaleShift], linear: Node[Linear]) -> bool:
    columns = linear.attributes.in_features
    return (
        _has_no_activation(scaling, linear)
        and columns == scaling.attributes.values
        and columns % len(scaling.parameters["scale"]) == 0
    )


def _scaling_into_linear(scaling: Node[ScaleShift], linear: Node[Linear]) -> tuple[Node]:
    parameters = fold_weights.scale_columns(linear.parameters, scaling.parameters, groups=1)
    return (replace(linear, inputs=scaling.inputs, parameters=parameters),)


def _channels_are_scalable(scaling: Node[ScaleShift], convolution: Node[Conv2d]) -> bool:
    """A convolution pads with zeros, to which a shift before it would not be added."""
    a = convolution.attributes
    return (
        _has_no_activation(scaling, convolution)
        and not (any(a.padding) and scaling.parameters["shift"].any())
        and a.in_channels % len(scaling.parameters["scale"]) == 0
    )


def _scaling_into_convolution(scaling: Node[ScaleShift], convolution: Node[Conv2d]) -> tuple[Node]:
    parameters = fold_weights.scale_columns(
        convolution.parameters, scaling.parameters, groups=convolution.attributes.groups
    )
    return (replace(convolution, inputs=scaling.inputs, parameters=parameters),)


# --- padding


def _pads_image_with_zeros(padding: Node[Pad], convolution: Node[Conv2d]) -> bool:
    pad = padding.attributes
    return pad.mode == "constant" and pad.value == 0 and not any(pad.around[0])


def _padding_into_convolution(padding: Node[Pad], convolution: Node[Conv2d]) -> tuple[Node]:
    vertical, horizontal = padding.attributes.around[1:]
    a = convolution.attributes
    top, left, bottom, right = a.padding
    total = (
        top + vertical[0],
        left + horizontal[0],
        bottom + vertical[1],
        right + horizontal[1],
    )
    attributes = replace(a, padding=total)
    return (replace(convolution, inputs=padding.inputs, attributes=attributes),)


def _pads_line_that_becomes_image(padding: Node[Pad], view: Node[Flatten]) -> bool:
    """A line [channels, length], seen as an image of one row by the convolution that follows."""
    around, shape = padding.attributes.around, view.attributes.shape
    return len(around) == 2 and len(shape) == 3 and shape[1] == 1 and not any(around[0])


def _padding_after_view(padding: Node[Pad], view: Node[Flatten]) -> tuple[Node, Node]:
    over_channels, along = padding.attributes.around
    channels, _, length = view.attributes.shape
    shape = (channels, 1, length - sum(along))
    viewed = replace(view, attributes=replace(view.attributes, shape=shape))
    around = (over_channels, (0, 0), along)
    return _swap(replace(padding, attributes=replace(padding.attributes, around=around)), viewed)


# --- permutations and selections of values


def _selects_outputs(linear: Node[Linear], rearrange: Node[Rearrange]) -> bool:
    return len(rearrange.attributes.source_indices()) <= linear.attributes.out_features


def _order_into_rows(linear: Node[Linear], rearrange: Node[Rearrange]) -> tuple[Node, Node]:
    indices = rearrange.attributes.source_indices()
    parameters = fold_weights.select_rows(linear.parameters, indices)
    attributes = replace(linear.attributes, out_features=len(indices))
    reordered = replace(linear, attributes=attributes, parameters=parameters)
    return reordered, _as_view(rearrange, linear.output)


def _permutes_all_values(rearrange: Node[Rearrange], linear: Node[Linear]) -> bool:
    indices = rearrange.attributes.source_indices()
    return len(indices) == rearrange.attributes.values == len(set(indices.tolist()))


def _order_into_columns(rearrange: Node[Rearrange], linear: Node[Linear]) -> tuple[Node]:
    parameters = fold_weights.permute_columns(
        linear.parameters, rearrange.attributes.source_indices()
    )
    return (replace(linear, inputs=rearrange.inputs, parameters=parameters),)


def _selects_last_step(recurrent: Node[Recurrent], rearrange: Node[Rearrange]) -> bool:
    if recurrent.attributes.last:
        return False
    wanted = last_step(recurrent.attributes).source_indices()
    return np.array_equal(rearrange.attributes.source_indices(), wanted)


def _last_step_alone(recurrent: Node[Recurrent], rearrange: Node[Rearrange]) -> tuple[Node, Node]:
    attributes = replace(recurrent.attributes, last=True)
    return replace(recurrent, attributes=attributes), _as_view(rearrange, recurrent.output)


def _undoes(first: Node[Rearrange], second: Node[Rearrange]) -> bool:
    """As channels last and then channels first again."""
    indices = first.attributes.source_indices()[second.attributes.source_indices()]
    return np.array_equal(indices, np.arange(first.attributes.values))


def _view_of_source(first: Node[Rearrange], second: Node[Rearrange]) -> tuple[Node]:
    return (_as_view(second, first.inputs[0]),)


def _shape_into_producer(producer: Node[Mean | Rearrange], view: Node[Flatten]) -> tuple[Node]:
    attributes = replace(producer.attributes, shape=view.attributes.shape)
    return (replace(producer, attributes=attributes),)


# --- the table


P = TypeVar("P", bound=Attributes)
C = TypeVar("C", bound=Attributes)


@dataclass(frozen=True)
class Rewrite(Generic[P, C]):
    """Replaces a producer and the only consumer of its output.

    Attributes:
        name: what becomes part of what.
        producer, consumer: the attributes' classes of the operators to which it applies.
        match: the condition on such a pair. Changes nothing, and may be asked repeatedly.
        rewrite: the nodes in place of the pair, in execution order. The first one reads what the
            producer read; the last one takes the consumer's output.
    """

    name: str
    producer: type[P]
    consumer: type[C]
    match: Callable[[Node[P], Node[C]], bool]
    rewrite: Callable[[Node[P], Node[C]], tuple[Node, ...]]

    def applies(self, producer: Node[Any], consumer: Node[Any]) -> bool:
        return (
            isinstance(producer.attributes, self.producer)
            and isinstance(consumer.attributes, self.consumer)
            and self.match(producer, consumer)
        )


REWRITES: tuple[Rewrite[Any, Any], ...] = (
    Rewrite("clamp into producer", Attributes, Limits, _computes_values, _clamp_into_producer),
    Rewrite("clamp before move", Attributes, Limits, _moves_one_tensor, _clamp_before_move),
    Rewrite(
        "pooling into convolution",
        Conv2d,
        MaxPool2d,
        _windows_are_disjoint,
        _pooling_into_convolution,
    ),
    Rewrite("two scalings", ScaleShift, ScaleShift, _has_no_activation, _scalings_into_one),
    Rewrite("scaling into convolution", Conv2d, ScaleShift, _rows_are_scalable, _scaling_into_rows),
    Rewrite("scaling into Linear", Linear, ScaleShift, _rows_are_scalable, _scaling_into_rows),
    Rewrite("scaling before view", Flatten, ScaleShift, _always, _swap),
    Rewrite(
        "scaling into next Linear", ScaleShift, Linear, _columns_are_scalable, _scaling_into_linear
    ),
    Rewrite(
        "scaling into next convolution",
        ScaleShift,
        Conv2d,
        _channels_are_scalable,
        _scaling_into_convolution,
    ),
    Rewrite(
        "padding into next convolution",
        Pad,
        Conv2d,
        _pads_image_with_zeros,
        _padding_into_convolution,
    ),
    Rewrite("padding after view", Pad, Flatten, _pads_line_that_becomes_image, _padding_after_view),
    Rewrite("order into Linear", Linear, Rearrange, _selects_outputs, _order_into_rows),
    Rewrite("order into next Linear", Rearrange, Linear, _permutes_all_values, _order_into_columns),
    Rewrite(
        "last step into recurrent layer", Recurrent, Rearrange, _selects_last_step, _last_step_alone
    ),
    Rewrite("order and its inverse", Rearrange, Rearrange, _undoes, _view_of_source),
    Rewrite("shape into mean", Mean, Flatten, _always, _shape_into_producer),
    Rewrite("shape into rearrangement", Rearrange, Flatten, _always, _shape_into_producer),
)
