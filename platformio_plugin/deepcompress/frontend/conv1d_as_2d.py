"""Rewrites layers on [channels, length] to two-dimensional ones on [channels, 1, length]."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepcompress.ir.aten_call import AtenCall

ATEN = (
    "_convolution_mode",
    "adaptive_avg_pool1d",
    "adaptive_max_pool1d",
    "avg_pool1d",
    "conv1d",
    "conv_transpose1d",
    "convolution",
    "max_pool1d",
    "upsample_linear1d",
)

# Arguments with one number per axis, and their value for the height.
_ALONG_HEIGHT = {
    "dilation": 1,
    "kernel_size": 1,
    "output_padding": 0,
    "output_size": 1,
    "padding": 0,
    "stride": 1,
}


def is_one_dimensional(call: AtenCall) -> bool:
    """Whether a call's tensors are [channels, length]; "convolution" may have either."""
    return call.aten in ATEN and len(call.output_shape) == 2


def as_image(call: AtenCall) -> AtenCall:
    """The same call on images [channels, 1, length]."""
    weight = {name: array[:, :, None] for name, array in call.constants.items() if array.ndim == 3}
    return replace(
        call,
        aten=call.aten.replace("linear1d", "bilinear1d").replace("1d", "2d"),
        arguments={name: _with_height(name, value) for name, value in call.arguments.items()},
        constants={**call.constants, **weight},
        input_shapes=tuple(_with_row(shape) for shape in call.input_shapes),
        output_shape=_with_row(call.output_shape),
    )


def _with_height(name: str, value: Any) -> Any:
    if name not in _ALONG_HEIGHT or isinstance(value, str) or value in (None, [], ()):
        return value
    along_width = value if isinstance(value, (list, tuple)) else [value]
    return [_ALONG_HEIGHT[name], *along_width]


def _with_row(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-1], 1, shape[-1])
