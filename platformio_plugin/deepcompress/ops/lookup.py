"""Functions of one value (Sigmoid, SiLU, GELU, ELU, ...): a table of 256 int8 results in flash.

The compiler computes the table with torch's function and the two scales. So there is no
approximation on the device, and all functions have the same cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range, affine, clamp_int8
from deepcompress.ir.arrays import Int8Array, frozen
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Array, IntegerNode, Node, Quantization
from deepcompress.ops.operator import Operator, Parameters, Shape, TorchParameters

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall

# Results from 0 to 1 and from -1 to 1, of which the last step is out of reach.
_UNIT = Quantization(1 / 256, -128)
_SIGNED_UNIT = Quantization(1 / 128, 0)

# From here on results are taken for infinite; squared, they still have a scale of float32.
_INFINITE = 1e18


@dataclass(frozen=True)
class Function:
    """A row of the table below.

    Attributes:
        title: as PyTorch calls the layer.
        output: how results are quantized, where no calibration need tell.
    """

    title: str
    output: Quantization | None = None


# By aten name, which is also how torch computes them.
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
    """Attributes: a key of `FUNCTIONS`, and its arguments beside the tensor, by name.

    An argument "self" stands before it, as in 2 ** x.
    """

    function: str
    arguments: tuple[tuple[str, float | str], ...] = ()


class LookupOperator(Operator[Lookup, IntegerNode[Lookup]]):
    aten = tuple(FUNCTIONS)
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
        (x,) = inputs
        import torch

        arguments = dict(attributes.arguments)
        operands = [arguments.pop("self"), x] if "self" in arguments else [x]
        return getattr(torch.ops.aten, attributes.function)(*operands, **arguments)

    def quantize(
        self, node: Node[Lookup], inputs: Sequence[Quantization], observed: Range
    ) -> tuple[IntegerNode[Lookup], Quantization]:
        results = _results(node.attributes, inputs[0])
        after = FUNCTIONS[node.attributes.function].output or _cover(results, observed)
        clamp = clamp_int8(node.clamp, after)
        # Where the function is not defined, it is taken for 0.
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

    def c_parameters(
        self,
        node: IntegerNode[Lookup],
        quantization: Sequence[Quantization],
        inputs: Sequence[Shape],
        output: Shape,
    ) -> dict[str, int]:
        """Fields of dc_lookup in include/deepcompress/kernels/lookup.h."""
        return {"size": int(np.prod(output))}

    def macs(self, attributes: Lookup, weights: int, output: Shape) -> int:
        return 0


def _are_simple(values: Iterable[object]) -> bool:
    return all(isinstance(value, (int, float, str)) for value in values)


def _results(attributes: Lookup, before: Quantization) -> np.ndarray:
    """float64 [256], of all inputs that there are."""
    import torch

    inputs = torch.tensor((np.arange(-128, 128) - before.zero_point) * before.scale)
    return LookupOperator().forward(attributes, {}, inputs).numpy()


def _cover(results: np.ndarray, observed: Range) -> Quantization:
    """The observed range as far as int8 inputs reach it: log(0) may be observed, but not scaled."""
    finite = results[np.abs(results) < _INFINITE]
    low, high = np.clip(observed, finite.min(), finite.max()) if len(finite) else (0.0, 0.0)
    return affine(float(low), float(high))
