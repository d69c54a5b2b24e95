"""Kernels of softmax and layer normalization."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from deepcompress.backend.kernels.c_struct import CStruct, RequantizeParameters
from deepcompress.backend.kernels.kernel import Layer, PlainKernel, Rate
from deepcompress.ir.graph import Array, EncodedWeight
from deepcompress.ops.layer_norm import LayerNorm
from deepcompress.ops.softmax import Softmax


@dataclass(frozen=True)
class SoftmaxParameters(CStruct):
    """See include/deepcompress/kernels/softmax.h."""

    c_type = "dc_softmax"

    outer: int
    length: int
    inner: int
    log: int
    minimum: int
    maximum: int
    factor: int
    log_factor: int
    entries: int
    zero_point: int
    exponentials: Array


class _Softmax(PlainKernel):
    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        a = layer.attributes(Softmax)
        return SoftmaxParameters(
            outer=prod(layer.output[: a.axis]),
            length=layer.output[a.axis],
            inner=prod(layer.output[a.axis + 1 :]),
            log=int(a.log),
            minimum=layer.node.clamp[0],
            maximum=layer.node.clamp[1],
            **layer.node.fields,
            exponentials=layer.table("exponentials"),
        )


@dataclass(frozen=True)
class LayerNormParameters(CStruct):
    """See include/deepcompress/kernels/layer_norm.h."""

    c_type = "dc_layer_norm"

    rows: int
    length: int
    centered: int
    shared: int
    input_zero_point: int
    epsilon: int
    gain: Array
    bias: Array
    requantize: RequantizeParameters


class _LayerNorm(PlainKernel):
    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        a = layer.attributes(LayerNorm)
        gain = layer.table("gain")
        return LayerNormParameters(
            rows=prod(layer.output) // a.length,
            length=a.length,
            centered=int(a.centered),
            shared=int(len(gain.values) == 1),
            input_zero_point=layer.quantization[0].zero_point,
            epsilon=layer.node.fields["epsilon"],
            gain=gain,
            bias=layer.table("bias"),
            requantize=RequantizeParameters.of(layer.node),
        )


KERNELS = (
    _Softmax.of("softmax", rate=Rate(output=45, code_bytes=130)),
    _LayerNorm.of("layer_norm", rate=Rate(output=50, code_bytes=400)),
)
