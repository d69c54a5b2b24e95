"""From torch's exported program to our Graph: one aten call becomes one of our few operators.

What each call means is a row in `ops/`. This file knows what all calls share: arguments by their
schema's names, constants folded, layers named as the user named them, calls that change nothing
dropped. Pruning, folding and numbers are left to later stages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcompress.arith.qparams import Range
from deepcompress.errors import UserError
from deepcompress.frontend.conv1d_as_2d import as_image, is_one_dimensional
from deepcompress.frontend.decompositions import decompose
from deepcompress.frontend.fx_node import (
    aten_name,
    computing_node,
    constant_names,
    constants_of,
    create,
    gives_tensor,
    is_created,
    is_pure,
    module_kind,
    named_arguments,
    read_only,
    shape_of,
    source_line,
    tensor_arguments,
    value_of,
)
from deepcompress.frontend.qdq import CHOOSERS, ON_CONSTANTS, QUANTIZERS, read_stated, spread
from deepcompress.frontend.time_major import Axes
from deepcompress.frontend.unsupported_ops import instead_of, instead_of_module
from deepcompress.ir.aten_call import AtenCall, place
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ops import BY_ATEN, OPERATORS
from deepcompress.ops.adaptive_pool2d import ordinary
from deepcompress.ops.flatten import Flatten
from deepcompress.ops.literal import Literal
from deepcompress.ops.rearrange import SPLITS
from deepcompress.ops.recurrent import RECURRENT, last_step, split_layers

if TYPE_CHECKING:
    import torch

# Calls that hand on their input in inference.
_IDENTITY = {
    "alias",
    "clone",
    "contiguous",
    "alpha_dropout",
    "detach",
    "dropout",
    "feature_alpha_dropout",
    "feature_dropout",
    "lift_fresh_copy",
    "to",
    "_to_copy",
}
# Calls that are computed here where all their tensors are constants: those of our operators, and
# these. No others: what a file says is not run.
_ON_CONSTANTS = {"_weight_norm", "argmax", "dot", "embedding", "mv", "norm", "numpy_T", "t", "vdot"}
# Calls of two operands, one of which may be a number or a parameter; then our row has another name.
_BINARY = {"add", "sub", "rsub", "mul", "div"}
# Calls that may take away the axis of a recurrent layer's state that counts layers.
_DROP_AXIS = {"select", "squeeze", "view", "reshape"}
# Calls about sizes, of dynamic batches: their results are integers that nothing of ours reads.
_BOOKKEEPING = {"sym_size", "sym_constrain_range_for_size", "_assert_scalar", "_assert_async"}


@dataclass(frozen=True)
class Layer:
    """One call of the user's network, supported or not.

    Attributes:
        name: the user's for it.
        op: its aten operator.
        output_shape: without the batch; a size that is not fixed is a text.
        parameters: how many numbers it reads that the network stores.
        values: of all its inputs and its output together.
        nodes: names of the Graph's nodes that it became.
        problem: why it is not supported, or None.
    """

    name: str
    op: str
    output_shape: tuple[int | str, ...]
    parameters: int
    values: int
    nodes: tuple[str, ...] = ()
    problem: UserError | None = None


def import_graph(
    program: torch.export.ExportedProgram,
    *,
    name: str,
    see: Callable[[Layer], None] = lambda layer: None,
) -> Graph:
    """The float Graph of an exported program.

    Args:
        program: as `load` gives it, aten calls not decomposed.
        name: of the model, a C identifier.
        see: is told of each layer, in the order of the calls, before any error is raised.

    Raises:
        UserError: operators or uses of them that are not supported, naming the first layer; an
            input whose shape is not fixed; an output that depends on none.
    """
    walk = _Lowering(_decomposed(program), name)
    graph = walk.run()
    for layer in walk.layers:
        see(layer)
    problems = [layer.problem for layer in walk.layers if layer.problem]
    if problems:
        raise UserError(problems[0].what, problems[0].where, _and_more(problems))
    return graph


def _decomposed(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """As far as torch can: what stops it is then told as a layer that is not supported."""
    try:
        return decompose(program)
    except Exception:
        return program


def _and_more(problems: list[UserError]) -> str:
    """What to do about the first problem, and that it is not the only one."""
    more = len(problems) - 1
    also = f". {more} more of its calls are not supported: see `deepcompress check`" if more else ""
    return problems[0].do + also


class _Lowering:
    """The walk over the program's nodes; what it has seen so far."""

    def __init__(self, program: torch.export.ExportedProgram, name: str) -> None:
        self.name = name
        self.fx_nodes = list(program.graph_module.graph.nodes)
        self.constants: dict[str, torch.Tensor] = constants_of(program)
        self.constant_names = constant_names(program)
        self.user_inputs = tuple(program.graph_signature.user_inputs)
        self.alias: dict[str, str] = {}
        self.tensors: dict[str, Tensor] = {}
        self.states: set[str] = set()
        self.ranges: dict[str, Range] = {}
        self.turned: set[str] = set()
        self.nodes: list[Node] = []
        self.layers: list[Layer] = []
        self.unsupported: set[str] = set()
        self.unknown: set[str] = set()  # their results, and what is computed of these

    def run(self) -> Graph:
        outputs: tuple[str, ...] = ()
        for fx in self.fx_nodes:
            if fx.op == "placeholder" and fx.name in self.user_inputs:
                self.tensors[fx.name] = Tensor(fx.name, shape_of(fx))
            elif fx.op == "call_function":
                try:
                    self.call(fx)
                except UserError as problem:
                    self.refuse(fx, problem)
            elif fx.op == "output":
                given = (argument for argument in fx.args[0] if argument is not None)
                outputs = tuple(self.tensor_of(argument) for argument in given)
        outputs = tuple(self.copy_of_input(name) for name in outputs)
        ranges = spread(self.ranges, self.nodes)
        nodes = tuple(self.nodes)
        return Graph(self.name, self.tensors, nodes, self.user_inputs, outputs, ranges)

    def refuse(self, fx: torch.fx.Node, problem: UserError) -> None:
        """A layer that is not supported: what reads it goes on as if its result were there."""
        sizes = tuple(str(size) for size in value_of(fx).shape[1:])
        shape = tuple(int(size) if size.isdigit() else size for size in sizes)
        self.tensors[fx.name] = Tensor(fx.name, tuple(s for s in shape if isinstance(s, int)))
        self.unsupported.add(fx.name)
        self.unknown.add(fx.name)
        kind, name = module_kind(fx), self.layer_name(fx, named_arguments(computing_node(fx)))
        if advice := instead_of_module(kind):
            problem = UserError(f"nn.{kind} is not supported", problem.where, advice)
        self.layers.append(self.layer(fx, name, aten_name(fx), shape, problem=problem))

    def layer(
        self,
        fx: torch.fx.Node,
        name: str,
        aten: str,
        shape: tuple[int | str, ...],
        *,
        nodes: tuple[str, ...] = (),
        problem: UserError | None = None,
    ) -> Layer:
        read = tensor_arguments(computing_node(fx))
        stored = sum(self.constants[a.name].numel() for a in read if a.name in self.constants)
        known = [self.tensors.get(self.resolved(a.name)) for a in read]
        values = sum(tensor.size for tensor in (*known, self.tensors.get(fx.name)) if tensor)
        return Layer(name, aten, shape, stored, values, nodes, problem)

    def copy_of_input(self, name: str) -> str:
        """An output that is an input as it came is copied: it may lie in the caller's memory."""
        if name not in self.user_inputs:
            return name
        copied, shape = f"{name}.copy", self.tensors[name].shape
        if copied not in self.tensors:
            self.tensors[copied] = Tensor(copied, shape)
            self.nodes.append(Node(copied, "flatten", (name,), copied, Flatten(shape), {}))
        return copied

    def call(self, fx: torch.fx.Node) -> None:
        aten = aten_name(fx).removesuffix("_")
        if aten in _BOOKKEEPING or not gives_tensor(fx) or not fx.users:
            return
        if aten in SPLITS or aten_name(computing_node(fx)) in CHOOSERS:
            return  # each of the results is a call of its own
        if self.fold_constant(fx, aten):
            return
        if aten == "getitem" and fx.args[0].name in self.unsupported:
            self.unknown.add(fx.name)
            self.tensors[fx.name] = Tensor(fx.name, shape_of(fx))
        elif aten == "getitem" and aten_name(fx.args[0]) in RECURRENT and fx.args[1] > 0:
            self.read_state(fx)
        elif fx.args and getattr(fx.args[0], "name", None) in self.states:
            self.drop_layers(fx, aten)
        elif aten == "getitem" and aten_name(fx.args[0]) in SPLITS:
            self.add(fx, aten_name(fx.args[0]))
        elif aten in QUANTIZERS:
            self.state(fx, aten)
        elif (aten == "getitem" and fx.args[1] == 0) or aten in _IDENTITY:
            self.rename(fx)
        else:
            self.add(fx, aten)

    def rename(self, fx: torch.fx.Node) -> None:
        """What a call gives is its first argument."""
        self.alias[fx.name] = self.tensor_of(fx.args[0])
        for names in (self.turned, self.unknown):
            if fx.args[0].name in names:
                names.add(fx.name)

    def add(self, fx: torch.fx.Node, aten: str) -> None:
        """The nodes of a call, each of which reads what the one before it computes."""
        call = self.read_call(fx, aten)
        inputs = tuple(self.operand(fx, argument) for argument in self.data_of(fx))
        parts = pieces(call)
        for i, (name, op, attributes, parameters) in enumerate(parts, start=1):
            shapes = [self.tensors[tensor].shape for tensor in inputs]
            output, shape = fx.name, call.output_shape
            if i < len(parts):
                output = f"{fx.name}.{i}"
                shape = OPERATORS[op].output_shape(attributes, shapes)
            self.tensors[output] = Tensor(output, shape)
            node = Node(name, op, inputs, output, attributes, parameters, source=call.source)
            self.nodes.append(node)
            inputs = (output,)
        nodes = tuple(name for name, *_ in parts)
        self.layers.append(self.layer(fx, call.layer, aten, call.output_shape, nodes=nodes))

    def state(self, fx: torch.fx.Node, aten: str) -> None:
        """What a call says of a tensor's scale. Where it lets few bits through, it is a clamp."""
        call, source = self.read_call(fx, aten), self.tensor_of(fx.args[0])
        stated = read_stated(call)
        if stated is not None:
            self.ranges.setdefault(source, stated.range)
        if stated is None or stated.limits is None:
            self.alias[fx.name] = source
            return
        self.tensors[fx.name] = Tensor(fx.name, call.output_shape)
        self.ranges[fx.name] = stated.range
        clamp = Node(call.layer, "clamp", (source,), fx.name, stated.limits, {}, source=call.source)
        self.nodes.append(clamp)

    def read_state(self, fx: torch.fx.Node) -> None:
        """The state that a recurrent layer ends with, which is its last output."""
        source, index = fx.args
        if not fx.users:
            return
        node = next(node for node in self.nodes if node.output == source.name)
        if index > 1:
            raise self.read_call(source, node.op).unsupported(
                "its cell is read", "Read its outputs, or its last output h"
            )
        attributes = last_step(node.attributes)
        self.tensors[fx.name] = Tensor(fx.name, attributes.shape)
        last = Node(f"{node.name}.last", "rearrange", (node.output,), fx.name, attributes, {})
        self.nodes.append(last)
        self.states.add(fx.name)

    def drop_layers(self, fx: torch.fx.Node, aten: str) -> None:
        """A state's first axis counts layers, not samples: what takes it away gives a vector."""
        if aten not in _DROP_AXIS or len(fx.meta["val"].shape) != 2:
            raise self.read_call(fx, aten).unsupported(
                "the last state of a recurrent layer is supported as h[-1]", "Write h[-1]"
            )
        self.alias[fx.name] = self.tensor_of(fx.args[0])

    def read_call(self, fx: torch.fx.Node, aten: str) -> AtenCall:
        computing = computing_node(fx)
        arguments = named_arguments(computing)
        if computing is not fx:
            arguments["item"] = fx.args[1]
        constants = {
            name: read_only(self.constants[value.name])
            for name, value in arguments.items()
            if getattr(value, "name", None) in self.constants
        }
        for name, values in arguments.items():
            for i, value in enumerate(values if isinstance(values, (list, tuple)) else ()):
                if getattr(value, "name", None) in self.constants:
                    constants[f"{name}.{i}"] = read_only(self.constants[value.name])
        data = self.data_of(fx)
        if not data:
            raise UserError(
                "it reads no input, and is not computed here",
                place(self.layer_name(fx, arguments), aten, source_line(fx)),
                instead_of(aten, otherwise="Store its result in __init__, with register_buffer"),
            )
        unknown = any(argument.name in self.unknown for argument in data)
        if unknown:
            self.unknown.add(fx.name)
        turned = data[0].name in self.turned
        axes = Axes(aten, arguments, len(value_of(data[0]).shape), turned).with_samples_first()
        mixed = any((argument.name in self.turned) != turned for argument in data)
        aten, arguments = (axes.aten, axes.arguments) if axes else (aten, arguments)
        if axes and axes.turned and not unknown:
            self.turned.add(fx.name)
        call = AtenCall(
            layer=self.layer_name(fx, arguments),
            source=source_line(fx),
            aten=aten,
            arguments={
                key: value for key, value in arguments.items() if not hasattr(value, "name")
            },
            constants=constants,
            input_shapes=tuple(self.shape(argument) for argument in data),
            output_shape=self.shape(fx),
        )
        if (axes is None or mixed) and not unknown:
            raise call.unsupported(
                "it moves the batch to another axis, or works on one that lies there",
                "Leave the samples on the first axis; only around nn.GRU and nn.LSTM they may be "
                "on the second",
            )
        return call

    def shape(self, fx: torch.fx.Node) -> tuple[int, ...]:
        return shape_of(fx, samples=1 if fx.name in self.turned else 0)

    def data_of(self, fx: torch.fx.Node) -> list[torch.fx.Node]:
        """The tensors that a call works on: those computed, and all that it joins."""
        computing = computing_node(fx)
        joins = aten_name(computing) in OPERATORS["concat"].aten
        tensors = tensor_arguments(computing)
        return [a for a in tensors if joins or a.name not in self.constants]

    def operand(self, fx: torch.fx.Node, argument: torch.fx.Node) -> str:
        """The tensor that an argument of a call is; of a constant, that of a layer which gives it.

        That layer's own input is what the constant is joined with.
        """
        if argument.name not in self.constants:
            return self.tensor_of(argument)
        beside = next(a for a in self.data_of(fx) if a.name not in self.constants)
        value, name = read_only(self.constants[argument.name]), f"{fx.name}.{argument.name}"
        if (value != value[:1]).any():
            raise self.read_call(fx, aten_name(fx)).unsupported(
                "a constant that it joins differs from sample to sample", "Give it a batch of 1"
            )
        self.tensors[name] = Tensor(name, value.shape[1:])
        node = Node(
            self.constant_names.get(argument.name) or name,
            "literal",
            (self.tensor_of(beside),),
            name,
            Literal(value.shape[1:]),
            {"value": value[:1]},
        )
        self.nodes.append(node)
        return name

    def layer_name(self, fx: torch.fx.Node, arguments: dict[str, Any]) -> str:
        """The user's name: that of the weight, else of the nn.Module, else of the call."""
        weight = arguments.get("weight") or next(iter(arguments.get("params", ())), None)
        weight = self.constant_names.get(getattr(weight, "name", ""), "")
        name = weight.rpartition(".")[0]
        if not name:
            modules = list((fx.meta.get("nn_module_stack") or {}).values())
            name = modules[-1][0] if len(modules) > 1 else fx.name
            name = name.removeprefix("L['self'].")
        taken = {node.name for node in self.nodes} | {layer.name for layer in self.layers}
        return next(n for n in (name, *(f"{name}_{i}" for i in range(2, 9999))) if n not in taken)

    def fold_constant(self, fx: torch.fx.Node, aten: str) -> bool:
        """Computes a call whose tensors are all constants, such as a weight's transpose."""
        tensors = tensor_arguments(fx)
        if is_created(aten):
            self.constants[fx.name] = create(fx, aten)
            return True
        if not tensors or any(argument.name not in self.constants for argument in tensors):
            return False
        if aten == "getitem":
            self.constants[fx.name] = self.constants[tensors[0].name][fx.args[1]]
        elif is_pure(fx) and aten in _ON_CONSTANTS | _IDENTITY | ON_CONSTANTS | BY_ATEN.keys():
            self.constants[fx.name] = self.compute(fx)
        else:
            return False
        self.constant_names[fx.name] = self.constant_names.get(tensors[0].name, "")
        return True

    def compute(self, fx: torch.fx.Node) -> torch.Tensor:
        """Of constants; a dynamic batch is taken for one sample."""
        import torch
        from torch.fx.node import map_arg

        args, kwargs = map_arg((fx.args, fx.kwargs), lambda n: self.constants.get(n.name, 1))
        with torch.no_grad():
            return fx.target(*args, **kwargs)

    def resolved(self, name: str) -> str:
        while name in self.alias:
            name = self.alias[name]
        return name

    def tensor_of(self, fx: Any) -> str:
        name = self.resolved(getattr(fx, "name", str(fx)))
        if name not in self.tensors:
            raise UserError(
                "a result does not depend on the input",
                f"the model {self.name}, {name}",
                "Remove it from the model's outputs",
            )
        return name


Piece = tuple[str, str, Any, dict[str, np.ndarray]]


def pieces(call: AtenCall) -> list[Piece]:
    """The layers that a call becomes, one behind the other: name, operator, what `read` says."""
    if call.aten in RECURRENT and "weight_ih" not in call.constants:
        return [piece for layer in split_layers(call) for piece in pieces(layer)]
    if is_one_dimensional(call):
        image = as_image(call)
        before = (f"{call.layer}.row", "flatten", Flatten(image.input_shape), {})
        after = (f"{call.layer}.rows", "flatten", Flatten(call.output_shape), {})
        return [before, *pieces(image), after]
    named = _by_use(call)
    if named.aten not in BY_ATEN:
        raise call.unsupported(f"the operator {call.aten} is not supported", instead_of(call.aten))
    op = BY_ATEN[named.aten]
    if op == "scale_shift" and call.output_shape != call.input_shape:
        return pieces(_expanded(call)) + pieces(replace(call, input_shapes=(call.output_shape,)))
    if op == "linear" and call.input_rank > 1:
        op = "linear_rows"
    attributes, parameters = OPERATORS[op].read(named)
    if OPERATORS[op].changes_nothing(attributes, parameters):
        return [(call.layer, "flatten", Flatten(call.output_shape), {})]
    return [(call.layer, op, attributes, parameters)]


def _by_use(call: AtenCall) -> AtenCall:
    """The call by the name of our row, where one aten name means several."""
    if call.aten in _BINARY and len(call.input_shapes) < 2:
        return replace(call, aten=f"{call.aten}_constant")
    if call.aten == "convolution" and call["transposed"]:
        return replace(call, aten="conv_transpose2d")
    return ordinary(call)


def _expanded(call: AtenCall) -> AtenCall:
    """The tensor as large as a constant makes it."""
    return replace(call, aten="expand", layer=f"{call.layer}.expand", constants={}, arguments={})
