"""Imports torch's exported program as a float Graph: one aten call becomes one or a few operators.

`ops/` defines what each call means. This module does what is common to all calls: it names
arguments by their schema, folds constants, names layers as the user did, and drops calls that
change nothing. Fusion, pruning and quantization are left to later stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from deepcompress.errors import UserError
from deepcompress.frontend.constant_index import SELECTIONS, read_selection
from deepcompress.frontend.constants import IDENTITIES
from deepcompress.frontend.decompositions import decompose
from deepcompress.frontend.frontend import LayerCallback
from deepcompress.frontend.fx_node import (
    aten_name,
    computing_node,
    first_argument,
    gives_tensor,
    is_item,
    item_index,
    module_kind,
    read_only,
    shape_of,
    tensor_arguments,
    value_of,
)
from deepcompress.frontend.import_state import ImportState
from deepcompress.frontend.lower_call import LoweredLayer, check_parameters, lower_call
from deepcompress.frontend.qdq import DYNAMIC_QPARAMS, QUANTIZERS, propagate_ranges, read_qdq
from deepcompress.frontend.read_call import mark_result, read_call
from deepcompress.frontend.safe_names import name_inputs, original_names
from deepcompress.frontend.streamed_states import (
    StreamedStates,
    check_stateful,
    streamed_states,
)
from deepcompress.frontend.unsupported_ops import advice_for_module
from deepcompress.ir.graph import Graph, Node
from deepcompress.ops import OPERATORS
from deepcompress.ops.concat import concat_of
from deepcompress.ops.flatten import Flatten
from deepcompress.ops.literal import Literal
from deepcompress.ops.rearrange import SPLITS
from deepcompress.ops.recurrent import RECURRENT, Recurrent, last_step

if TYPE_CHECKING:
    import torch

# Calls that can remove the axis of a recurrent layer's state that counts its layers.
_DROP_AXIS = {"select", "squeeze", "view", "reshape"}
# Calls on the sizes of a dynamic batch. Their results are integers that the Graph does not need.
_BOOKKEEPING = {"sym_size", "sym_constrain_range_for_size", "_assert_scalar", "_assert_async"}


def import_graph(
    program: torch.export.ExportedProgram,
    *,
    name: str,
    stateful: bool = False,
    layer: LayerCallback = lambda layer: None,
) -> Graph:
    """The float Graph of an exported program.

    Args:
        program: in aten calls that are not decomposed.
        name: of the model, a C identifier.
        stateful: whether recurrent layers will keep their states: then states are neither inputs
            nor outputs of the Graph.
        layer: called with each layer, in the order of the calls, before any error is raised.

    Raises:
        UserError: operators or uses of them are not supported (it names the first such layer), the
            shape of an input is not fixed, or an output depends on no input.
    """
    names = original_names(program)
    name_inputs(program, names.inputs)
    states = streamed_states(program)
    if not stateful:
        check_stateful(states, name)
    program = decompose(program)
    name_inputs(program, names.inputs)  # torch may have named them again
    state = ImportState(program, name, names, states)
    graph = _import_nodes(_needed_nodes(program, states), state)
    for imported in state.layers:
        layer(imported)
    problems = [imported.problem for imported in state.layers if imported.problem]
    if problems:
        raise UserError(problems[0].what, problems[0].where, _advice(problems))
    return graph


def _advice(problems: list[UserError]) -> str:
    """What to do about the first problem, and how many more there are."""
    more = len(problems) - 1
    also = f". {more} more of its calls are not supported: see `deepcompress check`" if more else ""
    return problems[0].do + also


def _needed_nodes(
    program: torch.export.ExportedProgram, states: StreamedStates
) -> list[torch.fx.Node]:
    """The nodes of a program without those that only compute outputs which the Graph lacks."""
    nodes = list(program.graph_module.graph.nodes)
    if not states.outputs:
        return nodes
    needed: set[torch.fx.Node] = set()
    for fx in reversed(nodes):
        if fx.op == "output":
            results = enumerate(cast("tuple[torch.fx.Node, ...]", fx.args[0]))
            needed.update(r for i, r in results if i not in states.outputs and hasattr(r, "op"))
        if fx in needed:
            needed.update(fx.all_input_nodes)
    return [fx for fx in nodes if fx.op != "call_function" or fx in needed]


def _import_nodes(fx_nodes: Iterable[torch.fx.Node], state: ImportState) -> Graph:
    outputs: tuple[str, ...] = ()
    for fx in fx_nodes:
        if fx.op == "placeholder" and fx.name in state.streamed.inputs:
            state.constants.add_zeros(fx)
        elif fx.op == "placeholder" and fx.name in state.inputs:
            state.add_tensor(fx.name, shape_of(fx))
        elif fx.op == "call_function":
            _import_or_refuse(state, fx)
        elif fx.op == "output":
            results = enumerate(cast("tuple[object, ...]", fx.args[0]))
            kept = [result for i, result in results if i not in state.streamed.outputs]
            outputs = tuple(state.tensor_of(result) for result in kept if result is not None)
    if not outputs:
        raise UserError(
            "it has no output", f"the model {state.model}", "Return a tensor from forward()"
        )
    outputs = tuple(_copy_of_input(state, name) for name in outputs)
    ranges = propagate_ranges(state.ranges, state.nodes)
    return Graph(state.model, state.tensors, tuple(state.nodes), state.inputs, outputs, ranges)


def _import_or_refuse(state: ImportState, fx: torch.fx.Node) -> None:
    """Imports a call; an unsupported one is noted, so that all of them can be reported."""
    aten = aten_name(fx).removesuffix("_")
    handler = next(handler for handler in _HANDLERS if handler.matches(state, fx, aten))
    try:
        handler.run(state, fx, aten)
    except UserError as problem:
        _refuse(state, fx, problem)


def _refuse(state: ImportState, fx: torch.fx.Node, problem: UserError) -> None:
    """Notes an unsupported call. Calls that read its result are imported nevertheless."""
    sizes = tuple(str(size) for size in value_of(fx).shape[1:])
    shape = tuple(int(size) if size.isdigit() else size for size in sizes)
    state.add_tensor(fx.name, tuple(size for size in shape if isinstance(size, int)))
    state.unsupported.add(fx.name)
    state.unknown.add(fx.name)
    kind, name = module_kind(fx), state.layer_name(fx)
    if advice := advice_for_module(kind):
        problem = UserError(f"nn.{kind} is not supported", problem.where, advice)
    state.add_layer(fx, name, aten_name(fx), shape, problem=problem)


def _copy_of_input(state: ImportState, name: str) -> str:
    """A copy of an output that is an input itself: inputs may be in memory of the caller."""
    if name not in state.inputs:
        return name
    copy, shape = f"{name}.copy", state.tensors[name].shape
    if copy not in state.tensors:
        state.add_tensor(copy, shape)
        state.nodes.append(Node(copy, "flatten", (name,), copy, Flatten(shape), {}))
    return copy


def _skip(state: ImportState, fx: torch.fx.Node, aten: str) -> None:
    pass


def _has_no_result(state: ImportState, fx: torch.fx.Node, aten: str) -> bool:
    return aten in _BOOKKEEPING or not gives_tensor(fx) or not fx.users


def _has_several_results(state: ImportState, fx: torch.fx.Node, aten: str) -> bool:
    return aten in SPLITS or aten_name(computing_node(fx)) in DYNAMIC_QPARAMS


def _is_constant(state: ImportState, fx: torch.fx.Node, aten: str) -> bool:
    return state.constants.can_fold(fx, aten)


def _fold(state: ImportState, fx: torch.fx.Node, aten: str) -> None:
    state.constants.fold(fx, aten)


def _is_item_of_unsupported(state: ImportState, fx: torch.fx.Node, aten: str) -> bool:
    return is_item(fx) and first_argument(fx).name in state.unsupported


def _import_unknown(state: ImportState, fx: torch.fx.Node, aten: str) -> None:
    state.unknown.add(fx.name)
    state.add_tensor(fx.name, shape_of(fx))


def _is_recurrent_state(state: ImportState, fx: torch.fx.Node, aten: str) -> bool:
    return is_item(fx) and aten_name(first_argument(fx)) in RECURRENT and item_index(fx) > 0


def _import_recurrent_state(state: ImportState, fx: torch.fx.Node, aten: str) -> None:
    """The last state of a recurrent layer is its last output; a cell's state is not supported."""
    source = first_argument(fx)
    if item_index(fx) > 1:
        last = next(node for node in state.nodes if node.output == source.name)
        raise read_call(state, source, last.op).unsupported(
            "its cell is read", "Read its outputs, or its last output h"
        )
    layers = value_of(fx).shape[0]
    if all(_drops_layer_axis(user, layers) for user in fx.users):
        node = _last_output_of(state, source.name, fx.name, ())
        state.nodes.append(node)
        state.recurrent_states.add(fx.name)
        return
    _import_states_of_layers(state, fx, layers)


def _import_states_of_layers(state: ImportState, fx: torch.fx.Node, layers: int) -> None:
    """The states of all layers, [layers, samples, units], which is the layout of time-major."""
    source = first_argument(fx).name
    tensors = [f"{source}.{i}" for i in range(1, layers)] + [source]
    outputs = [f"{fx.name}.{i}" for i in range(layers)] if layers > 1 else [fx.name]
    parts = [
        _last_output_of(state, tensor, output, (1,))
        for tensor, output in zip(tensors, outputs, strict=True)
    ]
    state.nodes.extend(parts)
    if layers > 1:
        joined = concat_of([state.tensors[output].shape for output in outputs], 0)
        state.add_tensor(fx.name, (layers, *state.tensors[outputs[0]].shape[1:]))
        name = f"{parts[-1].name}.all"
        state.nodes.append(Node(name, "concat", tuple(outputs), fx.name, joined, {}))
    state.time_major.add(fx.name)


def _last_output_of(state: ImportState, source: str, output: str, before: tuple[int, ...]) -> Node:
    """The node that selects a layer's last output; axes of size 1 may come before its units."""
    node = next(node for node in state.nodes if node.output == source)
    assert isinstance(node.attributes, Recurrent)
    attributes = last_step(node.attributes)
    attributes = replace(attributes, shape=(*before, *attributes.shape))
    state.add_tensor(output, attributes.shape)
    return Node(f"{node.name}.last", "rearrange", (source,), output, attributes, {})


def _drops_layer_axis(user: torch.fx.Node, layers: int) -> bool:
    """Whether a call reads the last layer alone, as h[-1] does: [samples, units]."""
    if aten_name(user) not in _DROP_AXIS or len(value_of(user).shape) != 2:
        return False
    if aten_name(user) == "select":
        dim, index = (cast(int, argument) for argument in user.args[1:3])
        return dim % 3 == 0 and index in (-1, layers - 1)
    return layers == 1


def _reads_recurrent_state(state: ImportState, fx: torch.fx.Node, aten: str) -> bool:
    return bool(fx.args) and getattr(fx.args[0], "name", None) in state.recurrent_states


def _drop_layer_axis(state: ImportState, fx: torch.fx.Node, aten: str) -> None:
    """A state is [layers, samples, units] in the program, and [samples, units] in the Graph."""
    state.add_alias(fx, first_argument(fx))


def _is_part_of_split(state: ImportState, fx: torch.fx.Node, aten: str) -> bool:
    return is_item(fx) and aten_name(first_argument(fx)) in SPLITS


def _import_part(state: ImportState, fx: torch.fx.Node, aten: str) -> None:
    _import_operator(state, fx, aten_name(first_argument(fx)))


def _is_qdq(state: ImportState, fx: torch.fx.Node, aten: str) -> bool:
    return aten in QUANTIZERS


def _import_qdq(state: ImportState, fx: torch.fx.Node, aten: str) -> None:
    """The tensor's range. A node of few bits also limits the values: it becomes a clamp."""
    mark_result(state, fx, aten)
    call, source = read_call(state, fx, aten), state.tensor_of(first_argument(fx))
    quantization = read_qdq(call)
    if quantization is not None:
        state.ranges.setdefault(source, quantization.range)
    if quantization is None or quantization.limits is None:
        state.add_alias(fx, first_argument(fx))
        return
    limits = quantization.limits
    state.add_tensor(fx.name, call.output_shape)
    state.ranges[fx.name] = quantization.range
    clamp = Node(call.layer, "clamp", (source,), fx.name, limits, {}, source=call.source)
    state.nodes.append(clamp)


def _is_identity(state: ImportState, fx: torch.fx.Node, aten: str) -> bool:
    return aten in IDENTITIES or (is_item(fx) and item_index(fx) == 0)


def _import_identity(state: ImportState, fx: torch.fx.Node, aten: str) -> None:
    source = first_argument(fx)
    state.add_alias(fx, source)
    for names in (state.time_major, state.unknown):
        if source.name in names:
            names.add(fx.name)


def _is_constant_selection(state: ImportState, fx: torch.fx.Node, aten: str) -> bool:
    arguments = tensor_arguments(fx)
    return (
        aten in SELECTIONS
        and arguments[0] not in state.constants
        and all(argument in state.constants for argument in arguments[1:])
        and not any(state.constants.is_mask(argument) for argument in arguments[1:])
    )


def _import_constant_selection(state: ImportState, fx: torch.fx.Node, aten: str) -> None:
    """The parts of a tensor, and the concatenation of these if there are several."""
    mark_result(state, fx, aten)
    call = read_call(state, fx, aten)
    selection = read_selection(call)
    source, parts = state.tensor_of(first_argument(fx)), selection.parts
    outputs = [fx.name if len(parts) == 1 else f"{fx.name}.{i}" for i in range(len(parts))]
    names = [call.layer if len(parts) == 1 else f"{call.layer}.{i}" for i in range(len(parts))]
    for name, output, part in zip(names, outputs, parts, strict=True):
        state.add_tensor(output, part.shape)
        node = Node(name, "rearrange", (source,), output, part, {}, source=call.source)
        state.nodes.append(node)
    if len(parts) > 1:
        names.append(call.layer)
        state.add_tensor(fx.name, call.output_shape)
        joined = concat_of([part.shape for part in parts], selection.axis)
        inputs = tuple(outputs)
        state.nodes.append(
            Node(call.layer, "concat", inputs, fx.name, joined, {}, source=call.source)
        )
    state.add_layer(fx, call.layer, aten, call.output_shape, nodes=tuple(names))


def _is_operator(state: ImportState, fx: torch.fx.Node, aten: str) -> bool:
    return True


def _import_operator(state: ImportState, fx: torch.fx.Node, aten: str) -> None:
    """The nodes of a call, each of which reads the output of the one before it."""
    mark_result(state, fx, aten)
    call = read_call(state, fx, aten)
    inputs = tuple(_operand(state, fx, argument) for argument in state.data_arguments(fx))
    lowered = lower_call(call)
    for i, layer in enumerate(lowered, start=1):
        output, shape = fx.name, call.output_shape
        if i < len(lowered):
            output, shape = f"{fx.name}.{i}", _output_shape(state, layer, inputs)
        state.add_tensor(output, shape)
        attributes, parameters = layer.attributes, layer.parameters
        node = Node(
            layer.name, layer.op, inputs, output, attributes, parameters, source=call.source
        )
        state.nodes.append(node)
        inputs = (output,)
    nodes = tuple(layer.name for layer in lowered)
    state.add_layer(fx, call.layer, aten, call.output_shape, nodes=nodes)


def _output_shape(
    state: ImportState, layer: LoweredLayer, inputs: tuple[str, ...]
) -> tuple[int, ...]:
    shapes = [state.tensors[tensor].shape for tensor in inputs]
    return OPERATORS[layer.op].output_shape(layer.attributes, shapes)


def _operand(state: ImportState, fx: torch.fx.Node, argument: torch.fx.Node) -> str:
    """The tensor of an argument. A constant becomes the output of a literal node.

    The literal's input is another tensor of the call, which has the same batch.
    """
    if argument not in state.constants:
        return state.tensor_of(argument)
    other = next(a for a in state.data_arguments(fx) if a not in state.constants)
    value, name = read_only(state.constants.value(argument)), f"{fx.name}.{argument.name}"
    call = read_call(state, fx, aten_name(fx))
    if value.ndim == 0 or value.size == 0:
        raise call.unsupported(
            f"a constant that it joins has the shape {list(value.shape)}",
            "Give it a batch of 1, and at least one value",
        )
    check_parameters(call, {"value": value})
    if (value != value[:1]).any():
        raise call.unsupported(
            "a constant that it joins differs from sample to sample", "Give it a batch of 1"
        )
    shape = value.shape[1:]
    state.add_tensor(name, shape)
    layer = state.constants.user_name(argument) or name
    inputs, parameters = (state.tensor_of(other),), {"value": value[:1]}
    state.nodes.append(Node(layer, "literal", inputs, name, Literal(shape), parameters))
    return name


@dataclass(frozen=True)
class _Handler:
    """How calls of one group are imported; both functions take (state, call, its aten name)."""

    matches: Callable[[ImportState, torch.fx.Node, str], bool]
    run: Callable[[ImportState, torch.fx.Node, str], None]


# The first row that matches imports a call. Each comment says why its row is where it is.
_HANDLERS = (
    # First: calls without a tensor or without a reader have nothing that the rows below could read.
    _Handler(_has_no_result, _skip),
    # Before the operators: every result is a call of its own, and imported as such.
    _Handler(_has_several_results, _skip),
    # Before all rows that add nodes: calls on weights alone are computed, whatever they are.
    _Handler(_is_constant, _fold),
    # Before the other rows for items: an unsupported call has no node that they could read.
    _Handler(_is_item_of_unsupported, _import_unknown),
    # Before the rows that would take a state for an output: its first axis counts layers.
    _Handler(_is_recurrent_state, _import_recurrent_state),
    _Handler(_reads_recurrent_state, _drop_layer_axis),
    # Before the identities: item 0 of a split is a part of its input, not the input.
    _Handler(_is_part_of_split, _import_part),
    # No order among these two: their operators differ.
    _Handler(_is_qdq, _import_qdq),
    _Handler(_is_identity, _import_identity),
    # Before the operators: only indices that are not constant are refused there.
    _Handler(_is_constant_selection, _import_constant_selection),
    # Last: it matches everything, and refuses operators that are not supported.
    _Handler(_is_operator, _import_operator),
)
