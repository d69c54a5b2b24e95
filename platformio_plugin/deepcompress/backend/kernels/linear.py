"""Kernels of Linear, on one vector and on each row of a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from deepcompress.backend.kernels.c_struct import CStruct, RequantizeParameters
from deepcompress.backend.kernels.kernel import DSP, MVE, Cost, Layer, Rate, by_core
from deepcompress.backend.kernels.weighted import (
    DECODERS,
    SPARSE,
    WeightedKernel,
    decoding_cost,
    only,
)
from deepcompress.encodings import block
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.graph import EncodedWeight, WeightedNode
from deepcompress.target.core import Cpu


@dataclass(frozen=True)
class LinearParameters(CStruct):
    """See include/deepcompress/kernels/linear_layer.h."""

    c_type = "dc_linear"

    rows: int
    in_features: int
    out_features: int
    requantize: RequantizeParameters


@dataclass(frozen=True, kw_only=True)
class LinearKernel(WeightedKernel):
    """What all kernels of Linear have in common."""

    header: str = "linear"
    operators: tuple[str, ...] = ("linear", "linear_rows")

    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        out_features, in_features = layer.weighted.weight.shape
        rows = prod(layer.output) // out_features
        requantize = RequantizeParameters.of(layer.node)
        return LinearParameters(rows, in_features, out_features, requantize)


@dataclass(frozen=True, kw_only=True)
class _Rated(LinearKernel):
    """A kernel of one encoding.

    Attributes:
        rate: on a core with the DSP extension.
        portable_rate: on other cores, if it is another.
    """

    rate: Rate
    portable_rate: Rate | None = None

    def cost(self, layer: Layer, weight: EncodedWeight | None, cpu: Cpu) -> Cost:
        rate = self.rate
        if self.portable_rate and "dsp" not in cpu.features:
            rate = self.portable_rate
        return decoding_cost(self, layer, only(weight), rate, cpu)

    def rates(self) -> dict[str, str]:
        return by_core(self.rate, self.portable_rate)


@dataclass(frozen=True, kw_only=True)
class _Dense(_Rated):
    def stored_weights(self, node: WeightedNode, encoding: str) -> int:
        return node.weight.size


@dataclass(frozen=True, kw_only=True)
class _DenseMve(_Dense):
    """Its costs are instructions, because Arm publishes no timing."""

    def cost(self, layer: Layer, weight: EncodedWeight | None, cpu: Cpu) -> Cost:
        macs = layer.macs(layer.weighted.weight.size)
        columns = layer.weighted.weight.shape[1]
        instructions = self.rate.mac * macs + self.rate.output * macs / columns
        return Cost(round(instructions), self.rate.code_bytes, macs)

    def rates(self) -> dict[str, str]:
        return {"": f"{self.rate} (instructions)"}


@dataclass(frozen=True, kw_only=True)
class _Panel(_Dense):
    """It unpacks four inputs at a time, in the order 0, 2, 1, 3."""

    def arrange(self, weight: Int8Array) -> Int8Array:
        order = np.arange(weight.shape[1])
        fours = order[: len(order) // 4 * 4].reshape(-1, 4)
        fours[:, 1:3] = fours[:, 2:0:-1].copy()
        return weight[:, order]


@dataclass(frozen=True, kw_only=True)
class _Block(_Rated):
    def stored_weights(self, node: WeightedNode, encoding: str) -> int:
        return block.stored_weights(node.weight)


@dataclass(frozen=True, kw_only=True)
class _Sparse(LinearKernel):
    """Weight by weight. Where delta has a kernel of its own, it reads unfolded weights only."""

    def accepts_bias(self, encoding: str, cpu: Cpu, *, folded: bool) -> bool:
        return not (folded and encoding == "delta" and "dsp" in cpu.features)

    def cost(self, layer: Layer, weight: EncodedWeight | None, cpu: Cpu) -> Cost:
        rate = DECODERS[only(weight).encoding].linear
        return decoding_cost(self, layer, only(weight), rate, cpu)

    def rates(self) -> dict[str, str]:
        return {name: str(DECODERS[name].linear) for name in self.encodings}


KERNELS = (
    _Dense(
        name="linear_dense_c",
        superseded_by=MVE,
        encodings=("dense",),
        folded_only=("dense",),
        rate=Rate(mac=8.0, output=22, code_bytes=112),
    ),
    _DenseMve(
        name="linear_dense_mve",
        features=MVE,
        encodings=("dense",),
        folded_only=("dense",),
        rate=Rate(mac=0.16, output=8, code_bytes=240),
    ),
    _Panel(
        name="linear_panel",
        encodings=("panel",),
        folded_only=("panel",),
        rate=Rate(mac=1.68, output=18, code_bytes=360),
        portable_rate=Rate(mac=14.0, output=32, code_bytes=400),
    ),
    _Block(
        name="linear_block",
        encodings=("block",),
        folded_only=("block",),
        rate=Rate(mac=4.7, output=32, code_bytes=225),
        portable_rate=DECODERS["block"].linear,
    ),
    _Rated(
        name="linear_delta_dsp",
        features=DSP,
        encodings=("delta",),
        folded_only=("delta",),
        rate=Rate(mac=6.3, output=62, code_bytes=360),
    ),
    _Sparse(
        name="linear_sparse",
        encodings=tuple(name for name in SPARSE if name != "block"),
        takes_encoding=True,
    ),
)
