"""What an import has read so far: the Graph's tensors and nodes, and facts about fx nodes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from deepcompress.arith.qparams import Range
from deepcompress.errors import UserError
from deepcompress.frontend.constants import Constants
from deepcompress.frontend.frontend import ImportedLayer
from deepcompress.frontend.fx_node import (
    aten_name,
    computing_node,
    named_arguments,
    shape_of,
    tensor_arguments,
)
from deepcompress.frontend.safe_names import Names
from deepcompress.frontend.streamed_states import StreamedStates
from deepcompress.ir.graph import Node, Tensor
from deepcompress.ops import BY_ATEN, OPERATORS

if TYPE_CHECKING:
    import torch

_MOST_NAMES = 9999
# The first weight of a recurrent module's part that is a layer of its own: "l0_reverse", "l1".
_PART_OF_RECURRENT = re.compile(r"weight_ih_(l\d+_reverse|l[1-9]\d*)")


class ImportState:
    """Grows call by call. A tensor of the Graph has the name of the fx node that computes it.

    Attributes:
        model: name of the model.
        names: what the user's file calls a module of the program.
        streamed: states that are inputs and outputs of the program, but not of the Graph.
        inputs: names of the network's inputs.
        constants: tensors whose values are known.
        tensors, nodes, ranges: of the Graph.
        layers: calls that were imported or refused.
        aliases: name of an fx node -> name of a node with the same result.
        recurrent_states: names of fx nodes that are last states of recurrent layers.
        time_major: names of fx nodes that are [steps, samples, ...].
        unsupported: names of calls that are not supported.
        unknown: names of their results, and of everything that is computed from these.
    """

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        model: str,
        names: Names,
        streamed: StreamedStates,
    ) -> None:
        self.model = model
        self.names = names
        self.streamed = streamed
        given = _tensor_inputs(program)
        self.inputs = tuple(name for name in given if name not in streamed.inputs)
        if not self.inputs:
            raise UserError(
                "it has no input", f"the model {model}", "Give forward() a tensor to compute from"
            )
        self.constants = Constants(program, names)
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.ranges: dict[str, Range] = {}
        self.layers: list[ImportedLayer] = []
        self.aliases: dict[str, str] = {}
        self.recurrent_states: set[str] = set()
        self.time_major: set[str] = set()
        self.unsupported: set[str] = set()
        self.unknown: set[str] = set()

    def add_tensor(self, name: str, shape: tuple[int, ...]) -> None:
        self.tensors[name] = Tensor(name, shape)

    def add_alias(self, fx: torch.fx.Node, source: torch.fx.Node) -> None:
        """Notes that a call's result is the tensor of another node."""
        self.aliases[fx.name] = self.tensor_of(source)

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
        """Notes a call as a layer of the user's network, with how much it stores and computes."""
        arguments = tensor_arguments(computing_node(fx))
        parameters = sum(self.constants.value(a).numel() for a in arguments if a in self.constants)
        inputs = [self.tensors.get(self._resolved(a.name)) for a in arguments]
        values = sum(tensor.size for tensor in (*inputs, self.tensors.get(fx.name)) if tensor)
        self.layers.append(ImportedLayer(name, aten, shape, parameters, values, nodes, problem))

    def tensor_of(self, fx: object) -> str:
        """The Graph's tensor for a node. Raises UserError if the node depends on no input."""
        name = self._resolved(getattr(fx, "name", str(fx)))
        if name not in self.tensors:
            raise UserError(
                "a result does not depend on the input",
                f"the model {self.model}, {name}",
                "Remove it from the model's outputs",
            )
        return name

    def shape_of(self, fx: torch.fx.Node) -> tuple[int, ...]:
        """Shape of a node's result without the batch. Raises UserError if it is dynamic."""
        return shape_of(fx, batch_axis=1 if fx.name in self.time_major else 0)

    def data_arguments(self, fx: torch.fx.Node) -> list[torch.fx.Node]:
        """The computed tensors that a call reads; also the constants if it takes them as inputs."""
        computing = computing_node(fx)
        op = BY_ATEN.get(aten_name(computing))
        every = op is not None and OPERATORS[op].takes_constants
        return [a for a in tensor_arguments(computing) if every or a not in self.constants]

    def layer_name(self, fx: torch.fx.Node) -> str:
        """The user's name: of the weight, else of the nn.Module, else of the call; made unique."""
        arguments = named_arguments(computing_node(fx))
        weight = arguments.get("weight") or next(iter(arguments.get("params", ())), None)
        name, _, leaf = self.constants.user_name(weight).rpartition(".")
        if part := _PART_OF_RECURRENT.fullmatch(leaf):
            name = f"{name}.{part[1]}".removeprefix(".")
        if not name:
            modules = list((fx.meta.get("nn_module_stack") or {}).values())
            name = self.names.original(modules[-1][0]) if len(modules) > 1 else fx.name
            name = name.removeprefix("L['self'].")
        used = {node.name for node in self.nodes} | {layer.name for layer in self.layers}
        candidates = (name, *(f"{name}_{i}" for i in range(2, _MOST_NAMES)))
        return next(candidate for candidate in candidates if candidate not in used)

    def _resolved(self, name: str) -> str:
        while name in self.aliases:
            name = self.aliases[name]
        return name


def _tensor_inputs(program: torch.export.ExportedProgram) -> tuple[str, ...]:
    """Names of the inputs that are tensors; numbers and texts are fixed in the program."""
    names = set(program.graph_signature.user_inputs)
    nodes = (fx for fx in program.graph.nodes if fx.op == "placeholder" and fx.name in names)
    return tuple(fx.name for fx in nodes if hasattr(fx.meta.get("val"), "shape"))
