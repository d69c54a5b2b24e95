"""Kernels of GRU and LSTM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepcompress.backend.kernels.c_struct import CStruct, RequantizeParameters
from deepcompress.backend.kernels.kernel import Cost, Layer, Rate, Scratch, by_core
from deepcompress.backend.kernels.weighted import (
    DECODERS,
    SPARSE,
    WeightedKernel,
    decoding_cost,
    only,
)
from deepcompress.ir.graph import Array, EncodedWeight, WeightedNode
from deepcompress.ops.recurrent import TANH_TABLE, Recurrent
from deepcompress.target.core import Cpu


@dataclass(frozen=True)
class RecurrentParameters(CStruct):
    """See include/deepcompress/kernels/recurrent.h."""

    steps: int
    features: int
    hidden: int
    last: int
    stateful: int
    shared: int
    hidden_multiplier: Array
    hidden_bias: Array | None
    requantize: RequantizeParameters


class GruParameters(RecurrentParameters):
    c_type = "dc_gru"


class LstmParameters(RecurrentParameters):
    c_type = "dc_lstm"


_TANH_TABLE = Array("dc_tanh_table", TANH_TABLE.astype(np.int16), "tanh in steps of 2^-15")
_PARAMETERS = {"gru": GruParameters, "lstm": LstmParameters}


@dataclass(frozen=True, kw_only=True)
class RecurrentKernel(WeightedKernel):
    """A kernel of GRU or LSTM, for dense and sparse rows.

    Attributes:
        state_bytes: per unit: what it keeps, its last output and its next one.
        dense_rate: of dense weights on a core with the DSP extension.
        dense_portable_rate: of dense weights on other cores.
    """

    encodings: tuple[str, ...] = ("dense", *SPARSE)
    takes_encoding: bool = True
    takes_scratch: bool = True
    scratch_text: str = "per unit: its state, its last output and its next output"
    state_bytes: int
    dense_rate: Rate
    dense_portable_rate: Rate

    def accepts_bias(self, encoding: str, cpu: Cpu, *, folded: bool) -> bool:
        return folded

    def stored_weights(self, node: WeightedNode, encoding: str) -> int:
        return node.weight.size if encoding == "dense" else super().stored_weights(node, encoding)

    def scratch(self, layer: Layer, weight: EncodedWeight | None) -> Scratch:
        a = layer.attributes(Recurrent)
        return Scratch(self.state_bytes * a.hidden, start=0 if a.stateful else None)

    def library_arrays(self) -> tuple[Array, ...]:
        return (_TANH_TABLE,)

    def parameters(self, layer: Layer, weight: EncodedWeight | None) -> CStruct:
        a = layer.attributes(Recurrent)
        tables = {table.name: table for table in layer.node.tables}
        return _PARAMETERS[layer.node.op](
            steps=a.steps,
            features=a.features,
            hidden=a.hidden,
            last=int(a.last),
            stateful=int(a.stateful),
            shared=layer.node.fields["shared"],
            hidden_multiplier=tables["hidden_multiplier"],
            hidden_bias=tables.get("hidden_bias"),
            requantize=RequantizeParameters.of(layer.node),
        )

    def cost(self, layer: Layer, weight: EncodedWeight | None, cpu: Cpu) -> Cost:
        return decoding_cost(self, layer, only(weight), self._rate(only(weight), cpu), cpu)

    def rates(self) -> dict[str, str]:
        dense = by_core(self.dense_rate, self.dense_portable_rate)
        decoded = {name: str(DECODERS[name].recurrent) for name in SPARSE}
        return {f"dense, {core}": text for core, text in dense.items()} | decoded

    def _rate(self, weight: EncodedWeight, cpu: Cpu) -> Rate:
        if weight.encoding != "dense":
            return DECODERS[weight.encoding].recurrent
        return self.dense_rate if "dsp" in cpu.features else self.dense_portable_rate


def _kernel(operator: str, state_bytes: int) -> RecurrentKernel:
    return RecurrentKernel(
        name=f"{operator}_int8",
        header=operator,
        operators=(operator,),
        state_bytes=state_bytes,
        dense_rate=Rate(mac=3.2, output=400, code_bytes=650),
        dense_portable_rate=Rate(mac=8.0, output=400, code_bytes=610),
    )


# The state is int16 in a GRU, int32 in an LSTM.
KERNELS = (_kernel("gru", 2 + 1 + 1), _kernel("lstm", 4 + 1 + 1))
