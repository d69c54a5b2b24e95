"""A linear latency model per layer: cycles per non-zero weight and per output channel.

Retraining estimates speed with it while it prunes. The model is fitted to two compiled networks,
which one-shot pruning to two sparsities makes: their difference gives the cycles per weight of
each layer, the rest is divided among its output channels. No kernel is named here. Where latency
is not linear (a layer whose best encoding changes with its density), `Budgets` corrects the
estimate by the compiled network of each epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from deepcompress.data.calibration import Calibration
from deepcompress.ir.graph import Graph
from deepcompress.options import Options
from deepcompress.training.compiled import Compiled, compile_candidate, has_narrow_sums

# The range of sparsities at which retraining ends where cycles count.
_SPARSITIES = (0.8, 0.95)
_MIN_CYCLES_PER_WEIGHT = 1e-3


@dataclass(frozen=True)
class LatencyModel:
    """Estimated cycles of one inference.

    Attributes:
        per_weight: cycles per non-zero weight, by layer.
        per_channel: cycles per output channel, by layer.
        constant: cycles of the layers without weights.
        narrow_sums: whether kernels are faster if a convolution's sums fit int16.
    """

    per_weight: Mapping[str, float]
    per_channel: Mapping[str, float]
    constant: float = 0.0
    narrow_sums: bool = False


def measure_latency(graph: Graph, calibration: Calibration, options: Options) -> LatencyModel:
    """The latency model of a graph for the kernels and the CPU of the options."""
    denser, sparser = (
        _pruned_and_compiled(graph, calibration, options, sparsity) for sparsity in _SPARSITIES
    )
    per_weight, per_channel = {}, {}
    for name, layer in sparser.layers.items():
        other = denser.layers[name]
        weights = other.nonzeros - layer.nonzeros
        slope = (other.cycles - layer.cycles) / weights if weights else 0.0
        per_weight[name] = max(_MIN_CYCLES_PER_WEIGHT, slope)
        rest = layer.cycles - per_weight[name] * layer.nonzeros
        per_channel[name] = max(0.0, rest / layer.rows)
    return LatencyModel(
        per_weight, per_channel, sparser.cycles_without_weights, has_narrow_sums(options)
    )


def dense_cycles(graph: Graph, latency: LatencyModel) -> float:
    """Cycles of one inference with all weights, at the cycles per weight of sparse layers."""
    shapes = {n.name: n.parameters["weight"].shape for n in graph.nodes if "weight" in n.parameters}
    layers = (
        prod(shape) * latency.per_weight[name] + shape[0] * latency.per_channel[name]
        for name, shape in shapes.items()
    )
    cycles: float = latency.constant + sum(layers)
    return cycles


def _pruned_and_compiled(
    graph: Graph, calibration: Calibration, options: Options, sparsity: float
) -> Compiled:
    pruned = replace(options, sparsity=sparsity, prune="layer", retrain=False)
    return compile_candidate(graph, calibration, pruned)
