"""The last columns of earlier inputs, concatenated with this input, for a causal convolution.

A stateful network has it instead of the convolution's padding. In the first inference the columns
are zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from deepcompress.errors import setting
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import IntegerNode, Quantization
from deepcompress.ops.operator import Parameters, ScaleKeepingOperator, Shape, TorchParameters

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


@dataclass(frozen=True)
class History(Attributes):
    """Attributes.

    Attributes:
        columns: number of columns of earlier inputs.
        chunks: how many consecutive samples of a batch belong to one stream.
    """

    columns: int
    stateful: bool = True
    chunks: int = 1

    def in_chunks(self, chunks: int) -> History:
        return replace(self, chunks=chunks)


class HistoryOperator(ScaleKeepingOperator[History]):
    aten = ()
    only_moves = True

    def read(self, call: AtenCall) -> tuple[History, Parameters]:
        advice = f"Set {setting('stateful', 'yes')} instead"
        raise call.unsupported("there is no such layer in torch", advice)

    def output_shape(self, attributes: History, inputs: Sequence[Shape]) -> Shape:
        *channels, width = inputs[0]
        return (*channels, attributes.columns + width)

    def describe(self, attributes: History) -> str:
        return f"History of {attributes.columns}"

    def forward(
        self, attributes: History, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        (x,) = inputs
        import torch.nn.functional as F

        columns, width = attributes.columns, x.shape[-1]
        streams = x.reshape(-1, attributes.chunks, *x.shape[1:]).movedim(1, -2).flatten(-2)
        chunks = F.pad(streams, (columns, 0)).unfold(-1, columns + width, width)
        return chunks.movedim(-2, 1).flatten(0, 1)

    def integer(
        self, node: IntegerNode[History], quantization: Sequence[Quantization], *inputs: Int8Array
    ) -> Int8Array:
        """x: int8 [batch, ..., width]."""
        (x,) = inputs
        a, (*rows, width) = node.attributes, x.shape[1:]
        before = np.full((*x.shape[:-1], a.columns), quantization[0].zero_point, np.int8)
        streams = np.moveaxis(x.reshape(-1, a.chunks, *rows, width), 1, -2)
        streams = np.concatenate(
            [before[:: a.chunks], streams.reshape(-1, *rows, a.chunks * width)], axis=-1
        )
        chunks = sliding_window_view(streams, a.columns + width, axis=-1)[..., ::width, :]
        return np.moveaxis(chunks, -2, 1).reshape(*before.shape[:-1], -1)
