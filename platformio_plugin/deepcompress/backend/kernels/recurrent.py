"""Kernels of GRU and LSTM."""

from __future__ import annotations

from dataclasses import dataclass

from deepcompress.backend.kernels.c_struct import CStruct, RequantizeParameters
from deepcompress.backend.kernels.kernel import Cost, Layer, Rate, Scratch
from deepcompress.backend.kernels.weighted import (
    DECODERS,
    SPARSE,
    WeightedKernel,
    decoding_cost,
    only,
)
from deepcompress.ir.graph import Array, EncodedWeight, WeightedNode
from deepcompress.ops.recurrent import Recurrent
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


_PARAMETERS = {"gru": GruParameters, "lstm": LstmParameters}


@dataclass(frozen=True, kw_only=True)
class RecurrentKernel(WeightedKernel):
    """A kernel of GRU or LSTM.

    Attributes:
        state_bytes: per unit: what it keeps, its last output and its next one.
    """

    takes_scratch: bool = True
    state_bytes: int

    def accepts_bias(self, encoding: str, cpu: Cpu, *, folded: bool) -> bool:
        return folded

    def scratch(self, layer: Layer, weight: EncodedWeight | None) -> Scratch:
        a = layer.attributes(Recurrent)
        return Scratch(self.state_bytes * a.hidden, start=0 if a.stateful else None)

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
        rate = DECODERS[only(weight).encoding].recurrent
        return decoding_cost(self, layer, only(weight), rate, cpu)


@dataclass(frozen=True, kw_only=True)
class _Dense(RecurrentKernel):
    rate: Rate
    portable_rate: Rate

    def stored_weights(self, node: WeightedNode, encoding: str) -> int:
        return node.weight.size

    def cost(self, layer: Layer, weight: EncodedWeight | None, cpu: Cpu) -> Cost:
        rate = self.rate if "dsp" in cpu.features else self.portable_rate
        return decoding_cost(self, layer, only(weight), rate, cpu)


def _of(operator: str, state_bytes: int) -> tuple[RecurrentKernel, ...]:
    common = {
        "header": operator,
        "function": f"dc_{operator}_int8",
        "operators": (operator,),
        "state_bytes": state_bytes,
    }
    return (
        _Dense(
            name=f"{operator}_dense",
            **common,
            encodings=("dense",),
            rate=Rate(mac=3.2, output=400, code_bytes=650),
            portable_rate=Rate(mac=8.0, output=400, code_bytes=610),
        ),
        RecurrentKernel(name=f"{operator}_sparse", **common, encodings=SPARSE),
    )


# The state is int16 in a GRU, int32 in an LSTM.
KERNELS = (*_of("gru", 2 + 1 + 1), *_of("lstm", 4 + 1 + 1))
