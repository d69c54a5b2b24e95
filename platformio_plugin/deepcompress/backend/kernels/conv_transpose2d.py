"""Kernels of ConvTranspose2d: each weight adds its products to the accumulators of a channel."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from deepcompress.backend.kernels.c_struct import CStruct, RequantizeParameters
from deepcompress.backend.kernels.kernel import Cost, Layer, Rate, Scratch
from deepcompress.backend.kernels.weighted import (
    DECODERS,
    SPARSE,
    WeightedKernel,
    decoding_cost,
    only,
)
from deepcompress.ir.graph import EncodedWeight, WeightedNode
from deepcompress.ops.conv_transpose2d import ConvTranspose2d
from deepcompress.target.core import Cpu


@dataclass(frozen=True)
class ConvTranspose2dParameters(CStruct):
    """See include/deepcompress/kernels/conv_transpose2d.h."""

    c_type = "dc_conv_transpose2d"

    in_channels: int
    in_height: int
    in_width: int
    out_channels: int
    out_height: int
    out_width: int
    groups: int
    kernel_height: int
    kernel_width: int
    stride_height: int
    stride_width: int
    dilation_height: int
    dilation_width: int
    pad_top: int
    pad_left: int
    plane_height: int
    plane_width: int
    zero_point: int
    requantize: RequantizeParameters


@dataclass(frozen=True, kw_only=True)
class ConvTranspose2dKernel(WeightedKernel):
    header: str = "conv_transpose2d"
    operators: tuple[str, ...] = ("conv_transpose2d",)
    takes_scratch: bool = True
    scratch_text: str = "the int32 accumulators of one output channel, before padding is removed"

    def scratch(self, layer: Layer, weight: EncodedWeight | None) -> Scratch:
        """The accumulators of one channel."""
        a = layer.attributes(ConvTranspose2d)
        return Scratch(4 * prod(a.plane(*layer.inputs[0][1:])))

    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        a = layer.attributes(ConvTranspose2d)
        _, height, width = layer.inputs[0]
        plane_height, plane_width = a.plane(height, width)
        return ConvTranspose2dParameters(
            in_channels=a.in_channels // a.groups,
            in_height=height,
            in_width=width,
            out_channels=a.out_channels,
            out_height=layer.output[1],
            out_width=layer.output[2],
            groups=a.groups,
            kernel_height=a.kernel[0],
            kernel_width=a.kernel[1],
            stride_height=a.stride[0],
            stride_width=a.stride[1],
            dilation_height=a.dilation[0],
            dilation_width=a.dilation[1],
            pad_top=a.padding[0],
            pad_left=a.padding[1],
            plane_height=plane_height,
            plane_width=plane_width,
            zero_point=layer.quantization[0].zero_point,
            requantize=RequantizeParameters.of(layer.node),
        )

    def cost(self, layer: Layer, weight: EncodedWeight | None, cpu: Cpu) -> Cost:
        rate = DECODERS[only(weight).encoding].conv_transpose2d
        return decoding_cost(self, layer, only(weight), rate, cpu)

    def rates(self) -> dict[str, str]:
        return {name: str(DECODERS[name].conv_transpose2d) for name in self.encodings}


@dataclass(frozen=True, kw_only=True)
class _Dense(ConvTranspose2dKernel):
    """Four input channels at a time."""

    rate: Rate

    def stored_weights(self, node: WeightedNode, encoding: str) -> int:
        return node.weight.size

    def cost(self, layer: Layer, weight: EncodedWeight | None, cpu: Cpu) -> Cost:
        return decoding_cost(self, layer, only(weight), self.rate, cpu)

    def rates(self) -> dict[str, str]:
        return {"": str(self.rate)}


KERNELS = (
    _Dense(
        name="conv_transpose2d_dense",
        encodings=("dense",),
        folded_only=("dense",),
        rate=Rate(mac=6, output=22, code_bytes=410),
    ),
    ConvTranspose2dKernel(
        name="conv_transpose2d_sparse",
        encodings=SPARSE,
        takes_encoding=True,
        folded_only=("block",),
    ),
)
