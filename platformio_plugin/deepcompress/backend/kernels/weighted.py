"""What kernels with weights share: encodings, zero points, and the cost of decoding.

The cost of an encoding in each loop that decodes it is in one table, `DECODERS`: adding an encoding
is one row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from deepcompress.backend.kernels.kernel import Cost, Kernel, Layer, Rate
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.graph import EncodedWeight, WeightedNode
from deepcompress.target.core import Cpu

# For a kernel to subtract the zero point, and to widen the bias that is narrower for it.
UNFOLDED_CODE_BYTES = 14


@dataclass(frozen=True)
class Decoder:
    """What weights of one encoding cost in each loop that decodes them one by one.

    Entropy-coded weights cost by the length of their codes; the rates hold between 16 values and
    a hundred.

    Attributes:
        shared_code_bytes: of a decoder that all layers of the encoding call.
    """

    conv2d: Rate
    conv_transpose2d: Rate
    linear: Rate
    recurrent: Rate
    shared_code_bytes: int = 0


DECODERS: Mapping[str, Decoder] = {
    "delta": Decoder(
        conv2d=Rate(weight=20, output=7, code_bytes=420),
        conv_transpose2d=Rate(mac=7.6, weight=55, output=22, code_bytes=480),
        linear=Rate(mac=12.0, output=32, code_bytes=180),
        recurrent=Rate(mac=19.5, output=400, code_bytes=660),
    ),
    "delta4": Decoder(
        conv2d=Rate(weight=32, output=7, code_bytes=460),
        conv_transpose2d=Rate(mac=7.6, weight=65, output=22, code_bytes=515),
        linear=Rate(mac=19.5, output=32, code_bytes=200),
        recurrent=Rate(mac=28.0, output=400, code_bytes=685),
    ),
    "bitmap": Decoder(
        conv2d=Rate(weight=38, output=7, code_bytes=480),
        conv_transpose2d=Rate(mac=7.6, weight=75, output=22, code_bytes=530),
        linear=Rate(mac=28.5, output=32, code_bytes=220),
        recurrent=Rate(mac=38.0, output=400, code_bytes=730),
    ),
    "block": Decoder(
        conv2d=Rate(weight=70, output=7, code_bytes=460),
        conv_transpose2d=Rate(mac=7.6, weight=85, output=22, code_bytes=490),
        linear=Rate(mac=6.5, output=32, code_bytes=225),
        recurrent=Rate(mac=70.0, output=400, code_bytes=690),
    ),
    "codebook": Decoder(
        conv2d=Rate(weight=52, output=7, code_bytes=445),
        conv_transpose2d=Rate(mac=7.6, weight=80, output=22, code_bytes=500),
        linear=Rate(mac=35.0, output=32, code_bytes=185),
        recurrent=Rate(mac=41.0, output=400, code_bytes=665),
    ),
    "huffman": Decoder(
        conv2d=Rate(weight=135, output=7, code_bytes=410),
        conv_transpose2d=Rate(mac=7.6, weight=160, output=22, code_bytes=440),
        linear=Rate(mac=118.0, output=32, code_bytes=172),
        recurrent=Rate(mac=136.0, output=400, code_bytes=680),
        shared_code_bytes=170,
    ),
}
# Encodings that store only some of the zeros, or none.
SPARSE = tuple(DECODERS)


def shared_code_bytes(encoding: str) -> int:
    """Flash of the decoder that all layers of an encoding call."""
    return DECODERS[encoding].shared_code_bytes if encoding in DECODERS else 0


@dataclass(frozen=True, kw_only=True)
class WeightedKernel(Kernel):
    """A kernel that multiplies by a weight matrix.

    Attributes:
        folded_only: encodings whose bias must contain the input's zero point.
    """

    folded_only: tuple[str, ...] = ()

    def accepts_bias(self, encoding: str, cpu: Cpu, *, folded: bool) -> bool:
        """Whether the bias may contain the input's zero point, or may not."""
        return folded or encoding not in self.folded_only

    def arrange(self, weight: Int8Array) -> Int8Array:
        """int8 [rows, columns] in the order in which the kernel reads it; its own inverse."""
        return weight

    def stored_weights(self, node: WeightedNode, encoding: str) -> int:
        """Weights that the kernel multiplies by: all if dense, the non-zeros if sparse."""
        return int(np.count_nonzero(node.weight))


def only(weight: EncodedWeight | None) -> EncodedWeight:
    """The weight of a layer that has one."""
    assert weight is not None
    return weight


def decoding_cost(
    kernel: WeightedKernel, layer: Layer, weight: EncodedWeight, rate: Rate, cpu: Cpu
) -> Cost:
    """The cost of a kernel that multiplies weight by weight, as it decodes them."""
    stored = kernel.stored_weights(layer.weighted, weight.encoding)
    macs = layer.macs(stored)
    cycles = rate.cycles(macs, stored, prod(layer.output))
    return total_cost(cycles, rate.code_bytes, macs, stored, weight, cpu)


def total_cost(
    cycles: float, code_bytes: int, macs: int, stored: int, weight: EncodedWeight, cpu: Cpu
) -> Cost:
    """Adds what it costs to subtract the input's zero point, and scales to the core."""
    if weight.zero_point:
        cycles += stored
        code_bytes += UNFOLDED_CODE_BYTES
    return Cost(round(cycles * cpu.cycle_factor), code_bytes, macs)
