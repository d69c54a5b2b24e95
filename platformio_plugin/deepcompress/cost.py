"""What a layer costs in flash and cycles, before any compiler has run: the numbers choices use.

Fitted to the modelled cycles and the code sizes that arm-none-eabi-gcc 12 -O2 gives for Cortex-M4;
tests/test_cost.py holds the fit to within a third. Cores without a fast multiplier or unaligned
loads scale by their family's factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from deepcompress.cpus import find
from deepcompress.graph import EncodedWeight, IntegerNode
from deepcompress.ops import OPERATORS, Shape


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
    The output of a pooling layer counts once for each value of its window.
    """

    mac: float
    weight: float
    output: float
    code_bytes: int


KERNELS: dict[str, KernelCost] = {
    "conv2d_dense": KernelCost(mac=4.6, weight=0, output=35, code_bytes=330),
    "conv2d_delta": KernelCost(mac=5.1, weight=18, output=35, code_bytes=400),
    "conv2d_delta4": KernelCost(mac=5.1, weight=28, output=35, code_bytes=440),
    "conv2d_bitmap": KernelCost(mac=5.1, weight=34, output=35, code_bytes=460),
    "conv2d_block": KernelCost(mac=5.1, weight=70, output=35, code_bytes=440),
    "conv2d_codebook": KernelCost(mac=5.1, weight=48, output=35, code_bytes=425),
    "conv2d_huffman": KernelCost(mac=5.1, weight=135, output=35, code_bytes=390),
    "conv_transpose2d_dense": KernelCost(mac=6, weight=0, output=22, code_bytes=410),
    "conv_transpose2d_delta": KernelCost(mac=7.6, weight=55, output=22, code_bytes=480),
    "conv_transpose2d_delta4": KernelCost(mac=7.6, weight=65, output=22, code_bytes=515),
    "conv_transpose2d_bitmap": KernelCost(mac=7.6, weight=75, output=22, code_bytes=530),
    "conv_transpose2d_block": KernelCost(mac=7.6, weight=85, output=22, code_bytes=490),
    "conv_transpose2d_codebook": KernelCost(mac=7.6, weight=80, output=22, code_bytes=500),
    "conv_transpose2d_huffman": KernelCost(mac=7.6, weight=160, output=22, code_bytes=440),
    "linear_dense": KernelCost(mac=8.0, weight=0, output=22, code_bytes=112),
    "linear_delta": KernelCost(mac=12.0, weight=0, output=32, code_bytes=180),
    "linear_delta4": KernelCost(mac=19.5, weight=0, output=32, code_bytes=200),
    "linear_bitmap": KernelCost(mac=28.5, weight=0, output=32, code_bytes=220),
    "linear_block": KernelCost(mac=6.5, weight=0, output=32, code_bytes=225),
    "linear_codebook": KernelCost(mac=35.0, weight=0, output=32, code_bytes=185),
    "linear_huffman": KernelCost(mac=118.0, weight=0, output=32, code_bytes=172),
    "recurrent_dense": KernelCost(mac=8.0, weight=0, output=400, code_bytes=610),
    "recurrent_delta": KernelCost(mac=19.5, weight=0, output=400, code_bytes=660),
    "recurrent_delta4": KernelCost(mac=28.0, weight=0, output=400, code_bytes=685),
    "recurrent_bitmap": KernelCost(mac=38.0, weight=0, output=400, code_bytes=730),
    "recurrent_block": KernelCost(mac=70.0, weight=0, output=400, code_bytes=690),
    "recurrent_codebook": KernelCost(mac=41.0, weight=0, output=400, code_bytes=665),
    "recurrent_huffman": KernelCost(mac=136.0, weight=0, output=400, code_bytes=680),
    "max_pool2d_int8": KernelCost(mac=0, weight=0, output=6.5, code_bytes=110),
    "clamp_int8": KernelCost(mac=0, weight=0, output=10, code_bytes=32),
    "flatten_int8": KernelCost(mac=0, weight=0, output=1, code_bytes=20),
    "avg_pool2d_int8": KernelCost(mac=6, weight=0, output=30, code_bytes=220),
    "adaptive_pool2d_int8": KernelCost(mac=6, weight=0, output=60, code_bytes=260),
    "mean_int8": KernelCost(mac=5, weight=0, output=20, code_bytes=100),
    "add_int8": KernelCost(mac=12, weight=0, output=0, code_bytes=90),
    "mul_int8": KernelCost(mac=12, weight=0, output=0, code_bytes=90),
    "scale_shift_int8": KernelCost(mac=11, weight=0, output=0, code_bytes=70),
    "prelu_int8": KernelCost(mac=0, weight=0, output=21, code_bytes=100),
    "softmax_int8": KernelCost(mac=0, weight=0, output=45, code_bytes=130),
    "layer_norm_int8": KernelCost(mac=0, weight=0, output=50, code_bytes=400),
    "lookup_int8": KernelCost(mac=0, weight=0, output=7, code_bytes=90),
}

# Against Cortex-M4 at zero wait states.
_FAMILY_FACTOR = {"m0": 1.7, "m3": 1.2, "m7": 0.6, "m33": 0.9, "m55": 0.8}

# The decoder that all layers of an encoding call.
SHARED_CODE_BYTES = {"huffman": 170}

# For a kernel to take the zero point off, and to widen the bias that is narrower for it.
UNFOLDED_CODE_BYTES = 14

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
    kernel = KERNELS[_kernel_name(node, weight.encoding if weight else None)]
    macs = OPERATORS[node.op].macs(node.attributes, stored, output)
    outputs = prod(output) * (prod(node.attributes.kernel) if node.op == "max_pool2d" else 1)
    cycles = kernel.mac * macs + kernel.weight * stored + kernel.output * outputs
    code_bytes = kernel.code_bytes + (PADDING_CODE_BYTES if _is_padded(node) else 0)
    if weight is not None and weight.zero_point:
        cycles += stored
        code_bytes += UNFOLDED_CODE_BYTES
    factor = _FAMILY_FACTOR.get(find(cpu).family, 1.0)
    return Cost(round(cycles * factor), code_bytes, macs)


def _is_padded(node: IntegerNode) -> bool:
    return node.op == "conv2d" and any(node.attributes.padding)
