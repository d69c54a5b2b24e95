"""Kernels of Conv2d: weight by weight (taps), or by columns of inputs (panel, dense_mve)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import prod

import numpy as np

from deepcompress.arith.qparams import NARROW_SUM
from deepcompress.backend.kernels.c_struct import CStruct, RequantizeParameters
from deepcompress.backend.kernels.kernel import DSP, MVE, Cost, Layer, Rate, Scratch, by_core
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
# Two rows of a tile are less than this many bytes apart: the immediate operand of a load.
NEXT_LIMIT = 4088
_UINT16 = 2**16 - 1

# Cycles per tap of the output channel and per tile, by kind of tile.
_TILES = {
    "narrow sixteen": (30.0, 58.0),
    "narrow eight": (17.0, 45.0),
    "eight": (21.0, 45.0),
    "eight by two": (23.0, 45.0),
    "four": (17.5, 30.0),
    "one": (9.5, 12.0),
}
# The same kinds in words, for docs/kernels.md.
_TILE_TEXTS = {
    "narrow sixteen": "tile of sixteen positions, narrow sums",
    "narrow eight": "tile of eight positions, narrow sums",
    "eight": "tile of eight positions, stride 1",
    "eight by two": "tile of eight positions, stride 2",
    "four": "tile of four positions",
    "one": "tile of one position",
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
    tile_rows: int
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

    header: str = "conv2d"
    operators: tuple[str, ...] = ("conv2d",)
    takes_scratch: bool = True

    @abstractmethod
    def scratch_words(self, layer: Layer) -> int:
        """4-byte words of scratch before the padded copy of the input."""

    def copies_input(self, layer: Layer) -> bool:
        """Whether the kernel works on a copy of the input, with its padding."""
        return any(layer.attributes(Conv2d).padding)

    def tile_rows(self, layer: Layer) -> int:
        """Rows of a tile of eight positions, 1 or 2, of a kernel that has tiles, or 0."""
        return 0

    def scratch(self, layer: Layer, weight: EncodedWeight | None) -> Scratch:
        copied = _padded_group_bytes(layer) if self.copies_input(layer) else 0
        whole = layer.attributes(Conv2d).groups == 1
        return Scratch(4 * self.scratch_words(layer) + copied, whole and copied > 0)

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
            tile_rows=self.tile_rows(layer),
            scratch_words=self.scratch_words(layer),
            requantize=RequantizeParameters.of(layer.node),
        )


def _positions(layer: Layer) -> int:
    """Outputs of the convolution per channel, before pooling."""
    pool = layer.attributes(Conv2d).pool
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
        code_bytes: more than the portable kernel takes.
    """

    encodings: tuple[str, ...] = ("dense", *SPARSE)
    folded_only: tuple[str, ...] = ("dense", "block")
    takes_encoding: bool = True
    scratch_text: str = (
        "4 bytes per tap, for the output channel with the most taps; "
        "with padding or narrow sums, a copy of the input of one group"
    )
    code_bytes: int = 0

    def scratch_words(self, layer: Layer) -> int:
        return tap_words(layer)

    def assumptions(self, layer: Layer) -> tuple[str, ...]:
        return (f"DC_LARGEST_STEP == {LARGEST_STEP}", "sizeof(dc_tap) == 4")

    def tiles(self, layer: Layer) -> dict[str, int]:
        """How many tiles of which kind (`_TILES`) an output channel is computed in."""
        pool = layer.attributes(Conv2d).pool
        height, width = _plane(layer)
        if pool is None:
            return {"four": height * (width // 4), "one": height * (width % 4)}
        if pool.kernel == (2, 2) == pool.stride:
            return {"four": height * width}
        return {"one": height * width * prod(pool.kernel)}

    def cost(self, layer: Layer, weight: EncodedWeight | None, cpu: Cpu) -> Cost:
        a = layer.attributes(Conv2d)
        encoding = only(weight).encoding
        rate = _DENSE if encoding == "dense" else DECODERS[encoding].conv2d
        stored = self.stored_weights(layer.weighted, encoding)
        macs = layer.macs(stored)
        tiles = sum(
            count * (_TILES[kind][0] * stored + _TILES[kind][1] * a.out_channels)
            for kind, count in self.tiles(layer).items()
        )
        read = _DENSE_WEIGHT_CYCLES * layer.weighted.weight.size if encoding == "dense" else 0
        copied = _copy_cycles(layer) if self.copies_input(layer) else 0
        cycles = rate.cycles(macs, stored, prod(layer.output)) + (tiles + read + copied)
        code_bytes = rate.code_bytes + (self.code_bytes + _shape_code_bytes(a))
        return total_cost(cycles, code_bytes, macs, stored, only(weight), cpu)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of tiles that `tiles` may return."""
        return ("four", "one")

    def rates(self) -> dict[str, str]:
        return {
            _TILE_TEXTS[kind]: f"{_TILES[kind][0]:g} per tap plus {_TILES[kind][1]:g}"
            for kind in self.kinds
        } | _decoding_rates()


def _decoding_rates() -> dict[str, str]:
    dense = {"dense": f"{_DENSE_WEIGHT_CYCLES} per weight, zeros included"}
    return dense | {name: f"{DECODERS[name].conv2d.weight:g} per decoded weight" for name in SPARSE}


def _plane(layer: Layer) -> tuple[int, int]:
    """Height and width of the output: one row of all positions if it is pointwise."""
    _, height, width = layer.output
    return (1, height * width) if layer.attributes(Conv2d).is_pointwise else (height, width)


@dataclass(frozen=True, kw_only=True)
class TapsDsp(Taps):
    """Tiles of eight positions in one row or two, with pooling two windows of 2x2.

    Attributes:
        narrow: sums of products fit int16, so that one product serves two of sixteen positions.
    """

    narrow: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        tiles = ("narrow sixteen", "narrow eight") if self.narrow else ("eight", "eight by two")
        return (*tiles, "four")

    def accepts(self, layer: Layer, encoding: str | None, cpu: Cpu) -> bool:
        if not super().accepts(layer, encoding, cpu) or self.tile_rows(layer) == 0:
            return False
        a = layer.attributes(Conv2d)
        return not self.narrow or (a.stride[1] == 1 and is_narrow(layer.weighted.weight))

    def copies_input(self, layer: Layer) -> bool:
        """The copy of narrow sums has its signs flipped."""
        return self.narrow or super().copies_input(layer)

    def tile_rows(self, layer: Layer) -> int:
        """Whichever number of rows needs fewer tiles; 0 if no tile fits the output."""
        a = layer.attributes(Conv2d)
        if a.stride[1] > 2 or (a.pool and not a.pool.kernel == (2, 2) == a.pool.stride):
            return 0
        height, width = _convolved(layer)
        one, two = height * -(-width // 8), -(-height // 2) * -(-width // 4)
        fits_one = width >= 8 and not a.pool
        fits_two = height >= 2 and width >= 4 and _next_row(layer) < NEXT_LIMIT
        return 2 if fits_two and (two <= one or not fits_one) else int(fits_one)

    def assumptions(self, layer: Layer) -> tuple[str, ...]:
        reach = f"{_next_row(layer)} < DC_NEXT_LIMIT"
        return (*super().assumptions(layer), *([reach] if self.tile_rows(layer) == 2 else []))

    def tiles(self, layer: Layer) -> dict[str, int]:
        a, rows = layer.attributes(Conv2d), self.tile_rows(layer)
        height, width = _convolved(layer)
        columns, tall = 8 // rows, -(-height // rows)
        left_over = not a.pool and rows == 2 and width % 4 == 1 and height >= 4
        width -= left_over
        tiles = {"four": -(-height // 4)} if left_over else {}
        if self.narrow:
            wide = width // (2 * columns)
            tiles["narrow sixteen"] = tall * wide
            tiles["narrow eight"] = tall * -(-(width - 2 * columns * wide) // columns)
        else:
            tiles["eight" if a.stride[1] == 1 else "eight by two"] = tall * -(-width // columns)
        return tiles


def _convolved(layer: Layer) -> tuple[int, int]:
    """Height and width before pooling, which is by two."""
    height, width = _plane(layer)
    return (2 * height, 2 * width) if layer.attributes(Conv2d).pool else (height, width)


def _next_row(layer: Layer) -> int:
    """Bytes of the padded input from the window of a position to that of the one below."""
    a = layer.attributes(Conv2d)
    _, height, width = layer.inputs[0]
    return a.stride[0] * (height * width if a.is_pointwise else _bordered(a, height, width).columns)


@dataclass(frozen=True, kw_only=True)
class TapsMve(Taps):
    """By vectors of outputs, three vectors at a time, gathered from wherever their windows begin.

    Its costs are instructions, because Arm publishes no timing.

    Attributes:
        outputs: at a time: 12, or 24 if sums of products fit int16.
        by_tap, by_channel: instructions for each position in a pooling window.
        by_output: per channel.
    """

    outputs: int
    by_tap: float = 9.0
    by_channel: float = 15.0
    by_output: float = 65.0

    def accepts(self, layer: Layer, encoding: str | None, cpu: Cpu) -> bool:
        if not super().accepts(layer, encoding, cpu):
            return False
        if encoding == "dense" and layer.attributes(Conv2d).groups == 1:
            return False  # DenseMve is better
        return self.outputs == 12 or (
            is_narrow(layer.weighted.weight) and _windows_are_narrow(layer, self.outputs)
        )

    def cost(self, layer: Layer, weight: EncodedWeight | None, cpu: Cpu) -> Cost:
        a = layer.attributes(Conv2d)
        encoding = only(weight).encoding
        rate = _DENSE if encoding == "dense" else DECODERS[encoding].conv2d
        stored = self.stored_weights(layer.weighted, encoding)
        pool = prod(a.pool.kernel) if a.pool else 1
        position = self.by_tap * stored + self.by_channel * a.out_channels
        turns = -(-prod(layer.output[1:]) // self.outputs)
        instructions = turns * (pool * position + self.by_output * a.out_channels)
        read = _DENSE_WEIGHT_CYCLES * layer.weighted.weight.size if encoding == "dense" else 0
        copied = _copy_cycles(layer) if self.copies_input(layer) else 0
        instructions += cpu.cycle_factor * (rate.weight * stored + read + copied)
        code_bytes = rate.code_bytes + self.code_bytes + _shape_code_bytes(a)
        return Cost(round(instructions), code_bytes, layer.macs(stored))

    def rates(self) -> dict[str, str]:
        position = f"{self.by_tap:g} per tap plus {self.by_channel:g} (instructions)"
        return {f"tile of {self.outputs} positions": position} | _decoding_rates()


def _windows_are_narrow(layer: Layer, outputs: int) -> bool:
    """Whether the offsets of windows, and what divides them by the width, fit uint16."""
    a = layer.attributes(Conv2d)
    _, width = _plane(layer)
    below = _next_row(layer) * (a.pool.stride[0] if a.pool else 1)
    return (width + outputs) * width <= _UINT16 and (outputs // width + 2) * below <= _UINT16


# --- by columns of inputs


@dataclass(frozen=True, kw_only=True)
class Columns(Conv2dKernel):
    """The inputs of a few positions are copied to columns: for all weights, of one group."""

    def accepts(self, layer: Layer, encoding: str | None, cpu: Cpu) -> bool:
        return super().accepts(layer, encoding, cpu) and layer.attributes(Conv2d).groups == 1


@dataclass(frozen=True, kw_only=True)
class Panel(Columns):
    """Two positions and four output channels at a time. The columns contain the padding.

    Attributes:
        rate: on a core with the DSP extension.
        portable_rate: on other cores.
        value_cycles: to copy a value of a column.
    """

    rate: Rate
    portable_rate: Rate
    value_cycles: float = 5.5
    scratch_text: str = "two columns of int16 (im2col)"

    def scratch_words(self, layer: Layer) -> int:
        """Two columns of int16, each of an even number of values."""
        columns = int(layer.weighted.weight.shape[1])
        return columns + columns % 2

    def copies_input(self, layer: Layer) -> bool:
        return False

    def cost(self, layer: Layer, weight: EncodedWeight | None, cpu: Cpu) -> Cost:
        a = layer.attributes(Conv2d)
        rate = self.rate if "dsp" in cpu.features else self.portable_rate
        stored = layer.weighted.weight.size
        macs = layer.macs(stored)
        copied = self.value_cycles * layer.weighted.weight.shape[1] * _positions(layer)
        cycles = rate.cycles(macs, stored, prod(layer.output)) + copied
        code_bytes = rate.code_bytes + (_POINTWISE_CODE_BYTES if a.is_pointwise else 0)
        return total_cost(cycles, code_bytes, macs, stored, only(weight), cpu)

    def rates(self) -> dict[str, str]:
        column = {"copy to columns": f"{self.value_cycles:g} per value"}
        return by_core(self.rate, self.portable_rate) | column


@dataclass(frozen=True, kw_only=True)
class DenseMve(Columns):
    """Four positions at a time. Its costs are instructions, because Arm publishes no timing.

    Attributes:
        value_instructions: to copy a value of a column.
    """

    rate: Rate
    value_instructions: float = 1.3
    scratch_text: str = (
        "four columns of int8 (im2col) or, if larger, the taps of one output channel; "
        "with padding, a copy of the input"
    )

    def scratch_words(self, layer: Layer) -> int:
        """Four columns of int8, or taps: without MVE the same call runs conv2d_taps_c."""
        return max(tap_words(layer), int(layer.weighted.weight.shape[1]))

    def cost(self, layer: Layer, weight: EncodedWeight | None, cpu: Cpu) -> Cost:
        channels, columns = layer.weighted.weight.shape
        macs = layer.macs(layer.weighted.weight.size)
        instructions = self.rate.mac * macs + self.rate.output * macs / columns
        instructions += self.value_instructions * macs / channels
        code_bytes = self.rate.code_bytes + _shape_code_bytes(layer.attributes(Conv2d))
        return Cost(round(instructions), code_bytes, macs)

    def rates(self) -> dict[str, str]:
        columns = f"{self.value_instructions:g} per value (instructions)"
        return {"": f"{self.rate} (instructions)", "copy to columns": columns}


KERNELS = (
    Taps(name="conv2d_taps_c", superseded_by=MVE),
    TapsDsp(name="conv2d_taps_dsp8", features=DSP, superseded_by=MVE, code_bytes=200),
    TapsDsp(name="conv2d_taps_dsp16", features=DSP, superseded_by=MVE, narrow=True, code_bytes=550),
    TapsMve(name="conv2d_taps_mve12", features=MVE, outputs=12, code_bytes=300),
    TapsMve(name="conv2d_taps_mve24", features=MVE, outputs=24, code_bytes=300),
    Panel(
        name="conv2d_panel",
        encodings=("panel",),
        folded_only=("panel",),
        rate=Rate(mac=1.3, output=11, code_bytes=900),
        portable_rate=Rate(mac=12.0, output=40, code_bytes=900),
    ),
    DenseMve(
        name="conv2d_dense_mve",
        features=MVE,
        encodings=("dense",),
        folded_only=("dense",),
        rate=Rate(mac=0.17, output=9, code_bytes=520),
    ),
)
