"""Kernels of Conv2d: weight by weight (taps), or by columns of inputs (panel, dense_mve)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from deepcompress.arith.qparams import NARROW_SUM
from deepcompress.backend.kernels.c_struct import CStruct, RequantizeParameters
from deepcompress.backend.kernels.kernel import DSP, MVE, Cost, Layer, Rate, Scratch
from deepcompress.backend.kernels.weighted import (
    DECODERS,
    SPARSE,
    WeightedKernel,
    only,
    total_cost,
)
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.graph import EncodedWeight
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.max_pool2d import MaxPool2d
from deepcompress.target.core import Cpu

# The most that a tap can step; taps of weight 0 bridge more.
LARGEST_STEP = 65535

# Cycles per tap of the output channel and per tile, by kind of tile.
_TILES = {
    "narrow sixteen": (30.0, 58.0),
    "narrow eight": (17.0, 45.0),
    "eight": (21.0, 45.0),
    "eight by two": (23.0, 45.0),
    "four": (17.5, 30.0),
    "one": (9.5, 12.0),
}
# To read a dense convolution's weight, zero or not.
_DENSE = Rate(output=7, code_bytes=400)
_DENSE_WEIGHT_CYCLES = 17
# The copy of the input that padding needs, and narrow sums, per byte.
_COPY_CYCLES = 2.0
# What pointwise convolutions save, which have one row, and what padding takes.
_POINTWISE_CODE_BYTES = -130
_PADDING_CODE_BYTES = 95


@dataclass(frozen=True)
class Conv2dParameters(CStruct):
    """See include/deepcompress/kernels/conv2d_layer.h."""

    c_type = "dc_conv2d"

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
    padded: int
    pad_top: int
    pad_left: int
    pad_bottom: int
    pad_right: int
    pad_end: int
    pad_value: int
    pooled: int
    pool_height: int
    pool_width: int
    pool_stride_height: int
    pool_stride_width: int
    tiles: str
    scratch_words: int
    requantize: RequantizeParameters


@dataclass(frozen=True)
class _Bordered:
    """A padded copy of the input: rows and columns of a channel, values after the last channel."""

    rows: int
    columns: int
    end: int


def _bordered(a: Conv2d, height: int, width: int) -> _Bordered:
    """What is right of a row is left of the next, and what is below a channel is above the next:
    these share it, unless a kernel is so large that its taps would step back.
    """
    top, left, bottom, right = a.padding
    rows, columns = height + max(top, bottom), width + max(left, right)
    if a.extent[0] > rows or a.extent[1] > columns:
        return _Bordered(height + top + bottom, width + left + right, 0)
    return _Bordered(rows, columns, min(top, bottom) * columns + min(left, right))


def _padded_group_bytes(layer: Layer) -> int:
    """A group's input with its padding."""
    a = layer.attributes(Conv2d)
    channels, height, width = layer.inputs[0]
    border = _bordered(a, height, width)
    return channels // a.groups * border.rows * border.columns + border.end


@dataclass(frozen=True, kw_only=True)
class Conv2dKernel(WeightedKernel):
    """What all kernels of Conv2d have in common."""

    takes_scratch: bool = True
    tiles: str = "DC_FOUR"

    def scratch_words(self, layer: Layer, encoding: str) -> int:
        """4-byte words of scratch before the padded copy of the input."""
        raise NotImplementedError

    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        a = layer.attributes(Conv2d)
        _, height, width = layer.inputs[0]
        _, out_height, out_width = layer.output
        if a.is_pointwise:
            # All positions are one row, so that none is left over at the ends of rows.
            height, width = 1, height * width
            out_height, out_width = 1, out_height * out_width
        top, left, *_ = a.padding
        border = _bordered(a, height, width)
        pool = a.pool or MaxPool2d((1, 1), (1, 1))
        return Conv2dParameters(
            in_channels=a.in_channels // a.groups,
            in_height=border.rows,
            in_width=border.columns,
            out_channels=a.out_channels,
            out_height=out_height,
            out_width=out_width,
            groups=a.groups,
            kernel_height=a.kernel[0],
            kernel_width=a.kernel[1],
            stride_height=a.stride[0],
            stride_width=a.stride[1],
            dilation_height=a.dilation[0],
            dilation_width=a.dilation[1],
            padded=int(any(a.padding)),
            pad_top=top,
            pad_left=left,
            pad_bottom=border.rows - height - top,
            pad_right=border.columns - width - left,
            pad_end=border.end,
            pad_value=layer.quantization[0].zero_point,
            pooled=int(a.pool is not None),
            pool_height=pool.kernel[0],
            pool_width=pool.kernel[1],
            pool_stride_height=pool.stride[0],
            pool_stride_width=pool.stride[1],
            tiles=self.tiles,
            scratch_words=self.scratch_words(layer, only(weight).encoding),
            requantize=RequantizeParameters.of(layer.node),
        )


def _positions(layer: Layer) -> int:
    """Outputs of the convolution per channel, before pooling."""
    pool = layer.node.attributes.pool
    return prod(layer.output[1:]) * (prod(pool.kernel) if pool else 1)


def _copy_cycles(layer: Layer) -> float:
    """The input is about as large as the output times the strides."""
    a = layer.attributes(Conv2d)
    return _COPY_CYCLES * a.in_channels * _positions(layer) * prod(a.stride)


def _shape_code_bytes(a: Conv2d) -> int:
    padding = _PADDING_CODE_BYTES if any(a.padding) else 0
    return padding + (_POINTWISE_CODE_BYTES if a.is_pointwise else 0)


# --- weight by weight


def tap_words(layer: Layer) -> int:
    """4-byte words for the taps of any output channel, an even number."""
    bridges = _padded_group_bytes(layer) // LARGEST_STEP
    most = int(np.count_nonzero(layer.weighted.weight, axis=1).max()) + bridges
    return max(2, most + most % 2)


def is_narrow(weight: Int8Array) -> bool:
    """Whether sums of products with any int8 fit int16, in every row of int8 [rows, columns]."""
    return bool((np.abs(weight.astype(np.int32)).sum(axis=1) <= NARROW_SUM).all())


@dataclass(frozen=True, kw_only=True)
class Taps(Conv2dKernel):
    """Weight by weight: an output channel is decoded to a list of taps for all its positions.

    Attributes:
        positions: most outputs that are computed at a time.
        narrow: whether sums of products must fit int16.
        code_bytes: more than with four positions.
    """

    positions: int = 4
    narrow: bool = False
    code_bytes: int = 0

    def accepts(self, layer: Layer, encoding: str | None, cpu: Cpu) -> bool:
        if not super().accepts(layer, encoding, cpu):
            return False
        return not self.narrow or is_narrow(layer.weighted.weight)

    def scratch_words(self, layer: Layer, encoding: str) -> int:
        taps = tap_words(layer)
        # Which of its ways a dense convolution takes is for the C compiler to say.
        return max(taps, layer.weighted.weight.shape[1]) if encoding == "dense" else taps

    def scratch(self, layer: Layer, weight: EncodedWeight | None) -> Scratch:
        a = layer.attributes(Conv2d)
        copied = _padded_group_bytes(layer) if any(a.padding) or self.narrow else 0
        words = self.scratch_words(layer, only(weight).encoding)
        return Scratch(4 * words + copied, may_overlap_input=a.groups == 1 and copied > 0)

    def cost(self, layer: Layer, weight: EncodedWeight | None, cpu: Cpu) -> Cost:
        a = layer.attributes(Conv2d)
        encoding = only(weight).encoding
        rate = _DENSE if encoding == "dense" else DECODERS[encoding].conv2d
        stored = self.stored_weights(layer.weighted, encoding)
        macs = layer.macs(stored)
        tiles = sum(
            count * (_TILES[kind][0] * stored + _TILES[kind][1] * a.out_channels)
            for kind, count in conv2d_tiles(a, layer.output, self.positions).items()
        )
        read = _DENSE_WEIGHT_CYCLES * layer.weighted.weight.size if encoding == "dense" else 0
        copied = _copy_cycles(layer) if any(a.padding) or self.narrow else 0
        cycles = rate.cycles(macs, stored, prod(layer.output)) + (tiles + read + copied)
        code_bytes = rate.code_bytes + (self.code_bytes + _shape_code_bytes(a))
        return total_cost(cycles, code_bytes, macs, stored, only(weight), cpu)


def conv2d_tiles(a: Conv2d, output: tuple[int, ...], largest: int) -> dict[str, int]:
    """How many tiles of which kind an output channel is computed in.

    Args:
        output: [channels, height, width], after pooling.
        largest: positions at a time: 4, 8 or 16.
    """
    height, width = (1, prod(output[1:])) if a.is_pointwise else output[1:]
    pooled_by_two = a.pool is not None and a.pool.kernel == (2, 2) == a.pool.stride
    if a.pool and not (pooled_by_two and largest > 4 and a.stride[1] <= 2 and width >= 2):
        return (
            {"four": height * width}
            if pooled_by_two
            else {"one": height * width * prod(a.pool.kernel)}
        )
    if a.pool:
        height, width = 2 * height, 2 * width
    rows = _tile_rows(height, width, pooled=a.pool is not None)
    if largest == 4 or a.stride[1] > 2 or rows == 0:
        return {"four": height * (width // 4), "one": height * (width % 4)}
    columns, tall = 8 // rows, -(-height // rows)
    left_over = not a.pool and rows == 2 and width % 4 == 1 and height >= 4
    width -= left_over
    tiles = {"four": -(-height // 4)} if left_over else {}
    if largest == 16 and a.stride[1] == 1:
        wide = width // (2 * columns)
        tiles["narrow sixteen"] = tall * wide
        tiles["narrow eight"] = tall * -(-(width - 2 * columns * wide) // columns)
    else:
        tiles["eight" if a.stride[1] == 1 else "eight by two"] = tall * -(-width // columns)
    return tiles


def _tile_rows(height: int, width: int, *, pooled: bool) -> int:
    """Rows of a tile of eight positions: 2, 1, or 0 where none fits."""
    one, two = height * -(-width // 8), -(-height // 2) * -(-width // 4)
    fits_one = width >= 8 and not pooled
    fits_two = height >= 2 and width >= 4
    return 2 if fits_two and (two <= one or not fits_one) else int(fits_one)


@dataclass(frozen=True, kw_only=True)
class TapsMve(Taps):
    """By vectors of four outputs, or of eight with narrow sums; three vectors at a time.

    Its costs are instructions: `by_tap` and `by_channel` for each position in a pooling window,
    and `by_output` per channel.
    """

    by_tap: float = 9.0
    by_channel: float = 15.0
    by_output: float = 65.0

    def accepts(self, layer: Layer, encoding: str | None, cpu: Cpu) -> bool:
        if not super().accepts(layer, encoding, cpu):
            return False
        return encoding != "dense" or layer.node.attributes.groups > 1

    def cost(self, layer: Layer, weight: EncodedWeight | None, cpu: Cpu) -> Cost:
        a = layer.attributes(Conv2d)
        encoding = only(weight).encoding
        rate = _DENSE if encoding == "dense" else DECODERS[encoding].conv2d
        stored = self.stored_weights(layer.weighted, encoding)
        pool = prod(a.pool.kernel) if a.pool else 1
        position = self.by_tap * stored + self.by_channel * a.out_channels
        turns = -(-prod(layer.output[1:]) // self.positions)
        instructions = turns * (pool * position + self.by_output * a.out_channels)
        read = _DENSE_WEIGHT_CYCLES * layer.weighted.weight.size if encoding == "dense" else 0
        copied = _copy_cycles(layer) if any(a.padding) else 0
        instructions += cpu.cycle_factor * (rate.weight * stored + read + copied)
        code_bytes = rate.code_bytes + self.code_bytes + _shape_code_bytes(a)
        return Cost(round(instructions), code_bytes, layer.macs(stored))


# --- by columns of inputs


@dataclass(frozen=True, kw_only=True)
class Columns(Conv2dKernel):
    """The inputs of a few positions are copied to columns: of all weights, of one group."""

    def accepts(self, layer: Layer, encoding: str | None, cpu: Cpu) -> bool:
        return super().accepts(layer, encoding, cpu) and layer.node.attributes.groups == 1


@dataclass(frozen=True, kw_only=True)
class Panel(Columns):
    """Two positions and four output channels at a time.

    Attributes:
        rate: on a core with the DSP extension.
        portable_rate: on other cores.
        value_cycles: to copy a value of a column.
    """

    rate: Rate
    portable_rate: Rate
    value_cycles: float = 5.5

    def scratch_words(self, layer: Layer, encoding: str) -> int:
        """Two columns of int16, each of an even number of values."""
        columns = int(layer.weighted.weight.shape[1])
        return columns + columns % 2

    def scratch(self, layer: Layer, weight: EncodedWeight | None) -> Scratch:
        return Scratch(4 * self.scratch_words(layer, "panel"))

    def cost(self, layer: Layer, weight: EncodedWeight | None, cpu: Cpu) -> Cost:
        a = layer.attributes(Conv2d)
        rate = self.rate if "dsp" in cpu.features else self.portable_rate
        stored = layer.weighted.weight.size
        macs = layer.macs(stored)
        copied = self.value_cycles * layer.weighted.weight.shape[1] * _positions(layer)
        cycles = rate.cycles(macs, stored, prod(layer.output)) + copied
        code_bytes = rate.code_bytes + (_POINTWISE_CODE_BYTES if a.is_pointwise else 0)
        return total_cost(cycles, code_bytes, macs, stored, only(weight), cpu)


@dataclass(frozen=True, kw_only=True)
class DenseMve(Columns):
    """Four positions at a time. Its costs are instructions, because Arm publishes no timing."""

    rate: Rate
    value_instructions: float = 1.3

    def scratch_words(self, layer: Layer, encoding: str) -> int:
        """Four columns of int8, or what the portable kernel needs."""
        return max(tap_words(layer), int(layer.weighted.weight.shape[1]))

    def scratch(self, layer: Layer, weight: EncodedWeight | None) -> Scratch:
        copied = _padded_group_bytes(layer) if any(layer.node.attributes.padding) else 0
        words = self.scratch_words(layer, "dense")
        return Scratch(4 * words + copied, may_overlap_input=copied > 0)

    def cost(self, layer: Layer, weight: EncodedWeight | None, cpu: Cpu) -> Cost:
        channels, columns = layer.weighted.weight.shape
        macs = layer.macs(layer.weighted.weight.size)
        instructions = self.rate.mac * macs + self.rate.output * macs / columns
        instructions += self.value_instructions * macs / channels
        code_bytes = self.rate.code_bytes + _shape_code_bytes(layer.node.attributes)
        return Cost(round(instructions), code_bytes, macs)


_HERE = {"header": "conv2d", "function": "dc_conv2d_int8", "operators": ("conv2d",)}
_TAPS = {**_HERE, "encodings": ("dense", *SPARSE), "folded_only": ("dense", "block")}

KERNELS = (
    Taps(name="conv2d_taps_c", **_TAPS, superseded_by=MVE),
    Taps(
        name="conv2d_taps_dsp8",
        **_TAPS,
        features=DSP,
        superseded_by=MVE,
        tiles="DC_EIGHT",
        positions=8,
        code_bytes=200,
    ),
    Taps(
        name="conv2d_taps_dsp16",
        **_TAPS,
        features=DSP,
        superseded_by=MVE,
        tiles="DC_SIXTEEN",
        positions=16,
        narrow=True,
        code_bytes=550,
    ),
    TapsMve(name="conv2d_taps_mve12", **_TAPS, features=MVE, positions=12, code_bytes=300),
    TapsMve(
        name="conv2d_taps_mve24",
        **_TAPS,
        features=MVE,
        tiles="DC_SIXTEEN",
        positions=24,
        narrow=True,
        code_bytes=300,
    ),
    Panel(
        name="conv2d_panel",
        **_HERE,
        encodings=("panel",),
        folded_only=("panel",),
        rate=Rate(mac=1.3, output=11, code_bytes=900),
        portable_rate=Rate(mac=12.0, output=40, code_bytes=900),
    ),
    DenseMve(
        name="conv2d_dense_mve",
        **_HERE,
        features=MVE,
        encodings=("dense",),
        folded_only=("dense",),
        rate=Rate(mac=0.17, output=9, code_bytes=520),
    ),
)
