"""Runs a float Graph in torch, for calibration, retraining and numerical checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from deepcompress.ir.batch_layout import join, parts, split
from deepcompress.ir.graph import Graph, Node
from deepcompress.ops import OPERATORS
from deepcompress.ops.clamp import limit

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.arrays import Float32Array, FloatArray

Parameters = Mapping[str, Mapping[str, "torch.Tensor"]]


def forward(
    graph: Graph,
    inputs: torch.Tensor,
    *,
    parameters: Parameters | None = None,
    observe: Callable[[str, torch.Tensor], torch.Tensor | None] = lambda name, value: None,
) -> torch.Tensor:
    """The graph's output for a batch; differentiable with respect to the parameters.

    Args:
        inputs: float32 [batch, *input shape]; for several inputs see `ir/batch_layout.py`.
        parameters: node name -> parameters, instead of the graph's own, for training.
        observe: called with the name and value of each tensor; a returned tensor replaces the
            value.

    Returns:
        float32 [batch, *output shape].
    """
    import torch

    parameters = parameters or to_torch(graph)
    values: dict[str, torch.Tensor] = {}

    def put(name: str, value: torch.Tensor) -> None:
        replacement = observe(name, value)
        values[name] = value if replacement is None else replacement

    for name, value in split(graph, graph.inputs, inputs).items():
        put(name, value)
    for node in graph.nodes:
        operands = [values[name] for name in node.inputs]
        value = OPERATORS[node.op].forward(node.attributes, parameters[node.name], *operands)
        put(node.output, limit(value, node.clamp.minimum, node.clamp.maximum))
    return join(graph, graph.outputs, values, torch.cat)


def sums_of(node: Node, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The node's output before its clamp, [samples, *output shape], from its inputs by name."""
    import torch

    parameters = {name: torch.tensor(array) for name, array in node.parameters.items()}
    given = (values[name] for name in node.inputs)
    return OPERATORS[node.op].forward(node.attributes, parameters, *given)


def to_torch(graph: Graph, dtype: torch.dtype | None = None) -> Parameters:
    """The graph's parameters as torch tensors: node name -> parameter name -> tensor.

    Args:
        dtype: of the tensors; float32 if it is None.
    """
    import torch

    return {
        node.name: {
            name: torch.tensor(array, dtype=dtype) for name, array in node.parameters.items()
        }
        for node in graph.nodes
    }


def forward_numpy(graph: Graph, inputs: FloatArray) -> Float32Array:
    """`forward` on arrays of any length, in parts: [samples, *output shape].

    The arithmetic and the result are float32, or float64 if the inputs are.
    """
    import numpy as np
    import torch

    parameters = to_torch(graph, torch.from_numpy(inputs[:0]).dtype)
    with torch.no_grad():
        outputs = [
            forward(graph, torch.from_numpy(part), parameters=parameters).numpy()
            for part in parts(graph, inputs)
        ]
    return np.concatenate(outputs)
