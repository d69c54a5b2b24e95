"""Kernels of pooling layers, means over axes and bilinear upsampling."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from deepcompress.backend.kernels.c_struct import CStruct, RequantizeParameters
from deepcompress.backend.kernels.kernel import Layer, PlainKernel, Rate
from deepcompress.ir.graph import Array, EncodedWeight
from deepcompress.ops.adaptive_pool2d import AdaptivePool2d
from deepcompress.ops.avg_pool2d import AvgPool2d
from deepcompress.ops.max_pool2d import MaxPool2d
from deepcompress.ops.mean import Mean


@dataclass(frozen=True)
class MaxPool2dParameters(CStruct):
    """See include/deepcompress/kernels/max_pool2d.h."""

    c_type = "dc_max_pool2d"

    channels: int
    in_height: int
    in_width: int
    out_height: int
    out_width: int
    kernel_height: int
    kernel_width: int
    stride_height: int
    stride_width: int
    pad_top: int
    pad_left: int
    dilation_height: int
    dilation_width: int
    minimum: int
    maximum: int


class _MaxPool2d(PlainKernel):
    def outputs(self, layer: Layer) -> int:
        """Each output counts once for each value of its window."""
        return prod(layer.output) * prod(layer.attributes(MaxPool2d).kernel)

    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        a = layer.attributes(MaxPool2d)
        channels, in_height, in_width = layer.inputs[0]
        return MaxPool2dParameters(
            channels=channels,
            in_height=in_height,
            in_width=in_width,
            out_height=layer.output[1],
            out_width=layer.output[2],
            kernel_height=a.kernel[0],
            kernel_width=a.kernel[1],
            stride_height=a.stride[0],
            stride_width=a.stride[1],
            pad_top=a.padding[0],
            pad_left=a.padding[1],
            dilation_height=a.dilation[0],
            dilation_width=a.dilation[1],
            minimum=layer.node.clamp[0],
            maximum=layer.node.clamp[1],
        )


@dataclass(frozen=True)
class AvgPool2dParameters(CStruct):
    """See include/deepcompress/kernels/avg_pool2d.h."""

    c_type = "dc_avg_pool2d"

    channels: int
    in_height: int
    in_width: int
    out_height: int
    out_width: int
    kernel_height: int
    kernel_width: int
    stride_height: int
    stride_width: int
    pad_top: int
    pad_left: int
    count_padding: int
    divisor: int
    input_zero: int
    least: int
    multiplier: Array
    requantize: RequantizeParameters


class _AvgPool2d(PlainKernel):
    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        a = layer.attributes(AvgPool2d)
        channels, in_height, in_width = layer.inputs[0]
        return AvgPool2dParameters(
            channels=channels,
            in_height=in_height,
            in_width=in_width,
            out_height=layer.output[1],
            out_width=layer.output[2],
            kernel_height=a.kernel[0],
            kernel_width=a.kernel[1],
            stride_height=a.stride[0],
            stride_width=a.stride[1],
            pad_top=a.padding[0],
            pad_left=a.padding[1],
            count_padding=int(a.count_padding),
            divisor=a.divisor,
            input_zero=layer.node.fields["input_zero"],
            least=layer.node.fields["least"],
            multiplier=layer.table("multiplier"),
            requantize=RequantizeParameters.of(layer.node),
        )


@dataclass(frozen=True)
class AdaptivePool2dParameters(CStruct):
    """See include/deepcompress/kernels/adaptive_pool2d.h. The last four are for a mean."""

    c_type = "dc_adaptive_pool2d"

    channels: int
    in_height: int
    in_width: int
    out_height: int
    out_width: int
    is_maximum: int
    minimum: int
    maximum: int
    input_zero: int | None = None
    least: int | None = None
    multiplier: Array | None = None
    requantize: RequantizeParameters | None = None


class _AdaptivePool2d(PlainKernel):
    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        a = layer.attributes(AdaptivePool2d)
        is_maximum = a.function == "maximum"
        return AdaptivePool2dParameters(
            channels=layer.inputs[0][0],
            in_height=a.size[0],
            in_width=a.size[1],
            out_height=a.pooled[0],
            out_width=a.pooled[1],
            is_maximum=int(is_maximum),
            minimum=layer.node.clamp[0],
            maximum=layer.node.clamp[1],
            input_zero=layer.node.fields.get("input_zero"),
            least=layer.node.fields.get("least"),
            multiplier=None if is_maximum else layer.table("multiplier"),
            requantize=None if is_maximum else RequantizeParameters.of(layer.node),
        )


@dataclass(frozen=True)
class MeanParameters(CStruct):
    """See include/deepcompress/kernels/mean.h."""

    c_type = "dc_mean"

    outer: int
    reduced: int
    inner: int
    input_zero: int
    multiplier: int
    requantize: RequantizeParameters


class _Mean(PlainKernel):
    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        outer, reduced, inner = layer.attributes(Mean).around()
        return MeanParameters(
            outer,
            reduced,
            inner,
            layer.node.fields["input_zero"],
            layer.node.fields["multiplier"],
            RequantizeParameters.of(layer.node),
        )


@dataclass(frozen=True)
class UpsampleBilinear2dParameters(CStruct):
    """See include/deepcompress/kernels/upsample_bilinear2d.h."""

    c_type = "dc_upsample_bilinear2d"

    channels: int
    height: int
    width: int
    minimum: int
    maximum: int


class _UpsampleBilinear2d(PlainKernel):
    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        channels, height, width = layer.inputs[0]
        return UpsampleBilinear2dParameters(channels, height, width, *layer.node.clamp)


KERNELS = (
    _MaxPool2d.of("max_pool2d", rate=Rate(output=6.5, code_bytes=110)),
    _AvgPool2d.of("avg_pool2d", rate=Rate(mac=9, output=2, code_bytes=180)),
    _AdaptivePool2d.of("adaptive_pool2d", rate=Rate(mac=9, output=30, code_bytes=310)),
    _Mean.of(
        "mean",
        rate=Rate(mac=2.5, output=15, code_bytes=80),
        portable_rate=Rate(mac=7.0, output=20, code_bytes=60),
    ),
    _UpsampleBilinear2d.of("upsample_bilinear2d", rate=Rate(mac=3.2, code_bytes=280)),
)
