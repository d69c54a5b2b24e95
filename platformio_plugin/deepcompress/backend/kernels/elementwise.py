"""Kernels of operators that compute each value from those at the same position."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from deepcompress.arith.broadcast import LOOPS, nest
from deepcompress.backend.kernels.c_struct import CStruct, RequantizeParameters
from deepcompress.backend.kernels.kernel import Layer, PlainKernel, Rate
from deepcompress.ir.graph import Array, EncodedWeight
from deepcompress.ops import Shape
from deepcompress.ops.prelu import PReLU
from deepcompress.ops.scale_shift import ScaleShift


@dataclass(frozen=True)
class ClampParameters(CStruct):
    """See include/deepcompress/kernels/clamp.h."""

    c_type = "dc_clamp_layer"

    size: int
    minimum: int
    maximum: int


class _Clamp(PlainKernel):
    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        return ClampParameters(prod(layer.output), *layer.node.clamp)


@dataclass(frozen=True)
class LookupParameters(CStruct):
    """See include/deepcompress/kernels/lookup.h."""

    c_type = "dc_lookup"

    size: int
    table: Array


class _Lookup(PlainKernel):
    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        return LookupParameters(prod(layer.output), layer.table("table"))


@dataclass(frozen=True)
class PreluParameters(CStruct):
    """See include/deepcompress/kernels/prelu.h."""

    c_type = "dc_prelu"

    slopes: int
    plane: int
    zero_point: int
    positive: int
    slope: Array
    requantize: RequantizeParameters


class _Prelu(PlainKernel):
    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        slopes = layer.attributes(PReLU).slopes
        return PreluParameters(
            slopes,
            prod(layer.output) // slopes,
            layer.quantization[0].zero_point,
            layer.node.fields["positive"],
            layer.table("slope"),
            RequantizeParameters.of(layer.node),
        )


@dataclass(frozen=True)
class ScaleShiftParameters(CStruct):
    """See include/deepcompress/kernels/scale_shift.h."""

    c_type = "dc_scale_shift"

    channels: int
    plane: int
    shift: int
    minimum: int
    maximum: int
    multiplier: Array
    offset: Array


class _ScaleShift(PlainKernel):
    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        a = layer.attributes(ScaleShift)
        return ScaleShiftParameters(
            channels=a.channels,
            plane=a.values // a.channels,
            **layer.node.fields,
            multiplier=layer.table("multiplier"),
            offset=layer.table("offset"),
        )


@dataclass(frozen=True)
class BroadcastParameters(CStruct):
    """See include/deepcompress/kernels/broadcast.h."""

    c_type = "dc_broadcast"

    outer: int
    middle: int
    inner: int
    first_outer: int
    first_middle: int
    first_inner: int
    second_outer: int
    second_middle: int
    second_inner: int

    @classmethod
    def of(cls, shapes: tuple[Shape, ...]) -> BroadcastParameters:
        loops = nest(list(shapes))
        loops = [(1, [0] * len(shapes))] * (len(LOOPS) - len(loops)) + loops
        sizes = [size for size, _ in loops]
        first, second = ([steps[i] for _, steps in loops] for i in range(2))
        return cls(*sizes, *first, *second)


@dataclass(frozen=True)
class AddParameters(CStruct):
    """See include/deepcompress/kernels/add.h."""

    c_type = "dc_add"

    loops: BroadcastParameters
    first: int
    second: int
    offset: int
    shift: int
    minimum: int
    maximum: int


class _Add(PlainKernel):
    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        return AddParameters(BroadcastParameters.of(layer.inputs), **layer.node.fields)


@dataclass(frozen=True)
class MulParameters(CStruct):
    """See include/deepcompress/kernels/mul.h."""

    c_type = "dc_mul"

    loops: BroadcastParameters
    first_zero: int
    second_zero: int
    multiplier: int
    offset: int
    shift: int
    minimum: int
    maximum: int


class _Mul(PlainKernel):
    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        return MulParameters(BroadcastParameters.of(layer.inputs), **layer.node.fields)


KERNELS = (
    _Clamp.of("clamp", rate=Rate(output=10, code_bytes=32)),
    _Lookup.of("lookup", rate=Rate(output=7, code_bytes=90)),
    _Prelu.of("prelu", rate=Rate(output=21, code_bytes=100)),
    _ScaleShift.of(
        "scale_shift",
        rate=Rate(mac=7.6, code_bytes=148),
        portable_rate=Rate(mac=15.0, code_bytes=88),
    ),
    _Add.of("add", rate=Rate(mac=9.5, code_bytes=148), portable_rate=Rate(mac=17.0, code_bytes=70)),
    _Mul.of("mul", rate=Rate(mac=15, code_bytes=62)),
)
