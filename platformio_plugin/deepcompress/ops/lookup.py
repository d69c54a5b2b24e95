"""Functions of one value (Sigmoid, SiLU, GELU, ELU, ...): a table of 256 int8 results in flash.

The table is computed from torch's own function and the two scales, so the device needs no
approximation of the function, and all functions cost the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range, affine, clamp_int8
from deepcompress.ir.arrays import Float64Array, Int8Array, frozen
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Array, IntegerNode, Node, Quantization
from deepcompress.ops.operator import Operator, Parameters, Shape, TorchParameters

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall

# Results in 0 .. 1 and in -1 .. 1; the upper limit itself is one step out of range.
_UNIT = Quantization(1 / 256, -128)
_SIGNED_UNIT = Quantization(1 / 128, 0)

# Larger results are treated as infinite. The square of this still fits a float32 scale.
_INFINITE = 1e18


@dataclass(frozen=True)
class Function:
    """A row of `FUNCTIONS`.

    Attributes:
        title: name of the layer in PyTorch.
        output: quantization of the results, or None to choose it from the calibration data.
    """

    title: str
    output: Quantization | None = None


# By aten name; torch computes the table with the aten operator of that name.
FUNCTIONS = {
    "abs": Function("Abs"),
    "asinh": Function("Asinh"),
    "atan": Function("Atan"),
    "ceil": Function("Ceil"),
    "celu": Function("CELU"),
    "cos": Function("Cos", _SIGNED_UNIT),
    "cosh": Function("Cosh"),
    "elu": Function("ELU"),
    "erf": Function("Erf", _SIGNED_UNIT),
    "exp": Function("Exp"),
    "exp2": Function("Exp2"),
    "expm1": Function("Expm1"),
    "floor": Function("Floor"),
    "gelu": Function("GELU"),
    "hardshrink": Function("Hardshrink"),
    "hardsigmoid": Function("Hardsigmoid", _UNIT),
    "hardswish": Function("Hardswish"),
    "leaky_relu": Function("LeakyReLU"),
    "log": Function("Log"),
    "log10": Function("Log10"),
    "log1p": Function("Log1p"),
    "log2": Function("Log2"),
    "log_sigmoid": Function("LogSigmoid"),
    "mish": Function("Mish"),
    "neg": Function("Neg"),
    "pow": Function("Pow"),
    "reciprocal": Function("Reciprocal"),
    "round": Function("Round"),
    "rsqrt": Function("Rsqrt"),
    "selu": Function("SELU"),
    "sigmoid": Function("Sigmoid", _UNIT),
    "sign": Function("Sign"),
    "silu": Function("SiLU"),
    "sin": Function("Sin", _SIGNED_UNIT),
    "sinh": Function("Sinh"),
    "softplus": Function("Softplus"),
    "softshrink": Function("Softshrink"),
    "sqrt": Function("Sqrt"),
    "square": Function("Square"),
    "tan": Function("Tan"),
    "tanh": Function("Tanh", _SIGNED_UNIT),
    "threshold": Function("Threshold"),
    "trunc": Function("Trunc"),
}


@dataclass(frozen=True)
class Lookup(Attributes):
    """Attributes.

    Attributes:
        function: a key of `FUNCTIONS`.
        arguments: its arguments other than the tensor, by name. An argument "self" comes before
            the tensor, as in 2 ** x.
    """

    function: str
    arguments: tuple[tuple[str, float | str], ...] = ()


class LookupOperator(Operator[Lookup, IntegerNode[Lookup]]):
    aten = tuple(FUNCTIONS)
    elementwise = True
    in_place = True
    channelwise = True

    def read(self, call: AtenCall) -> tuple[Lookup, Parameters]:
        numbers = call.arguments
        if call.constants or len(call.input_shapes) > 1 or not _are_simple(numbers.values()):
            raise call.unsupported(
                "a function of two tensors is not supported", "Use one of a tensor and numbers"
            )
        return Lookup(call.aten, tuple(numbers.items())), {}

    def output_shape(self, attributes: Lookup, inputs: Sequence[Shape]) -> Shape:
        return inputs[0]

    def describe(self, attributes: Lookup) -> str:
        return FUNCTIONS[attributes.function].title

    def forward(
        self, attributes: Lookup, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        import torch

        (x,) = inputs
        arguments = dict(attributes.arguments)
        operands = [arguments.pop("self"), x] if "self" in arguments else [x]
        result: torch.Tensor = getattr(torch.ops.aten, attributes.function)(*operands, **arguments)
        return result

    def quantize(
        self, node: Node[Lookup], inputs: Sequence[Quantization], observed: Range
    ) -> tuple[IntegerNode[Lookup], Quantization]:
        results = _results(node.attributes, inputs[0])
        after = FUNCTIONS[node.attributes.function].output or _cover(results, observed)
        clamp = clamp_int8(node.clamp, after)
        # NaN, where the function is not defined, becomes 0.
        steps = (
            np.nan_to_num(results, posinf=np.inf, neginf=-np.inf) / after.scale + after.zero_point
        )
        values = np.round(np.clip(steps, *clamp)).astype(np.int8)
        table = Array("table", frozen(values), "results of -128 .. 127")
        integer = IntegerNode(*node.identity, clamp=clamp, tables=(table,))
        return integer, after

    def integer(
        self, node: IntegerNode[Lookup], quantization: Sequence[Quantization], *inputs: Int8Array
    ) -> Int8Array:
        (x,) = inputs
        return node.table("table")[x.astype(np.int16) + 128]


def _are_simple(values: Iterable[object]) -> bool:
    return all(isinstance(value, (int, float, str)) for value in values)


def _results(attributes: Lookup, before: Quantization) -> Float64Array:
    """The function of all 256 int8 inputs, float64 [256]."""
    import torch

    inputs = torch.tensor((np.arange(-128, 128) - before.zero_point) * before.scale)
    results: Float64Array = LookupOperator().forward(attributes, {}, inputs).numpy()
    return results


def _cover(results: Float64Array, observed: Range) -> Quantization:
    """A quantization of the observed range, limited to the finite results, as for log(0)."""
    finite = results[np.abs(results) < _INFINITE]
    low, high = np.clip(observed, finite.min(), finite.max()) if len(finite) else (0.0, 0.0)
    return affine(float(low), float(high))
