"""ReLU, ReLU6, Hardtanh and clamp: limits on values, merged into the producer by fusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range, clamp_int8
from deepcompress.arith.requantize import saturate
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Clamp, IntegerNode, Node, Quantization
from deepcompress.ops.operator import Parameters, ScaleKeepingOperator, Shape, TorchParameters

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


@dataclass(frozen=True)
class Limits(Attributes):
    """Attributes: [minimum, maximum] in real units."""

    minimum: float
    maximum: float


class ClampOperator(ScaleKeepingOperator[Limits]):
    aten = ("relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max")
    channelwise = True
    elementwise = True
    in_place = True

    def read(self, call: AtenCall) -> tuple[Limits, Parameters]:
        if call.aten == "relu":
            return Limits(0.0, np.inf), {}
        if call.aten == "relu6":
            return Limits(0.0, 6.0), {}
        low = call.get("min_val", call.get("min", None))
        high = call.get("max_val", call.get("max", None))
        return Limits(-np.inf if low is None else low, np.inf if high is None else high), {}

    def output_shape(self, attributes: Limits, inputs: Sequence[Shape]) -> Shape:
        return inputs[0]

    def describe(self, attributes: Limits) -> str:
        return "ReLU" if attributes == Limits(0.0, np.inf) else "Clamp"

    def forward(
        self, attributes: Limits, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        (x,) = inputs
        return limit(x, attributes.minimum, attributes.maximum)

    def quantize(
        self, node: Node[Limits], inputs: Sequence[Quantization], observed: Range
    ) -> tuple[IntegerNode[Limits], Quantization]:
        limits = Clamp(node.attributes.minimum, node.attributes.maximum).then(node.clamp)
        return IntegerNode(*node.identity, clamp=clamp_int8(limits, inputs[0])), inputs[0]

    def integer(
        self, node: IntegerNode[Limits], quantization: Sequence[Quantization], *inputs: Int8Array
    ) -> Int8Array:
        (x,) = inputs
        return saturate(x, node.clamp)


def limit(x: torch.Tensor, minimum: float, maximum: float) -> torch.Tensor:
    """x limited to [minimum, maximum], with the torch call that a user would write.

    An infinite limit has no effect.
    """
    if minimum == 0 and maximum == np.inf:
        return x.relu()
    low = None if minimum == -np.inf else minimum
    high = None if maximum == np.inf else maximum
    return x if low is None and high is None else x.clamp(low, high)
