"""Padding as a separate layer. Operator fusion merges zeros into the convolution after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import IntegerNode, Quantization
from deepcompress.ops.operator import Parameters, ScaleKeepingOperator, Shape, TorchParameters

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


_AXES = 3
# The modes in the order of DC_PAD_* in pad.h, and numpy's names of them.
_NumpyMode = Literal["constant", "reflect", "edge", "wrap"]
_MODES: dict[str, _NumpyMode] = {
    "constant": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


@dataclass(frozen=True)
class Pad(Attributes):
    """Attributes.

    Attributes:
        around: number of positions (before, after) along each axis.
        mode: a key of `_MODES`.
        value: real value of the positions if the mode is "constant".
    """

    around: tuple[tuple[int, int], ...]
    mode: str = "constant"
    value: float = 0.0


class PadOperator(ScaleKeepingOperator[Pad]):
    aten = (
        "pad",
        "constant_pad_nd",
        "reflection_pad1d",
        "reflection_pad2d",
        "replication_pad1d",
        "replication_pad2d",
    )
    only_moves = True

    def read(self, call: AtenCall) -> tuple[Pad, Parameters]:
        mode = call.get("mode", "constant")
        if "reflection" in call.aten:
            mode = "reflect"
        if "replication" in call.aten:
            mode = "replicate"
        amounts = list(call["pad" if "pad" in call.arguments else "padding"])
        pairs = [(before, after) for before, after in zip(amounts[::2], amounts[1::2], strict=True)]
        value = float(call.get("value", None) or 0.0)
        if not np.isfinite(value):
            raise call.unsupported(
                f"padding with {value} has no int8 value",
                "Pad in nn.MaxPool2d(padding=...), or with 0 where all values are positive",
            )
        if any(amount < 0 for amount in amounts):
            raise call.unsupported(
                f"negative padding ({mode}) is not supported", "Slice instead, x[:, :, 1:-1]"
            )
        if len(pairs) > call.input_rank or call.input_rank > _AXES or mode not in _MODES:
            raise call.unsupported(
                f"padding {amounts} ({mode}) of {call.input_rank} axes is not supported",
                "Pad channels, height or width",
            )
        around = ((0, 0),) * (call.input_rank - len(pairs)) + tuple(reversed(pairs))
        return Pad(around, mode, value), {}

    def output_shape(self, attributes: Pad, inputs: Sequence[Shape]) -> Shape:
        sides = zip(inputs[0], attributes.around, strict=True)
        return tuple(size + before + after for size, (before, after) in sides)

    def describe(self, attributes: Pad) -> str:
        return f"Pad {attributes.mode}"

    def forward(self, a: Pad, parameters: TorchParameters, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        import torch.nn.functional as F

        if a.mode == "constant":
            amounts = [n for pair in reversed(a.around) for n in pair]
            return F.pad(x, amounts, a.mode, a.value)
        # Along other axes than the last, torch supports only constants.
        axes = _AXES - 1 if len(a.around) == _AXES else 1
        return F.pad(x, [n for pair in reversed(a.around[-axes:]) for n in pair], a.mode)

    def integer(
        self, node: IntegerNode[Pad], quantization: Sequence[Quantization], *inputs: Int8Array
    ) -> Int8Array:
        (x,) = inputs
        a = node.attributes
        around = ((0, 0), *a.around)
        if a.mode == "constant":
            return np.pad(x, around, constant_values=fill_value(a, quantization[0]))
        return np.pad(x, around, mode=_MODES[a.mode])


def fill_value(attributes: Pad, by: Quantization) -> int:
    """The padding value as int8."""
    return int(np.clip(round(attributes.value / by.scale) + by.zero_point, -128, 127))
