"""x * scale + shift with constants: BatchNorm, and sums and products with numbers or parameters.

Beside a convolution or a Linear `fold` moves it into their weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.arith.qparams import Range, affine, clamp_int8
from deepcompress.ir.graph import Array, IntegerNode, Node, Quantization, Tensor

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.aten_call import Call

ATEN = (
    "batch_norm",
    "_native_batch_norm_legit_no_training",
    "add_constant",
    "sub_constant",
    "rsub_constant",
    "mul_constant",
    "div_constant",
)

IN_PLACE = True
CHANNELWISE = True

# Of an input step, the least that may be an output step: what lies below is the input's own noise.
_FINEST = 1 / 128
# So that |x * multiplier| < 2**22 and the sum with an offset of up to 2**30 fit 32 bits.
_MULTIPLIER_LIMIT = 2**15 - 1
_OFFSET_LIMIT = 2**30
_GREATEST_SHIFT = 22


@dataclass(frozen=True)
class ScaleShift:
    """Attributes: the input is taken for [channels][values / channels], whatever its shape."""

    title: str
    channels: int
    values: int


def read(call: Call) -> tuple[ScaleShift, dict[str, np.ndarray]]:
    if "batch_norm" in call.aten:
        title, (scale, shift) = "BatchNorm", _read_batch_norm(call)
    else:
        title, (scale, shift) = "Arithmetic", _read_arithmetic(call)
    attributes = ScaleShift(title, len(scale), prod(call.input_shape))
    return attributes, {"scale": scale, "shift": shift}


def _read_batch_norm(call: Call) -> tuple[np.ndarray, np.ndarray]:
    if call.get("training", False):
        raise call.unsupported(
            "BatchNorm is in training mode, where it has no fixed mean and variance",
            "Call model.eval() before exporting; leave track_running_stats = True",
        )
    mean, variance = call.constant("running_mean"), call.constant("running_var")
    scale = 1 / np.sqrt(variance.astype(np.float64) + call["eps"])
    if (weight := call.constant("weight", optional=True)) is not None:
        scale = scale * weight
    shift = -mean * scale
    if (bias := call.constant("bias", optional=True)) is not None:
        shift = shift + bias
    return _frozen(scale), _frozen(shift)


def _read_arithmetic(call: Call) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift, of as many channels as the constant tells apart."""
    operation = call.aten.removesuffix("_constant")
    constant_first = "self" in {**call.constants, **call.arguments}
    constant = _by_channel(call, call.operand("self" if constant_first else "other"))
    one, alpha = np.ones(len(constant)), call.get("alpha", 1)
    sign = -alpha if operation == "sub" else alpha
    if operation == "rsub":
        return _frozen(-alpha * one), _frozen(constant)
    if operation in ("add", "sub") and constant_first:
        return _frozen(sign * one), _frozen(constant)
    if operation in ("add", "sub"):
        return _frozen(one), _frozen(sign * constant)
    if operation == "mul":
        return _frozen(constant), _frozen(0 * one)
    if constant_first or call.get("rounding_mode", None) is not None or (constant == 0).any():
        raise call.unsupported(
            "of divisions only those by constants other than 0, without rounding, are supported",
            "Multiply by torch.reciprocal(x)",
        )
    return _frozen(1 / constant), _frozen(0 * one)


def _by_channel(call: Call, constant: np.ndarray) -> np.ndarray:
    """A constant as one value for each of the leading axes' positions between which it differs."""
    shape = (1, *call.input_shape)
    if np.broadcast_shapes(shape, constant.shape) != shape:
        raise call.unsupported(
            f"a constant of shape {list(constant.shape)} makes the tensor larger",
            "Expand the constant's counterpart in the model",
        )
    full = np.broadcast_to(constant, shape)[0].astype(np.float64)
    for axes in range(len(call.input_shape) + 1):
        rows = full.reshape(prod(call.input_shape[:axes]), -1)
        if (rows == rows[:, :1]).all():
            return rows[:, 0]
    raise AssertionError("every value by itself is a channel")


def output_shape(attributes: ScaleShift, parameters: dict, inputs: list[tuple]) -> tuple[int, ...]:
    return inputs[0]


def describe(attributes: ScaleShift) -> str:
    return f"{attributes.title} {attributes.channels}"


def changes_nothing(attributes: ScaleShift, parameters: dict) -> bool:
    """As 0 + x, with which Python's sum() begins."""
    return bool((parameters["scale"] == 1).all() and (parameters["shift"] == 0).all())


def forward(attributes: ScaleShift, parameters: dict, x: torch.Tensor) -> torch.Tensor:
    scale, shift = (parameters[name].reshape(-1, 1) for name in ("scale", "shift"))
    by_channel = x.reshape(x.shape[0], attributes.channels, -1)
    return (by_channel * scale + shift).reshape(x.shape)


def quantize(
    node: Node, inputs: list[Quantization], observed: Range
) -> tuple[IntegerNode, Quantization]:
    steps = float(np.abs(node.parameters["scale"]).max()) * inputs[0].scale
    after = affine(*observed, finest=_FINEST * steps)
    return _between(node, inputs[0], after), after


def rescale(
    name: str, source: str, output: Tensor, before: Quantization, after: Quantization
) -> IntegerNode:
    """The node that gives a tensor's values another scale."""
    attributes = ScaleShift("Requantize", 1, output.size)
    parameters = {"scale": np.ones(1, np.float32), "shift": np.zeros(1, np.float32)}
    node = Node(name, "scale_shift", (source,), output.name, attributes, parameters)
    return _between(node, before, after)


def _between(node: Node, before: Quantization, after: Quantization) -> IntegerNode:
    scale, shift = (node.parameters[name].astype(np.float64) for name in ("scale", "shift"))
    factors = before.scale / after.scale * scale
    offsets = after.zero_point + shift / after.scale - before.zero_point * factors
    bits = _shift(float(np.abs(factors).max()), float(np.abs(offsets).max()))
    multiplier = np.round(factors * 2**bits).astype(np.int16)
    offset = (after.zero_point + shift / after.scale) * 2**bits + 2 ** (bits - 1)
    offset = np.round(offset) - before.zero_point * multiplier.astype(np.int64)
    minimum, maximum = clamp_int8(node.clamp, after)
    return IntegerNode.of(
        node,
        clamp=(minimum, maximum),
        fields={"shift": bits, "minimum": minimum, "maximum": maximum},
        tables=(
            Array("multiplier", multiplier, "one a channel"),
            Array(
                "offset", np.clip(offset, -_OFFSET_LIMIT, _OFFSET_LIMIT).astype(np.int32), "same"
            ),
        ),
    )


def _shift(factor: float, offset: float) -> int:
    """The most bits behind the point with which both stay within their limits; 1 at least."""
    room = min(_MULTIPLIER_LIMIT / max(factor, 1e-30), _OFFSET_LIMIT / 2 / max(offset, 1.0))
    return int(np.clip(np.floor(np.log2(room)), 1, _GREATEST_SHIFT))


def integer(node: IntegerNode, quantization: list[Quantization], x: np.ndarray) -> np.ndarray:
    """q = clamp((x * multiplier[channel] + offset[channel]) >> shift), floored, in 32 bits."""
    by_channel = x.reshape(len(x), node.attributes.channels, -1).astype(np.int32)
    multiplier = node.table("multiplier").astype(np.int32)[:, None]
    sums = (by_channel * multiplier + node.table("offset")[:, None]) >> node.fields["shift"]
    return np.clip(sums, *node.clamp).astype(np.int8).reshape(x.shape)


def c_parameters(
    node: IntegerNode, quantization: list[Quantization], inputs: list[tuple], output: tuple
) -> dict[str, int]:
    """Fields of dc_scale_shift in include/deepcompress/kernels/scale_shift.h."""
    a = node.attributes
    return {"channels": a.channels, "plane": a.values // a.channels}


def macs(attributes: ScaleShift, weights: int, output: tuple[int, ...]) -> int:
    return prod(output)


def _frozen(array: np.ndarray) -> np.ndarray:
    array = array.astype(np.float32)
    array.flags.writeable = False
    return array
