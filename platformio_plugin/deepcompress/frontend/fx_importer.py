"""Imports torch's exported program as a float Graph: one aten call becomes one or a few operators.

`ops/` defines what each call means. This module does what is common to all calls: it names
arguments by their schema, folds constants, names layers as the user did, and drops calls that
change nothing. Fusion, pruning and quantization are left to later stages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from deepcompress.arith.qparams import Range
from deepcompress.errors import UserError
from deepcompress.frontend.constants import IDENTITIES, Constants
from deepcompress.frontend.decompositions import decompose
from deepcompress.frontend.frontend import ImportedLayer, LayerCallback
from deepcompress.frontend.fx_node import (
    aten_name,
    computing_node,
    first_argument,
    gives_tensor,
    is_item,
    item_index,
    module_kind,
    named_arguments,
    read_only,
    shape_of,
    source_line,
    tensor_arguments,
    value_of,
)
from deepcompress.frontend.lower_call import lower_call
from deepcompress.frontend.qdq import DYNAMIC_QPARAMS, QUANTIZERS, propagate_ranges, read_qdq
from deepcompress.frontend.time_major import LayoutCall
from deepcompress.frontend.unsupported_ops import advice_for, advice_for_module
from deepcompress.ir.aten_call import AtenCall, place
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ops import OPERATORS
from deepcompress.ops.flatten import Flatten
from deepcompress.ops.literal import Literal
from deepcompress.ops.rearrange import SPLITS
from deepcompress.ops.recurrent import RECURRENT, last_step

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.arrays import Float32Array

# Calls that can remove the axis of a recurrent layer's state that counts its layers.
_DROP_AXIS = {"select", "squeeze", "view", "reshape"}
# Calls on the sizes of a dynamic batch. Their results are integers that the Graph does not need.
_BOOKKEEPING = {"sym_size", "sym_constrain_range_for_size", "_assert_scalar", "_assert_async"}
_MOST_NAMES = 9999


def import_graph(
    program: torch.export.ExportedProgram,
    *,
    name: str,
    layer: LayerCallback = lambda layer: None,
) -> Graph:
    """The float Graph of an exported program.

    Args:
        program: in aten calls that are not decomposed.
        name: of the model, a C identifier.
        layer: called with each layer, in the order of the calls, before any error is raised.

    Raises:
        UserError: operators or uses of them are not supported (it names the first such layer), the
            shape of an input is not fixed, or an output depends on no input.
    """
    importer = _Importer(decompose(program), name)
    graph = importer.run()
    for imported in importer.layers:
        layer(imported)
    problems = [imported.problem for imported in importer.layers if imported.problem]
    if problems:
        raise UserError(problems[0].what, problems[0].where, _advice(problems))
    return graph


def _advice(problems: list[UserError]) -> str:
    """What to do about the first problem, and how many more there are."""
    more = len(problems) - 1
    also = f". {more} more of its calls are not supported: see `deepcompress check`" if more else ""
    return problems[0].do + also


class _Importer:
    """One walk over the nodes of a program, and what it has imported so far.

    Names are those of fx nodes; a tensor of the Graph has the name of the node that computes it.
    """

    def __init__(self, program: torch.export.ExportedProgram, model: str) -> None:
        self.model = model
        self.fx_nodes = list(program.graph_module.graph.nodes)
        self.inputs = tuple(program.graph_signature.user_inputs)
        self.constants = Constants(program)
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.ranges: dict[str, Range] = {}
        self.layers: list[ImportedLayer] = []
        self.aliases: dict[str, str] = {}  # a name -> the name of the same tensor
        self.recurrent_states: set[str] = set()  # last states of recurrent layers
        self.time_major: set[str] = set()  # tensors [steps, samples, ...]
        self.unsupported: set[str] = set()  # calls that are not supported
        self.unknown: set[str] = set()  # their results, and whatever is computed from these

    def run(self) -> Graph:
        outputs: tuple[str, ...] = ()
        for fx in self.fx_nodes:
            if fx.op == "placeholder" and fx.name in self.inputs:
                self.tensors[fx.name] = Tensor(fx.name, shape_of(fx))
            elif fx.op == "call_function":
                self.import_or_refuse(fx)
            elif fx.op == "output":
                results = cast("tuple[object, ...]", fx.args[0])
                outputs = tuple(self.tensor_of(result) for result in results if result is not None)
        outputs = tuple(self.copy_of_input(name) for name in outputs)
        ranges = propagate_ranges(self.ranges, self.nodes)
        return Graph(self.model, self.tensors, tuple(self.nodes), self.inputs, outputs, ranges)

    def import_or_refuse(self, fx: torch.fx.Node) -> None:
        """Imports a call; an unsupported one is noted, so that all of them can be reported."""
        aten = aten_name(fx).removesuffix("_")
        handler = next(handler for handler in _HANDLERS if handler.matches(self, fx, aten))
        try:
            handler.run(self, fx, aten)
        except UserError as problem:
            self.refuse(fx, problem)

    def refuse(self, fx: torch.fx.Node, problem: UserError) -> None:
        """Notes an unsupported call. Calls that read its result are imported nevertheless."""
        sizes = tuple(str(size) for size in value_of(fx).shape[1:])
        shape = tuple(int(size) if size.isdigit() else size for size in sizes)
        self.tensors[fx.name] = Tensor(fx.name, tuple(s for s in shape if isinstance(s, int)))
        self.unsupported.add(fx.name)
        self.unknown.add(fx.name)
        kind, name = module_kind(fx), self.layer_name(fx)
        if advice := advice_for_module(kind):
            problem = UserError(f"nn.{kind} is not supported", problem.where, advice)
        self.add_layer(fx, name, aten_name(fx), shape, problem=problem)

    def add_layer(
        self,
        fx: torch.fx.Node,
        name: str,
        aten: str,
        shape: tuple[int | str, ...],
        *,
        nodes: tuple[str, ...] = (),
        problem: UserError | None = None,
    ) -> None:
        arguments = tensor_arguments(computing_node(fx))
        parameters = sum(self.constants.value(a).numel() for a in arguments if a in self.constants)
        inputs = [self.tensors.get(self.resolved(a.name)) for a in arguments]
        values = sum(tensor.size for tensor in (*inputs, self.tensors.get(fx.name)) if tensor)
        self.layers.append(ImportedLayer(name, aten, shape, parameters, values, nodes, problem))

    def copy_of_input(self, name: str) -> str:
        """A copy of an output that is an input itself, because an input is in caller's memory."""
        if name not in self.inputs:
            return name
        copy, shape = f"{name}.copy", self.tensors[name].shape
        if copy not in self.tensors:
            self.tensors[copy] = Tensor(copy, shape)
            self.nodes.append(Node(copy, "flatten", (name,), copy, Flatten(shape), {}))
        return copy

    # What the rows of _HANDLERS match.

    def has_no_result(self, fx: torch.fx.Node, aten: str) -> bool:
        return aten in _BOOKKEEPING or not gives_tensor(fx) or not fx.users

    def has_several_results(self, fx: torch.fx.Node, aten: str) -> bool:
        return aten in SPLITS or aten_name(computing_node(fx)) in DYNAMIC_QPARAMS

    def is_constant(self, fx: torch.fx.Node, aten: str) -> bool:
        return self.constants.can_fold(fx, aten)

    def is_item_of_unsupported(self, fx: torch.fx.Node, aten: str) -> bool:
        return is_item(fx) and first_argument(fx).name in self.unsupported

    def is_recurrent_state(self, fx: torch.fx.Node, aten: str) -> bool:
        return is_item(fx) and aten_name(first_argument(fx)) in RECURRENT and item_index(fx) > 0

    def reads_recurrent_state(self, fx: torch.fx.Node, aten: str) -> bool:
        return bool(fx.args) and getattr(fx.args[0], "name", None) in self.recurrent_states

    def is_part_of_split(self, fx: torch.fx.Node, aten: str) -> bool:
        return is_item(fx) and aten_name(first_argument(fx)) in SPLITS

    def is_qdq(self, fx: torch.fx.Node, aten: str) -> bool:
        return aten in QUANTIZERS

    def is_identity(self, fx: torch.fx.Node, aten: str) -> bool:
        return aten in IDENTITIES or (is_item(fx) and item_index(fx) == 0)

    def is_operator(self, fx: torch.fx.Node, aten: str) -> bool:
        return True

    # What they do.

    def skip(self, fx: torch.fx.Node, aten: str) -> None:
        pass

    def fold(self, fx: torch.fx.Node, aten: str) -> None:
        self.constants.fold(fx, aten)

    def import_unknown(self, fx: torch.fx.Node, aten: str) -> None:
        self.unknown.add(fx.name)
        self.tensors[fx.name] = Tensor(fx.name, shape_of(fx))

    def import_recurrent_state(self, fx: torch.fx.Node, aten: str) -> None:
        """The last state of a recurrent layer, which is its last output; not its cell's."""
        source = first_argument(fx)
        node = next(node for node in self.nodes if node.output == source.name)
        if item_index(fx) > 1:
            raise self.read_call(source, node.op).unsupported(
                "its cell is read", "Read its outputs, or its last output h"
            )
        attributes = last_step(node.attributes)
        self.tensors[fx.name] = Tensor(fx.name, attributes.shape)
        last = Node(f"{node.name}.last", "rearrange", (node.output,), fx.name, attributes, {})
        self.nodes.append(last)
        self.recurrent_states.add(fx.name)

    def drop_layer_axis(self, fx: torch.fx.Node, aten: str) -> None:
        """Removes the axis of layers, which a state has before its samples only in the program."""
        if aten not in _DROP_AXIS or len(fx.meta["val"].shape) != 2:
            raise self.read_call(fx, aten).unsupported(
                "the last state of a recurrent layer is supported as h[-1]", "Write h[-1]"
            )
        self.aliases[fx.name] = self.tensor_of(first_argument(fx))

    def import_part(self, fx: torch.fx.Node, aten: str) -> None:
        self.import_operator(fx, aten_name(first_argument(fx)))

    def import_qdq(self, fx: torch.fx.Node, aten: str) -> None:
        """The tensor's range. A node of few bits also limits the values: it becomes a clamp."""
        self.mark_result(fx, aten)
        call, source = self.read_call(fx, aten), self.tensor_of(first_argument(fx))
        quantization = read_qdq(call)
        if quantization is not None:
            self.ranges.setdefault(source, quantization.range)
        if quantization is None or quantization.limits is None:
            self.aliases[fx.name] = source
            return
        limits = quantization.limits
        self.tensors[fx.name] = Tensor(fx.name, call.output_shape)
        self.ranges[fx.name] = quantization.range
        clamp = Node(call.layer, "clamp", (source,), fx.name, limits, {}, source=call.source)
        self.nodes.append(clamp)

    def import_identity(self, fx: torch.fx.Node, aten: str) -> None:
        """The call's result is its first argument."""
        source = first_argument(fx)
        self.aliases[fx.name] = self.tensor_of(source)
        for names in (self.time_major, self.unknown):
            if source.name in names:
                names.add(fx.name)

    def import_operator(self, fx: torch.fx.Node, aten: str) -> None:
        """The nodes of a call, each of which reads the output of the one before it."""
        self.mark_result(fx, aten)
        call = self.read_call(fx, aten)
        inputs = tuple(self.operand(fx, argument) for argument in self.data_arguments(fx))
        lowered = lower_call(call)
        for i, layer in enumerate(lowered, start=1):
            shapes = [self.tensors[tensor].shape for tensor in inputs]
            output, shape = fx.name, call.output_shape
            if i < len(lowered):
                output = f"{fx.name}.{i}"
                operator = OPERATORS[layer.op]
                shape = operator.output_shape(layer.attributes, shapes)
            self.tensors[output] = Tensor(output, shape)
            self.nodes.append(
                Node(
                    layer.name,
                    layer.op,
                    inputs,
                    output,
                    layer.attributes,
                    layer.parameters,
                    source=call.source,
                )
            )
            inputs = (output,)
        nodes = tuple(layer.name for layer in lowered)
        self.add_layer(fx, call.layer, aten, call.output_shape, nodes=nodes)

    # How a call is read.

    def mark_result(self, fx: torch.fx.Node, aten: str) -> None:
        """Notes whether a call's result is unknown, or time-major, because of its inputs."""
        data = self.data_arguments(fx)
        if any(argument.name in self.unknown for argument in data):
            self.unknown.add(fx.name)
        elif data:
            layout = self.batch_major(fx, aten, data)
            if layout is not None and layout.time_major:
                self.time_major.add(fx.name)

    def read_call(self, fx: torch.fx.Node, aten: str) -> AtenCall:
        """The call with arguments by name, on batch-major tensors.

        Raises:
            UserError: it reads no tensor that depends on the input, or the batch is on an axis on
                which it is not supported.
        """
        data = self.data_arguments(fx)
        if not data:
            raise UserError(
                "it reads no input, and is not computed here",
                place(self.layer_name(fx), aten, source_line(fx)),
                advice_for(aten, default="Store its result in __init__, with register_buffer"),
            )
        layout = self.batch_major(fx, aten, data)
        arguments = layout.arguments if layout else self.named_arguments(fx)
        call = AtenCall(
            layer=self.layer_name(fx),
            source=source_line(fx),
            aten=layout.aten if layout else aten,
            arguments={
                name: value for name, value in arguments.items() if not hasattr(value, "name")
            },
            constants=self.named_constants(fx),
            input_shapes=tuple(self.shape(argument) for argument in data),
            output_shape=self.shape(fx),
        )
        layouts = {argument.name in self.time_major for argument in data}
        is_unknown = any(argument.name in self.unknown for argument in data)
        if (layout is None or len(layouts) > 1) and not is_unknown:
            raise call.unsupported(
                "it moves the batch to another axis, or works on one that lies there",
                "Leave the samples on the first axis; only around nn.GRU and nn.LSTM they may be "
                "on the second",
            )
        return call

    def batch_major(
        self, fx: torch.fx.Node, aten: str, data: list[torch.fx.Node]
    ) -> LayoutCall | None:
        """A call on batch-major tensors; None where it is not supported on the batch's axis."""
        rank, is_time_major = value_of(data[0]).dim(), data[0].name in self.time_major
        return LayoutCall(aten, self.named_arguments(fx), rank, is_time_major).batch_major()

    def named_arguments(self, fx: torch.fx.Node) -> dict[str, Any]:
        """Arguments by name; for one of several results also which it is, as "item"."""
        arguments = named_arguments(computing_node(fx))
        return {**arguments, "item": item_index(fx)} if is_item(fx) else arguments

    def named_constants(self, fx: torch.fx.Node) -> dict[str, Float32Array]:
        """The arguments that are constants; those in lists as "params.0", "params.1"."""
        arguments = named_arguments(computing_node(fx))
        elements = {
            f"{name}.{i}": element
            for name, value in arguments.items()
            if isinstance(value, (list, tuple))
            for i, element in enumerate(value)
        }
        return {
            name: read_only(self.constants.value(value))
            for name, value in {**arguments, **elements}.items()
            if value in self.constants
        }

    def shape(self, fx: torch.fx.Node) -> tuple[int, ...]:
        return shape_of(fx, batch_axis=1 if fx.name in self.time_major else 0)

    def data_arguments(self, fx: torch.fx.Node) -> list[torch.fx.Node]:
        """The computed tensors that a call reads; for a concatenation also the constants."""
        computing = computing_node(fx)
        joins = aten_name(computing) in OPERATORS["concat"].aten
        return [a for a in tensor_arguments(computing) if joins or a not in self.constants]

    def operand(self, fx: torch.fx.Node, argument: torch.fx.Node) -> str:
        """The tensor of an argument. A constant becomes the output of a literal node.

        The literal's input is a tensor that the constant is concatenated with.
        """
        if argument not in self.constants:
            return self.tensor_of(argument)
        other = next(a for a in self.data_arguments(fx) if a not in self.constants)
        value, name = read_only(self.constants.value(argument)), f"{fx.name}.{argument.name}"
        if (value != value[:1]).any():
            raise self.read_call(fx, aten_name(fx)).unsupported(
                "a constant that it joins differs from sample to sample", "Give it a batch of 1"
            )
        self.tensors[name] = Tensor(name, value.shape[1:])
        node = Node(
            self.constants.user_name(argument) or name,
            "literal",
            (self.tensor_of(other),),
            name,
            Literal(value.shape[1:]),
            {"value": value[:1]},
        )
        self.nodes.append(node)
        return name

    def layer_name(self, fx: torch.fx.Node) -> str:
        """The user's name: of the weight, else of the nn.Module, else of the call; made unique."""
        arguments = named_arguments(computing_node(fx))
        weight = arguments.get("weight") or next(iter(arguments.get("params", ())), None)
        name = self.constants.user_name(weight).rpartition(".")[0]
        if not name:
            modules = list((fx.meta.get("nn_module_stack") or {}).values())
            name = modules[-1][0] if len(modules) > 1 else fx.name
            name = name.removeprefix("L['self'].")
        used = {node.name for node in self.nodes} | {layer.name for layer in self.layers}
        candidates = (name, *(f"{name}_{i}" for i in range(2, _MOST_NAMES)))
        return next(candidate for candidate in candidates if candidate not in used)

    def resolved(self, name: str) -> str:
        while name in self.aliases:
            name = self.aliases[name]
        return name

    def tensor_of(self, fx: object) -> str:
        """The Graph's tensor for a node. Raises UserError if the node depends on no input."""
        name = self.resolved(getattr(fx, "name", str(fx)))
        if name not in self.tensors:
            raise UserError(
                "a result does not depend on the input",
                f"the model {self.model}, {name}",
                "Remove it from the model's outputs",
            )
        return name


@dataclass(frozen=True)
class _Handler:
    """How calls of one group are imported: (importer, call, its aten name) to both functions."""

    matches: Callable[[_Importer, torch.fx.Node, str], bool]
    run: Callable[[_Importer, torch.fx.Node, str], None]


# The first row that matches imports a call. Each comment says why its row is where it is.
_HANDLERS = (
    # First: calls without a tensor or without a reader have nothing that the rows below could read.
    _Handler(_Importer.has_no_result, _Importer.skip),
    # Before the operators: every result is a call of its own, and imported as such.
    _Handler(_Importer.has_several_results, _Importer.skip),
    # Before all rows that add nodes: calls on weights alone are computed, whatever they are.
    _Handler(_Importer.is_constant, _Importer.fold),
    # Before the other rows for items: an unsupported call has no node that they could read.
    _Handler(_Importer.is_item_of_unsupported, _Importer.import_unknown),
    # Before the rows that would take a state for an output: its first axis counts layers.
    _Handler(_Importer.is_recurrent_state, _Importer.import_recurrent_state),
    _Handler(_Importer.reads_recurrent_state, _Importer.drop_layer_axis),
    # Before the identities: item 0 of a split is a part of its input, not the input.
    _Handler(_Importer.is_part_of_split, _Importer.import_part),
    # No order among these two: their operators differ.
    _Handler(_Importer.is_qdq, _Importer.import_qdq),
    _Handler(_Importer.is_identity, _Importer.import_identity),
    # Last: it matches everything, and refuses operators that are not supported.
    _Handler(_Importer.is_operator, _Importer.import_operator),
)
