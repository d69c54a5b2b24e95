"""Lowers one aten call to our operators: which one, or which several in sequence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcompress.frontend.conv1d_as_2d import as_image, is_one_dimensional
from deepcompress.frontend.unsupported_ops import advice_for
from deepcompress.ir.graph import LARGEST_VALUE
from deepcompress.ops import BY_ATEN, OPERATORS, Parameters
from deepcompress.ops.adaptive_pool2d import as_fixed_pooling
from deepcompress.ops.flatten import Flatten
from deepcompress.ops.rearrange import Rearrange, merged
from deepcompress.ops.recurrent import RECURRENT, split_layers

if TYPE_CHECKING:
    from deepcompress.ir.aten_call import AtenCall


@dataclass(frozen=True)
class LoweredLayer:
    """A node of the Graph without its tensors; attributes and parameters are of `Operator.read`."""

    name: str
    op: str
    attributes: Any
    parameters: Parameters


def lower_call(call: AtenCall) -> list[LoweredLayer]:
    """The layers that a call becomes; each reads the output of the one before it.

    Raises:
        UserError: the operator, or this use of it, is not supported.
    """
    if call.aten in RECURRENT and "weight_ih" not in call.constants:
        return [lowered for layer in split_layers(call) for lowered in lower_call(layer)]
    if is_one_dimensional(call):
        return _lower_as_image(call)
    named = _specific_name(call)
    if named.aten not in BY_ATEN:
        raise call.unsupported(f"the operator {call.aten} is not supported", advice_for(call.aten))
    op = BY_ATEN[named.aten]
    if op == "upsample_bilinear2d" and call.input_shape[1] == call.output_shape[1] == 1:
        return _upsample_row(call)
    if op == "scale_shift" and call.output_shape != call.input_shape:
        expanded = replace(call, input_shapes=(call.output_shape,))
        return lower_call(_expand(call)) + lower_call(expanded)
    if op == "linear" and call.input_rank > 1:
        op = "linear_rows"
    with np.errstate(all="ignore"):  # what overflows, or is not defined, is refused next
        attributes, parameters = OPERATORS[op].read(named)
    check_parameters(call, parameters)
    if OPERATORS[op].changes_nothing(attributes, parameters):
        return [_reshape(call.layer, call.output_shape)]
    return [LoweredLayer(call.layer, op, attributes, parameters)]


def check_parameters(call: AtenCall, parameters: Parameters) -> None:
    """Raises UserError unless a layer's parameters are finite, and not too large for float32."""
    for name, values in parameters.items():
        largest = float(np.abs(values).max()) if values.size else 0.0
        if not largest <= LARGEST_VALUE:  # NaN is not
            raise call.unsupported(
                f"its {name} is {largest:.3g}, computed from the weights and numbers of the file; "
                f"at most {LARGEST_VALUE:.0e} is possible",
                "Check its weights, a variance below 0 and its numbers; the training may have "
                "diverged: use an earlier checkpoint",
            )


def _lower_as_image(call: AtenCall) -> list[LoweredLayer]:
    """A layer on [channels, length] as one on [channels, 1, length], between two reshapes."""
    image = as_image(call)
    return [
        _reshape(f"{call.layer}.row", image.input_shape),
        *lower_call(image),
        _reshape(f"{call.layer}.rows", call.output_shape),
    ]


def _upsample_row(call: AtenCall) -> list[LoweredLayer]:
    """Upsampling along one row: bilinear upsampling makes two equal rows of it; one is kept."""
    channels, _, width = call.output_shape
    image = replace(
        call, output_shape=(channels, 2, width), arguments={**call.arguments, "scales_h": None}
    )
    if scales := call.get("scale_factors", None):
        image.arguments["scale_factors"] = scales[-1:]
    doubled, parameters = OPERATORS["upsample_bilinear2d"].read(image)
    loops = merged([(channels, 2 * width), (width, 1)])
    row = Rearrange("one row", 2 * channels * width, 0, loops, call.output_shape)
    return [
        LoweredLayer(call.layer, "upsample_bilinear2d", doubled, parameters),
        LoweredLayer(f"{call.layer}.one", "rearrange", row, {}),
    ]


def _reshape(name: str, shape: tuple[int, ...]) -> LoweredLayer:
    return LoweredLayer(name, "flatten", Flatten(shape), {})


def _specific_name(call: AtenCall) -> AtenCall:
    """The call under the name of one operator of ours, if its aten name stands for several."""
    with_constant = f"{call.aten}_constant"  # of a tensor and a number or parameter
    if with_constant in BY_ATEN and len(call.input_shapes) < 2:
        return replace(call, aten=with_constant)
    if call.aten == "convolution" and call["transposed"]:
        return replace(call, aten="conv_transpose2d")
    return as_fixed_pooling(call)


def _expand(call: AtenCall) -> AtenCall:
    """The broadcast of a call's tensor to the shape of the constant that it is combined with."""
    return replace(call, aten="expand", layer=f"{call.layer}.expand", constants={}, arguments={})
