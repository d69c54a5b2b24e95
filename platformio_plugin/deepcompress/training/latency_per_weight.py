"""How many cycles each layer's weights and channels cost: by what retraining estimates speed.

Nothing here knows a kernel. The network is pruned in one go to two sparsities and compiled as it
will be; two compiled networks tell what a weight more costs in each layer, and what is left is
what its output channels cost. Where that is not a straight line (a layer whose best encoding
changes with its density), retraining corrects it by the network that it really has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from deepcompress.data.calibration import Calibration
from deepcompress.ir.graph import Graph, Plan, WeightedNode
from deepcompress.options import Options
from deepcompress.pipeline.graph_to_plan import gains_by_narrow, graph_to_plan

# Retraining ends about here, at what counts in cycles.
_SPARSITIES = (0.8, 0.95)
# So that the cheapest weight still has a price.
_LEAST = 1e-3


@dataclass(frozen=True)
class Pace:
    """Attributes: `weights` cycles of a non-zero weight, by layer; `channels` those of an output
    channel besides; `rest` all cycles of layers without weights; `narrow` whether kernels gain
    where a convolution's sums fit int16."""

    weights: Mapping[str, float]
    channels: Mapping[str, float]
    rest: float = 0.0
    narrow: bool = False


def measure_pace(graph: Graph, calibration: Calibration, options: Options) -> Pace:
    """What the options' kernels on the options' CPU make of weights and channels."""
    denser, sparser = (
        _Layers.of(_compiled(graph, calibration, options, sparsity)) for sparsity in _SPARSITIES
    )
    weights, channels = {}, {}
    for name, cycles in sparser.cycles.items():
        more = denser.nonzeros[name] - sparser.nonzeros[name]
        weights[name] = max(_LEAST, (denser.cycles[name] - cycles) / more if more else 0.0)
        left = cycles - weights[name] * sparser.nonzeros[name]
        channels[name] = max(0.0, left / sparser.rows[name])
    return Pace(weights, channels, sparser.rest, gains_by_narrow(options))


def dense_cycles(graph: Graph, pace: Pace) -> float:
    """What an inference would take with all weights, at the price of the sparse ones."""
    shapes = {n.name: n.parameters["weight"].shape for n in graph.nodes if "weight" in n.parameters}
    layers = (prod(s) * pace.weights[n] + s[0] * pace.channels[n] for n, s in shapes.items())
    return pace.rest + sum(layers)


def _compiled(graph: Graph, calibration: Calibration, options: Options, sparsity: float) -> Plan:
    pruned = replace(options, sparsity=sparsity, prune="layer", retrain=False)
    return graph_to_plan(graph, calibration, pruned)[1]


@dataclass(frozen=True)
class _Layers:
    """Of the layers with weights: estimated cycles, non-zeros and output channels, by name."""

    cycles: Mapping[str, int]
    nonzeros: Mapping[str, int]
    rows: Mapping[str, int]
    rest: int

    @classmethod
    def of(cls, plan: Plan) -> _Layers:
        weighted = [step for step in plan.steps if isinstance(step.node, WeightedNode)]
        return cls(
            {step.node.name: step.cycles for step in weighted},
            {step.node.name: int(np.count_nonzero(step.node.weight)) for step in weighted},
            {step.node.name: len(step.node.weight) for step in weighted},
            sum(step.cycles for step in plan.steps if not isinstance(step.node, WeightedNode)),
        )
