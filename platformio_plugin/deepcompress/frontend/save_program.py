"""Saves a Graph as an exported program, which torch runs and `open_graph` opens again."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from deepcompress.errors import UserError
from deepcompress.file_write import replace_files
from deepcompress.ir.graph import Graph, Node
from deepcompress.ops import OPERATORS
from deepcompress.ops.clamp import limit

if TYPE_CHECKING:
    import torch


def save_graph(graph: Graph, path: Path, *, others: Mapping[str, bytes] | None = None) -> None:
    """Writes the graph's network for batches of any size, atomically; layers keep their names.

    Args:
        others: name -> content of files that are written together with it, to the same folder.

    Raises:
        UserError: the file cannot be written.
    """
    content = _packed(graph)
    try:
        replace_files({path.name: content, **(others or {})}, path.parent)
    except OSError as error:
        raise _unwritable(path, error) from None


def check_writable(path: Path) -> None:
    """Raises UserError if `save_graph` could not write; called before hours of training."""
    if path.is_dir():
        raise UserError("it is a folder", f"file {path}", "Name the .pt file to write")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"it cannot be written ({error.strerror or error})",
        f"file {path}",
        "Free disk space, or choose another folder; an existing file is unchanged",
    )


def _packed(graph: Graph) -> bytes:
    """The bytes of the exported program.

    They are made in memory, because torch's own writer ends the whole process if the disk is full.
    """
    import torch

    inputs = torch.zeros(2, *graph.tensors[graph.inputs[0]].shape)
    program = torch.export.export(
        _module(graph), (inputs,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False
    )
    program.example_inputs = None  # would be saved too, and may be larger than the network
    content = io.BytesIO()
    torch.export.save(program, content)
    return content.getvalue()


def _module(graph: Graph) -> torch.nn.Module:
    import torch

    class Network(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            values = {graph.inputs[0]: inputs}
            for node in graph.nodes:
                operands = [values[name] for name in node.inputs]
                parameters = dict(layers[node.name].named_parameters())
                value = OPERATORS[node.op].forward(node.attributes, parameters, *operands)
                values[node.output] = limit(value, node.clamp.minimum, node.clamp.maximum)
            return values[graph.outputs[0]]

    network = Network()
    layers = {node.name: _add_layer(network, node) for node in graph.nodes}
    return network.eval()


def _add_layer(network: torch.nn.Module, node: Node) -> torch.nn.Module:
    """The layer's module with its parameters, nested as its dotted name says."""
    import torch

    module = network
    for part in node.name.split("."):
        if part not in module._modules:
            module.add_module(part, torch.nn.Module())
        module = module.get_submodule(part)
    for name, array in node.parameters.items():
        tensor = torch.tensor(array)
        module.register_parameter(name, torch.nn.Parameter(tensor, requires_grad=False))
    return module
