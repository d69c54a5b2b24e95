"""Flatten, and other changes of the shape: the bytes stay the same, so nothing is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from deepcompress.errors import setting
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import IntegerNode, Quantization
from deepcompress.ops.operator import Parameters, ScaleKeepingOperator, Shape, TorchParameters

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


@dataclass(frozen=True)
class Flatten(Attributes):
    """Attributes: the new shape, without the batch."""

    shape: tuple[int, ...]


def _folds_steps(before: Shape, after: Shape) -> bool:
    """Whether the axis of the steps becomes part of the batch: [B, T, ...] to [B * T, ...]."""
    # Without axes, the batch itself is gone.
    return before[0] > 1 and len(after) > 0 and prod(before) == before[0] * prod(after)


class FlattenOperator(ScaleKeepingOperator[Flatten]):
    aten = ("flatten", "unflatten", "view", "reshape", "_unsafe_view", "squeeze", "unsqueeze")
    only_moves = True

    def read(self, call: AtenCall) -> tuple[Flatten, Parameters]:
        if prod(call.output_shape) != prod(call.input_shape):
            if _folds_steps(call.input_shape, call.output_shape):
                raise call.unsupported(
                    f"it makes {call.input_shape[0]} samples of the {call.input_shape[0]} steps of "
                    "a sequence",
                    "Export the network for one step (a sequence of length 1), and set "
                    f"{setting('stateful', 'yes')}: each inference is then one step, and GRU and "
                    "LSTM keep their state. Or, if only nn.Linear needs the reshape, leave it out: "
                    "nn.Linear takes sequences",
                )
            raise call.unsupported(
                f"it mixes the batch with the rest: {list(call.input_shape)} values a sample "
                f"become {list(call.output_shape)}",
                "Keep the first axis, as x.flatten(1) and x.reshape(len(x), ...) do",
            )
        return Flatten(call.output_shape), {}

    def output_shape(self, attributes: Flatten, inputs: Sequence[Shape]) -> Shape:
        return attributes.shape

    def describe(self, attributes: Flatten) -> str:
        return "Flatten" if len(attributes.shape) == 1 else "Reshape"

    def view(self, attributes: Flatten, source: tuple[int, ...]) -> int | None:
        return 0

    def forward(
        self, attributes: Flatten, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        (x,) = inputs
        return x.reshape(x.shape[0], *attributes.shape)

    def integer(
        self, node: IntegerNode[Flatten], quantization: Sequence[Quantization], *inputs: Int8Array
    ) -> Int8Array:
        (x,) = inputs
        return x.reshape(len(x), *node.attributes.shape)
