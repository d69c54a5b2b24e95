"""Kernels of operators that only move values."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from deepcompress.backend.kernels.c_struct import CStruct
from deepcompress.backend.kernels.kernel import Layer, PlainKernel, Rate, Scratch
from deepcompress.ir.graph import Array, EncodedWeight
from deepcompress.ops.concat import Concat
from deepcompress.ops.history import History
from deepcompress.ops.pad import Pad, fill_value
from deepcompress.ops.rearrange import Rearrange

# DC_PAD_CONSTANT and so on in include/deepcompress/kernels/pad.h, in this order.
_PAD_MODES = ("constant", "reflect", "replicate", "circular")


@dataclass(frozen=True)
class FlattenParameters(CStruct):
    """See include/deepcompress/kernels/flatten.h."""

    c_type = "dc_flatten"

    size: int


class _Flatten(PlainKernel):
    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        return FlattenParameters(prod(layer.output))


@dataclass(frozen=True)
class LiteralParameters(CStruct):
    """See include/deepcompress/kernels/literal.h."""

    c_type = "dc_literal"

    size: int
    values: Array


class _Literal(PlainKernel):
    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        return LiteralParameters(prod(layer.output), layer.table("values"))


@dataclass(frozen=True)
class ConcatParameters(CStruct):
    """See include/deepcompress/kernels/concat.h."""

    c_type = "dc_concat"

    rows: int
    parts: int
    sizes: Array


class _Concat(PlainKernel):
    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        rows = layer.attributes(Concat).rows
        return ConcatParameters(rows, len(layer.inputs), layer.table("sizes"))


@dataclass(frozen=True)
class RearrangeParameters(CStruct):
    """See include/deepcompress/kernels/rearrange.h: five loops, the outermost first."""

    c_type = "dc_rearrange"

    offset: int
    size: tuple[int, ...]
    step: tuple[int, ...]


class _Rearrange(PlainKernel):
    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        a = layer.attributes(Rearrange)
        loops = ((1, 0),) * (5 - len(a.loops)) + a.loops
        sizes, steps = zip(*loops, strict=True)
        return RearrangeParameters(a.offset, sizes, steps)


@dataclass(frozen=True)
class PadAxis(CStruct):
    c_type = "dc_pad_axis"

    size: int
    before: int
    after: int


@dataclass(frozen=True)
class PadParameters(CStruct):
    """See include/deepcompress/kernels/pad.h."""

    c_type = "dc_pad"

    channels: PadAxis
    height: PadAxis
    width: PadAxis
    mode: int
    value: int


class _Pad(PlainKernel):
    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        a = layer.attributes(Pad)
        missing = 3 - len(a.around)
        sizes, around = (1,) * missing + layer.inputs[0], ((0, 0),) * missing + a.around
        channels, height, width = (
            PadAxis(size, *pair) for size, pair in zip(sizes, around, strict=True)
        )
        value = fill_value(a, layer.quantization[0])
        return PadParameters(channels, height, width, _PAD_MODES.index(a.mode), value)


@dataclass(frozen=True)
class HistoryParameters(CStruct):
    """See include/deepcompress/kernels/history.h."""

    c_type = "dc_history"

    rows: int
    columns: int
    width: int


class _History(PlainKernel):
    def scratch(self, layer: Layer, weight: EncodedWeight | None) -> Scratch:
        """The columns of earlier inputs."""
        a = layer.attributes(History)
        start = layer.quantization[0].zero_point if a.stateful else None
        return Scratch(prod(layer.inputs[0][:-1]) * a.columns, start=start)

    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        columns = layer.attributes(History).columns
        return HistoryParameters(prod(layer.output[:-1]), columns, layer.inputs[0][-1])


KERNELS = (
    _Flatten.of("flatten", rate=Rate(output=1, code_bytes=20)),
    _Literal.of("literal", rate=Rate(output=0.5, code_bytes=24)),
    _Concat.of("concat", rate=Rate(output=0.8, code_bytes=70), takes_array=True),
    _Rearrange.of("rearrange", rate=Rate(output=8, code_bytes=50)),
    _Pad.of("pad", rate=Rate(output=2, code_bytes=150)),
    _History.of(
        "history",
        rate=Rate(output=3, code_bytes=70),
        takes_scratch=True,
        scratch_text="the last columns of earlier inputs, kept between inferences",
    ),
)
