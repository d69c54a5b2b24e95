"""What a layer costs in flash and cycles, before any compiler has run: the numbers choices use.

Fitted to the modelled cycles and the code sizes that arm-none-eabi-gcc 12 -O2 gives for Cortex-M4;
tests/backend/test_cost_model.py holds the fit to within a third. Cores without a fast multiplier
or unaligned loads scale by their family's factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from deepcompress.ir.graph import EncodedWeight, IntegerNode
from deepcompress.ops import OPERATORS, Shape
from deepcompress.ops.conv2d import Conv2d
from deepcompress.target import find


@dataclass(frozen=True)
class Cost:
    cycles: int
    code_bytes: int
    macs: int


@dataclass(frozen=True)
class KernelCost:
    """Cycles per product, per stored weight decoded, per output; bytes of one instance.

    Entropy-coded weights cost by how long their codes are; what is said is between 16 values and
    a hundred.
    The output of a pooling layer counts once for each value of its window. A convolution's products
    cost by the tiles of its output: see `_conv2d_cycles`.
    """

    mac: float
    weight: float
    output: float
    code_bytes: int


KERNELS: dict[str, KernelCost] = {
    "conv2d_dense": KernelCost(mac=0, weight=0, output=7, code_bytes=400),
    "conv2d_panel": KernelCost(mac=1.3, weight=0, output=11, code_bytes=900),
    "conv2d_delta": KernelCost(mac=0, weight=20, output=7, code_bytes=420),
    "conv2d_delta4": KernelCost(mac=0, weight=32, output=7, code_bytes=460),
    "conv2d_bitmap": KernelCost(mac=0, weight=38, output=7, code_bytes=480),
    "conv2d_block": KernelCost(mac=0, weight=70, output=7, code_bytes=460),
    "conv2d_codebook": KernelCost(mac=0, weight=52, output=7, code_bytes=445),
    "conv2d_huffman": KernelCost(mac=0, weight=135, output=7, code_bytes=410),
    "conv_transpose2d_dense": KernelCost(mac=6, weight=0, output=22, code_bytes=410),
    "conv_transpose2d_delta": KernelCost(mac=7.6, weight=55, output=22, code_bytes=480),
    "conv_transpose2d_delta4": KernelCost(mac=7.6, weight=65, output=22, code_bytes=515),
    "conv_transpose2d_bitmap": KernelCost(mac=7.6, weight=75, output=22, code_bytes=530),
    "conv_transpose2d_block": KernelCost(mac=7.6, weight=85, output=22, code_bytes=490),
    "conv_transpose2d_codebook": KernelCost(mac=7.6, weight=80, output=22, code_bytes=500),
    "conv_transpose2d_huffman": KernelCost(mac=7.6, weight=160, output=22, code_bytes=440),
    "linear_dense": KernelCost(mac=8.0, weight=0, output=22, code_bytes=112),
    "linear_panel": KernelCost(mac=1.68, weight=0, output=18, code_bytes=360),
    "linear_delta": KernelCost(mac=6.3, weight=0, output=62, code_bytes=360),
    "linear_delta4": KernelCost(mac=19.5, weight=0, output=32, code_bytes=200),
    "linear_bitmap": KernelCost(mac=28.5, weight=0, output=32, code_bytes=220),
    "linear_block": KernelCost(mac=4.7, weight=0, output=32, code_bytes=225),
    "linear_codebook": KernelCost(mac=35.0, weight=0, output=32, code_bytes=185),
    "linear_huffman": KernelCost(mac=118.0, weight=0, output=32, code_bytes=172),
    "recurrent_dense": KernelCost(mac=3.2, weight=0, output=400, code_bytes=650),
    "recurrent_delta": KernelCost(mac=19.5, weight=0, output=400, code_bytes=660),
    "recurrent_delta4": KernelCost(mac=28.0, weight=0, output=400, code_bytes=685),
    "recurrent_bitmap": KernelCost(mac=38.0, weight=0, output=400, code_bytes=730),
    "recurrent_block": KernelCost(mac=70.0, weight=0, output=400, code_bytes=690),
    "recurrent_codebook": KernelCost(mac=41.0, weight=0, output=400, code_bytes=665),
    "recurrent_huffman": KernelCost(mac=136.0, weight=0, output=400, code_bytes=680),
    "max_pool2d_int8": KernelCost(mac=0, weight=0, output=6.5, code_bytes=110),
    "clamp_int8": KernelCost(mac=0, weight=0, output=10, code_bytes=32),
    "flatten_int8": KernelCost(mac=0, weight=0, output=1, code_bytes=20),
    "avg_pool2d_int8": KernelCost(mac=9, weight=0, output=2, code_bytes=180),
    "adaptive_pool2d_int8": KernelCost(mac=9, weight=0, output=30, code_bytes=310),
    "mean_int8": KernelCost(mac=2.5, weight=0, output=15, code_bytes=80),
    "rearrange_int8": KernelCost(mac=0, weight=0, output=8, code_bytes=50),
    "concat_int8": KernelCost(mac=0, weight=0, output=0.8, code_bytes=70),
    "literal_int8": KernelCost(mac=0, weight=0, output=0.5, code_bytes=24),
    "pad_int8": KernelCost(mac=0, weight=0, output=2, code_bytes=150),
    "upsample_bilinear2d_int8": KernelCost(mac=3.2, weight=0, output=0, code_bytes=280),
    "add_int8": KernelCost(mac=9.5, weight=0, output=0, code_bytes=148),
    "mul_int8": KernelCost(mac=15, weight=0, output=0, code_bytes=62),
    "scale_shift_int8": KernelCost(mac=7.6, weight=0, output=0, code_bytes=148),
    "prelu_int8": KernelCost(mac=0, weight=0, output=21, code_bytes=100),
    "softmax_int8": KernelCost(mac=0, weight=0, output=45, code_bytes=130),
    "layer_norm_int8": KernelCost(mac=0, weight=0, output=50, code_bytes=400),
    "history_int8": KernelCost(mac=0, weight=0, output=3, code_bytes=70),
    "lookup_int8": KernelCost(mac=0, weight=0, output=7, code_bytes=90),
}

# A convolution's output in the tiles of include/deepcompress/kernels/conv2d_taps_dsp.h: cycles a
# tap of the output channel, and cycles a tile beside. Narrow sums take the first two.
_TILES = {
    "narrow sixteen": (30.0, 58.0),
    "narrow eight": (17.0, 45.0),
    "eight": (21.0, 45.0),
    "eight by two": (23.0, 45.0),
    "four": (17.5, 30.0),
    "one": (9.5, 12.0),
}

# Without the DSP extension, or where a zero point is taken off each input.
_PORTABLE = {
    "linear_panel": KernelCost(mac=14.0, weight=0, output=32, code_bytes=400),
    "recurrent_dense": KernelCost(mac=8.0, weight=0, output=400, code_bytes=610),
    "linear_delta": KernelCost(mac=12.0, weight=0, output=32, code_bytes=180),
    "linear_block": KernelCost(mac=6.5, weight=0, output=32, code_bytes=225),
    "conv2d_panel": KernelCost(mac=12.0, weight=0, output=40, code_bytes=900),
    "mean_int8": KernelCost(mac=7.0, weight=0, output=20, code_bytes=60),
    "add_int8": KernelCost(mac=17.0, weight=0, output=0, code_bytes=70),
    "scale_shift_int8": KernelCost(mac=15.0, weight=0, output=0, code_bytes=88),
}

# With the vector extension, in instructions, for Arm publishes no timing of it. Dense layers; the
# output of a pooling layer counts once for each value of its window.
_VECTORS = {
    "conv2d_dense": KernelCost(mac=0.17, weight=0, output=9, code_bytes=520),
    "linear_dense": KernelCost(mac=0.16, weight=0, output=8, code_bytes=240),
}

# They copy each value of a convolution's windows, four positions at a time.
_VECTOR_COLUMN_INSTRUCTIONS = 1.3

# Other convolutions, twelve outputs or twenty-four at a time (kernels/conv2d_taps_mve.h): by tap
# and by channel for each position in a pooling window, by channel beside.
_VECTOR_TAPS = (9.0, 15.0, 65.0)
_VECTOR_TAPS_CODE_BYTES = 300

# A convolution in panels copies each value of its windows, at each position.
_COLUMN_CYCLES = 5.5

# To read a dense convolution's weight, zero or not.
_DENSE_WEIGHT_CYCLES = 17

# The copy of its input that padding asks for, and narrow sums, a byte.
_COPY_CYCLES = 2.0

# Against Cortex-M4 at zero wait states; the M55's are instructions.
_FAMILY_FACTOR = {"m0": 1.7, "m3": 1.2, "m7": 0.6, "m33": 0.9, "m55": 0.8}

# The decoder that all layers of an encoding call.
SHARED_CODE_BYTES = {"huffman": 170}

# For a kernel to take the zero point off, and to widen the bias that is narrower for it.
UNFOLDED_CODE_BYTES = 14

# By positions at a time; sixteen bring a loop for eight besides. Pointwise ones have one row.
_TILES_CODE_BYTES = {4: 0, 8: 200, 16: 550}
_POINTWISE_CODE_BYTES = -130

# The copy of a padded convolution's input.
PADDING_CODE_BYTES = 95

# The function that calls the layers, the input's conversion, the labels' look-up.
MODEL_CODE_BYTES = 420


def _kernel_name(node: IntegerNode, encoding: str | None) -> str:
    """The row of `KERNELS` that a node with weights in this encoding runs."""
    op = {"linear_rows": "linear", "gru": "recurrent", "lstm": "recurrent"}.get(node.op, node.op)
    return f"{op}_{encoding or 'int8'}"


def estimate(
    node: IntegerNode, weight: EncodedWeight | None, stored: int, output: Shape, cpu: str
) -> Cost:
    """The cost of one layer.

    Args:
        stored: weights that the kernel multiplies by: all if dense, the non-zeros if sparse.
        output: shape of the output.
    """
    core = find(cpu)
    encoding = weight.encoding if weight else None
    name = _kernel_name(node, encoding)
    if core.has_mve and name in _VECTORS and node.attributes.groups == 1:
        return _dense_by_vectors(node, _VECTORS[name], output)
    if core.has_mve and node.op == "conv2d" and encoding != "panel":
        return _taps_by_vectors(node, weight, stored, output)
    by_dsp = core.has_dsp and not (weight and weight.zero_point)
    kernel = KERNELS[name] if by_dsp else _PORTABLE.get(name, KERNELS[name])
    macs = OPERATORS[node.op].macs(node.attributes, stored, output)
    outputs = prod(output) * (prod(node.attributes.kernel) if node.op == "max_pool2d" else 1)
    cycles = kernel.mac * macs + kernel.weight * stored + kernel.output * outputs
    code_bytes = kernel.code_bytes
    if node.op == "conv2d":
        tiles = weight.tiles if core.has_dsp else 4
        cycles += _conv2d_cycles(node, encoding, stored, output, tiles)
        code_bytes += _conv2d_code_bytes(node.attributes, encoding, tiles)
    if weight is not None and weight.zero_point:
        cycles += stored
        code_bytes += UNFOLDED_CODE_BYTES
    factor = _FAMILY_FACTOR.get(core.family, 1.0)
    return Cost(round(cycles * factor), code_bytes, macs)


def _dense_by_vectors(node: IntegerNode, kernel: KernelCost, output: Shape) -> Cost:
    """A dense layer's, zeros and all, with the vector extension."""
    channels, columns = node.weight.shape
    macs = OPERATORS[node.op].macs(node.attributes, node.weight.size, output)
    instructions = kernel.mac * macs + kernel.output * macs / columns
    code_bytes = kernel.code_bytes
    if node.op == "conv2d":
        instructions += _VECTOR_COLUMN_INSTRUCTIONS * macs / channels
        code_bytes += _shape_code_bytes(node.attributes)
    return Cost(round(instructions), code_bytes, macs)


def _taps_by_vectors(node: IntegerNode, weight: EncodedWeight, stored: int, output: Shape) -> Cost:
    """A convolution's, weight by weight, with the vector extension."""
    a: Conv2d = node.attributes
    kernel = KERNELS[f"conv2d_{weight.encoding}"]
    pool = prod(a.pool.kernel) if a.pool else 1
    size = 24 if weight.tiles == 16 else 12
    by_tap, by_position, by_channel = _VECTOR_TAPS
    position = by_tap * stored + by_position * a.out_channels
    instructions = -(-prod(output[1:]) // size) * (pool * position + by_channel * a.out_channels)
    read = _DENSE_WEIGHT_CYCLES * node.weight.size if weight.encoding == "dense" else 0
    copied = _copy_cycles(a, prod(output[1:]) * pool) if any(a.padding) else 0
    instructions += _FAMILY_FACTOR["m55"] * (kernel.weight * stored + read + copied)
    code_bytes = kernel.code_bytes + _VECTOR_TAPS_CODE_BYTES + _shape_code_bytes(a)
    return Cost(round(instructions), code_bytes, OPERATORS[node.op].macs(a, stored, output))


def _copy_cycles(a: Conv2d, positions: int) -> float:
    # What comes in is about as large as what goes out of all strides.
    return _COPY_CYCLES * a.in_channels * positions * prod(a.stride)


def _shape_code_bytes(a: Conv2d) -> int:
    """What the shape adds to `KernelCost.code_bytes`, or takes off."""
    padding = PADDING_CODE_BYTES if any(a.padding) else 0
    return padding + (_POINTWISE_CODE_BYTES if a.is_pointwise else 0)


def _conv2d_code_bytes(a: Conv2d, encoding: str | None, tiles: int) -> int:
    """What shape and tiles add to `KernelCost.code_bytes`."""
    if encoding == "panel":
        return _POINTWISE_CODE_BYTES if a.is_pointwise else 0
    return _TILES_CODE_BYTES[tiles] + _shape_code_bytes(a)


def _conv2d_cycles(
    node: IntegerNode, encoding: str | None, stored: int, output: Shape, tiles: int
) -> float:
    """What a convolution's products cost beside `KernelCost`."""
    a: Conv2d = node.attributes
    pool = a.pool.kernel if a.pool else (1, 1)
    positions = prod(output[1:]) * prod(pool)
    if encoding == "panel":
        return _COLUMN_CYCLES * node.weight.shape[1] * positions
    channels = a.out_channels
    cycles = sum(
        count * (_TILES[kind][0] * stored + _TILES[kind][1] * channels)
        for kind, count in conv2d_tiles(a, output, tiles).items()
    )
    read = _DENSE_WEIGHT_CYCLES * node.weight.size if encoding == "dense" else 0
    copies = any(a.padding) or tiles == 16
    return cycles + read + (_copy_cycles(a, positions) if copies else 0)


def conv2d_tiles(a: Conv2d, output: Shape, largest: int) -> dict[str, int]:
    """How many tiles of which kind an output channel is computed in, as conv2d_taps_dsp.h has them.

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
