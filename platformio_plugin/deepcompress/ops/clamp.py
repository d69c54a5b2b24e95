"""ReLU, ReLU6, Hardtanh and clamp: limits on a value. `fold` moves them into its producer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import Call
    from deepcompress.ir.graph import IntegerNode, Quantization

ATEN = ("relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max")
CHANNELWISE = True

IN_PLACE = True


@dataclass(frozen=True)
class Limits:
    """Attributes: [minimum, maximum] in real units."""

    minimum: float
    maximum: float


def read(call: Call) -> tuple[Limits, dict[str, np.ndarray]]:
    if call.aten == "relu":
        return Limits(0.0, np.inf), {}
    if call.aten == "relu6":
        return Limits(0.0, 6.0), {}
    low = call.get("min_val", call.get("min", None))
    high = call.get("max_val", call.get("max", None))
    return Limits(-np.inf if low is None else low, np.inf if high is None else high), {}


def output_shape(attributes: Limits, parameters: dict, inputs: list[tuple]) -> tuple[int, ...]:
    return inputs[0]


def describe(attributes: Limits) -> str:
    return "ReLU" if attributes == Limits(0.0, np.inf) else "Clamp"


def forward(attributes: Limits, parameters: dict, x: torch.Tensor) -> torch.Tensor:
    return limit(x, attributes.minimum, attributes.maximum)


def limit(x: torch.Tensor, minimum: float, maximum: float) -> torch.Tensor:
    """x within [minimum, maximum], by the call that a user would write; either may be infinite."""
    if minimum == 0 and maximum == np.inf:
        return x.relu()
    low = None if minimum == -np.inf else minimum
    high = None if maximum == np.inf else maximum
    return x if low is None and high is None else x.clamp(low, high)


def integer(node: IntegerNode, quantization: list[Quantization], x: np.ndarray) -> np.ndarray:
    return np.clip(x, *node.clamp)


def c_parameters(
    node: IntegerNode, quantization: list[Quantization], inputs: list[tuple], output: tuple
) -> dict[str, int]:
    """Fields of dc_clamp_layer in include/deepcompress/kernels/clamp.h."""
    return {"size": int(np.prod(output)), "minimum": node.clamp[0], "maximum": node.clamp[1]}


def macs(attributes: Limits, weights: int, output: tuple[int, ...]) -> int:
    return 0
