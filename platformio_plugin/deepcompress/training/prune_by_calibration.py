"""Pruning by calibration data, without labels: the option `prune = auto`.

There are up to three candidates: the smallest weights pruned, the remaining ones solved for layer
by layer, and a network that learned from the original while it was pruned. The one whose outputs
are nearest to the original's, on samples held out of all that, is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter

import numpy as np

from deepcompress.data.calibration import Calibration
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.ir.batch_layout import split
from deepcompress.ir.graph import Graph
from deepcompress.ops import OPERATORS
from deepcompress.options import Options
from deepcompress.passes.layer_inputs import held_out
from deepcompress.passes.magnitude_prune import magnitude_prune, weighted_nodes
from deepcompress.passes.reconstruct import reconstruct
from deepcompress.training.distill import Target, allocate, distill, seconds_per_step

# Below this share of the variance of the outputs, distillation has nothing to gain.
_GOOD_ENOUGH = 1e-3
# Distillation with distill = auto: steps, and multiplications, of a few minutes on two cores.
_MOST_STEPS, _LEAST_STEPS, _MOST_MACS = 2000, 100, 4e12
_BATCH_PASSES = 64 * 4  # samples per step; the teacher's pass, and forward and backward


def prune_once(
    graph: Graph,
    calibration: Calibration,
    options: Options,
    progress: Callable[[str], None] = lambda line: None,
) -> Graph:
    """The graph pruned to `sparsity`, without labels.

    Args:
        calibration: with real inputs.
        progress: called with a line of text now and then.

    Raises:
        UserError: a layer name in `sparsity` that is not in the graph.
    """
    one_number = not isinstance(options.sparsity, dict)
    scope = "global" if one_number else "layer"
    smallest = magnitude_prune(graph, sparsity=options.sparsity, scope=scope)
    wanted, total = _nonzeros(smallest), None
    if wanted == _nonzeros(graph):
        return smallest
    if one_number:
        total = sum(wanted.values())
        wanted = allocate(graph, calibration, total)
    errors: list[tuple[float, Graph]] = []

    def consider(candidate: Graph) -> float:
        errors.append((_error(candidate, graph, calibration), candidate))
        return errors[-1][0]

    consider(smallest)
    solved = consider(reconstruct(graph, calibration, wanted, progress))
    steps = _steps(graph, calibration, options) if solved > _GOOD_ENOUGH else 0
    if steps:
        target = Target(total, {} if total else wanted)
        consider(
            distill(graph, calibration, target, steps=steps, seed=options.seed, progress=progress)
        )
    return min(errors, key=lambda pair: pair[0])[1]


def _nonzeros(graph: Graph) -> Mapping[str, int]:
    return {
        node.name: int(np.count_nonzero(node.parameters["weight"]))
        for node in weighted_nodes(graph)
    }


def _error(candidate: Graph, graph: Graph, calibration: Calibration) -> float:
    """Mean over the outputs of squared error in relation to variance, on held-out samples."""
    judge = held_out(len(calibration.inputs), calibration.chunks)[1]
    inputs = calibration.inputs[judge]
    wanted = split(graph, graph.outputs, forward_numpy(graph, inputs))
    actual = split(graph, graph.outputs, forward_numpy(candidate, inputs))
    errors = [
        float(np.square(actual[name] - values).mean() / max(values.var(axis=0).mean(), 1e-12))
        for name, values in wanted.items()
    ]
    return float(np.mean(errors))


def _steps(graph: Graph, calibration: Calibration, options: Options) -> int:
    if options.distill == 0:
        return 0
    if isinstance(options.distill, str):
        macs = sum(
            OPERATORS[node.op].macs(
                node.attributes, node.parameters["weight"].size, graph.tensors[node.output].shape
            )
            for node in weighted_nodes(graph)
        )
        steps = min(_MOST_STEPS, int(_MOST_MACS / (max(macs, 1) * _BATCH_PASSES)))
        return steps if steps >= _LEAST_STEPS else 0
    began = perf_counter()
    seconds = seconds_per_step(graph, calibration)
    left = 60 * options.distill - (perf_counter() - began)
    return max(_LEAST_STEPS, int(left / seconds))
