"""x * scale + shift with constants: BatchNorm, and sums and products with numbers or parameters.

Next to a convolution or a Linear, operator fusion merges it into the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range, affine, clamp_int8
from deepcompress.arith.requantize import saturate
from deepcompress.ir.arrays import AnyArray, Float32Array, Float64Array, Int8Array, frozen
from deepcompress.ir.attributes import Attributes
from deepcompress.ir.graph import Array, IntegerNode, Node, Quantization, Tensor
from deepcompress.ops.operator import Operator, Parameters, Shape, TorchParameters

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import AtenCall


# Smallest output step in input steps; a finer one would only resolve rounding noise of the input.
_FINEST = 1 / 128
# With these |x * multiplier| < 2**22, and its sum with an offset fits 32 bits.
_MULTIPLIER_LIMIT = 2**15 - 1
_OFFSET_LIMIT = 2**30
_LARGEST_SHIFT = 22


@dataclass(frozen=True)
class ScaleShift(Attributes):
    """Attributes. The input, of any shape, is read as [channels][values / channels].

    Attributes:
        title: "BatchNorm", "Arithmetic" or "Requantize", for `describe`.
    """

    title: str
    channels: int
    values: int


class ScaleShiftOperator(Operator[ScaleShift, IntegerNode[ScaleShift]]):
    aten = (
        "batch_norm",
        "_native_batch_norm_legit_no_training",
        "add_constant",
        "sub_constant",
        "rsub_constant",
        "mul_constant",
        "div_constant",
    )
    in_place = True
    channelwise = True

    def read(self, call: AtenCall) -> tuple[ScaleShift, Parameters]:
        if "batch_norm" in call.aten:
            title, (scale, shift) = "BatchNorm", _read_batch_norm(call)
        else:
            title, (scale, shift) = "Arithmetic", _read_arithmetic(call)
        attributes = ScaleShift(title, len(scale), prod(call.input_shape))
        return attributes, {"scale": scale, "shift": shift}

    def output_shape(self, attributes: ScaleShift, inputs: Sequence[Shape]) -> Shape:
        return inputs[0]

    def describe(self, attributes: ScaleShift) -> str:
        return f"{attributes.title} {attributes.channels}"

    def changes_nothing(self, attributes: ScaleShift, parameters: Parameters) -> bool:
        """Such as 0 + x, the first step of Python's sum()."""
        return bool((parameters["scale"] == 1).all() and (parameters["shift"] == 0).all())

    def forward(
        self, attributes: ScaleShift, parameters: TorchParameters, *inputs: torch.Tensor
    ) -> torch.Tensor:
        (x,) = inputs
        scale, shift = (parameters[name].reshape(-1, 1) for name in ("scale", "shift"))
        by_channel = x.reshape(x.shape[0], attributes.channels, -1)
        return (by_channel * scale + shift).reshape(x.shape)

    def quantize(
        self, node: Node[ScaleShift], inputs: Sequence[Quantization], observed: Range
    ) -> tuple[IntegerNode[ScaleShift], Quantization]:
        steps = float(np.abs(node.parameters["scale"]).max()) * inputs[0].scale
        after = affine(*observed, finest=_FINEST * steps)
        return _requantized(node, inputs[0], after), after

    def integer(
        self,
        node: IntegerNode[ScaleShift],
        quantization: Sequence[Quantization],
        *inputs: Int8Array,
    ) -> Int8Array:
        """q = clamp((x * multiplier[channel] + offset[channel]) >> shift), in 32 bits."""
        (x,) = inputs
        by_channel = x.reshape(len(x), node.attributes.channels, -1).astype(np.int32)
        multiplier = node.table("multiplier").astype(np.int32)[:, None]
        sums = (by_channel * multiplier + node.table("offset")[:, None]) >> node.fields["shift"]
        return saturate(sums, node.clamp).reshape(x.shape)

    def macs(self, attributes: ScaleShift, weights: int, output: Shape) -> int:
        return prod(output)


def _read_batch_norm(call: AtenCall) -> tuple[Float32Array, Float32Array]:
    if call.get("training", False):
        raise call.unsupported(
            "BatchNorm is in training mode, where it has no fixed mean and variance",
            "Call model.eval() before exporting; leave track_running_stats = True",
        )
    mean, variance = call.constant("running_mean"), call.constant("running_var")
    scale = 1 / np.sqrt(variance.astype(np.float64) + call["eps"])
    if (weight := call.optional_constant("weight")) is not None:
        scale = scale * weight
    shift = -mean * scale
    if (bias := call.optional_constant("bias")) is not None:
        shift = shift + bias
    return _float32(scale), _float32(shift)


def _read_arithmetic(call: AtenCall) -> tuple[Float32Array, Float32Array]:
    """Scale and shift of an operation with a constant, with as few channels as it allows."""
    operation = call.aten.removesuffix("_constant")
    constant_first = "self" in {**call.constants, **call.arguments}
    constant = _by_channel(call, call.operand("self" if constant_first else "other"))
    one, alpha = np.ones(len(constant)), call.get("alpha", 1)
    sign = -alpha if operation == "sub" else alpha
    if operation == "rsub":
        return _float32(-alpha * one), _float32(constant)
    if operation in ("add", "sub") and constant_first:
        return _float32(sign * one), _float32(constant)
    if operation in ("add", "sub"):
        return _float32(one), _float32(sign * constant)
    if operation == "mul":
        return _float32(constant), _float32(0 * one)
    if constant_first or call.get("rounding_mode", None) is not None or (constant == 0).any():
        raise call.unsupported(
            "a division is supported only by a constant other than 0, without rounding",
            "Multiply by torch.reciprocal(x)",
        )
    return _float32(1 / constant), _float32(0 * one)


def _by_channel(call: AtenCall, constant: AnyArray) -> Float64Array:
    """A constant as float64 [channels]: one value per position of the fewest leading axes.

    Raises:
        UserError: broadcasting the constant would enlarge the tensor.
    """
    shape = (1, *call.input_shape)
    if np.broadcast_shapes(shape, constant.shape) != shape:
        raise call.unsupported(
            f"a constant of shape {list(constant.shape)} makes the tensor larger",
            "Expand the constant's counterpart in the model",
        )
    full = np.broadcast_to(constant, shape)[0].astype(np.float64)
    for axes in range(len(call.input_shape) + 1):
        rows = full.reshape(prod(call.input_shape[:axes]), -1)
        if np.array_equal(rows, np.broadcast_to(rows[:, :1], rows.shape), equal_nan=True):
            channels: Float64Array = rows[:, 0]
            return channels
    raise AssertionError("the constant has more axes than the tensor")


def rescale(
    name: str, source: str, output: Tensor, before: Quantization, after: Quantization
) -> IntegerNode[ScaleShift]:
    """A node that requantizes a tensor from one scale to another.

    Args:
        name: of the node.
        source: name of the input tensor.
    """
    attributes = ScaleShift("Requantize", 1, output.size)
    parameters = {"scale": np.ones(1, np.float32), "shift": np.zeros(1, np.float32)}
    node = Node(name, "scale_shift", (source,), output.name, attributes, parameters)
    return _requantized(node, before, after)


def _requantized(
    node: Node[ScaleShift], before: Quantization, after: Quantization
) -> IntegerNode[ScaleShift]:
    scale, shift = (node.parameters[name].astype(np.float64) for name in ("scale", "shift"))
    factors = before.scale / after.scale * scale
    offsets = after.zero_point + shift / after.scale - before.zero_point * factors
    bits = _shift(float(np.abs(factors).max()), float(np.abs(offsets).max()))
    multiplier = np.round(factors * 2**bits).astype(np.int16)
    offset = (after.zero_point + shift / after.scale) * 2**bits + 2 ** (bits - 1)
    offset = np.round(offset) - before.zero_point * multiplier.astype(np.int64)
    minimum, maximum = clamp_int8(node.clamp, after)
    return IntegerNode(
        *node.identity,
        clamp=(minimum, maximum),
        fields={"shift": bits, "minimum": minimum, "maximum": maximum},
        tables=(
            Array("multiplier", multiplier, "one per channel"),
            Array(
                "offset", np.clip(offset, -_OFFSET_LIMIT, _OFFSET_LIMIT).astype(np.int32), "same"
            ),
        ),
    )


def _shift(factor: float, offset: float) -> int:
    """The largest shift with which factors and offsets are within their limits; at least 1."""
    headroom = min(_MULTIPLIER_LIMIT / max(factor, 1e-30), _OFFSET_LIMIT / 2 / max(offset, 1.0))
    return int(np.clip(np.floor(np.log2(headroom)), 1, _LARGEST_SHIFT))


def _float32(array: Float64Array) -> Float32Array:
    return frozen(array.astype(np.float32))
