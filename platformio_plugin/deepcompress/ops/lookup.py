"""Functions of one value (Sigmoid, SiLU, GELU, ELU, ...): a table of 256 int8 results in flash.

The table is computed here from torch's own function and the two scales, so no approximation of the
function is on the device, and all of them cost the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range, affine, clamp_int8
from deepcompress.ir.graph import Array, IntegerNode, Node, Quantization

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import Call

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

ATEN = tuple(FUNCTIONS)
IN_PLACE = True
CHANNELWISE = True


@dataclass(frozen=True)
class Lookup:
    """Attributes: a key of `FUNCTIONS`, and its arguments beside the tensor, by name.

    An argument "self" stands before it, as in 2 ** x.
    """

    function: str
    arguments: tuple[tuple[str, float | str], ...] = ()


def read(call: Call) -> tuple[Lookup, dict[str, np.ndarray]]:
    numbers = call.arguments
    if call.constants or len(call.input_shapes) > 1 or not _are_simple(numbers.values()):
        raise call.unsupported(
            "a function of two tensors is not supported", "Use one of a tensor and numbers"
        )
    return Lookup(call.aten, tuple(numbers.items())), {}


def _are_simple(values: Iterable[object]) -> bool:
    return all(isinstance(value, (int, float, str)) for value in values)


def output_shape(attributes: Lookup, parameters: dict, inputs: list[tuple]) -> tuple[int, ...]:
    return inputs[0]


def describe(attributes: Lookup) -> str:
    return FUNCTIONS[attributes.function].title


def forward(attributes: Lookup, parameters: dict, x: torch.Tensor) -> torch.Tensor:
    import torch

    arguments = dict(attributes.arguments)
    operands = [arguments.pop("self"), x] if "self" in arguments else [x]
    return getattr(torch.ops.aten, attributes.function)(*operands, **arguments)


def quantize(
    node: Node, inputs: list[Quantization], observed: Range
) -> tuple[IntegerNode, Quantization]:
    results = _results(node.attributes, inputs[0])
    after = FUNCTIONS[node.attributes.function].output or _cover(results, observed)
    clamp = clamp_int8(node.clamp, after)
    # Where the function is not defined, it is taken for 0.
    steps = np.nan_to_num(results, posinf=np.inf, neginf=-np.inf) / after.scale + after.zero_point
    values = np.round(np.clip(steps, *clamp)).astype(np.int8)
    values.flags.writeable = False
    table = Array("table", values, "results of -128 .. 127")
    integer = IntegerNode.of(node, clamp=clamp, tables=(table,))
    return integer, after


def _results(attributes: Lookup, before: Quantization) -> np.ndarray:
    """float64 [256], of all inputs that there are."""
    import torch

    inputs = torch.tensor((np.arange(-128, 128) - before.zero_point) * before.scale)
    return forward(attributes, {}, inputs).numpy()


def _cover(results: np.ndarray, observed: Range) -> Quantization:
    """The observed range as far as int8 inputs reach it: log(0) may be observed, but not scaled."""
    finite = results[np.abs(results) < _INFINITE]
    low, high = np.clip(observed, finite.min(), finite.max()) if len(finite) else (0.0, 0.0)
    return affine(float(low), float(high))


def integer(node: IntegerNode, quantization: list[Quantization], x: np.ndarray) -> np.ndarray:
    return node.table("table")[x.astype(np.int16) + 128]


def c_parameters(
    node: IntegerNode, quantization: list[Quantization], inputs: list[tuple], output: tuple
) -> dict[str, int]:
    """Fields of dc_lookup in include/deepcompress/kernels/lookup.h."""
    return {"size": int(np.prod(output))}


def macs(attributes: Lookup, weights: int, output: tuple[int, ...]) -> int:
    return 0
