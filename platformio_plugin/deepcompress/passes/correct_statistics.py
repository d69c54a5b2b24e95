"""Restores per-channel mean and standard deviation after one-shot pruning (bias correction).

A channel that lost weights has another mean and a smaller standard deviation than the next layers
were trained on. Both are measured on the calibration inputs, and restored by a factor on the
channel's weights and by its bias. Layers are corrected in execution order, each on inputs from
corrected layers. Means: Nagel et al., arXiv 1906.04721, section 4.2; standard deviations: Jordan et
al., arXiv 2211.08403. No labels are needed.

A network that was fine-tuned after pruning has the right statistics already, and correcting them
again would lower its accuracy. So the correction is kept only if it brings the outputs of the
pruned network closer to those of the original.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.data.calibration import Calibration
from deepcompress.execute.float_torch import forward_numpy, sums_of
from deepcompress.ir.arrays import Float32Array, frozen
from deepcompress.ir.batch_layout import split
from deepcompress.ir.graph import Graph, Node
from deepcompress.ops import OPERATORS
from deepcompress.ops.clamp import limit

if TYPE_CHECKING:
    import torch

# A channel with less than this share of its intended standard deviation is constant up to noise.
_LEAST_SPREAD = 1e-4


def correct_statistics(pruned: Graph, original: Graph, calibration: Calibration) -> Graph:
    """The pruned graph, with its statistics corrected if that helps.

    Args:
        original: the same nodes with all of their weights.
        calibration: if its inputs are synthetic, nothing is corrected.
    """
    if pruned is original or calibration.synthetic:
        return pruned
    corrected = _restore_statistics(pruned, original, calibration.inputs)
    expected = forward_numpy(original, calibration.inputs)
    return min(
        (pruned, corrected),
        key=lambda graph: _disagreement(forward_numpy(graph, calibration.inputs), expected),
    )


def _disagreement(actual: Float32Array, expected: Float32Array) -> float:
    """Share of samples with another top-1 class; for a single output, the mean squared error."""
    actual, expected = (scores.reshape(len(scores), -1) for scores in (actual, expected))
    if expected.shape[1] == 1:
        return float(np.square(actual - expected).mean())
    return float(np.mean(actual.argmax(axis=1) != expected.argmax(axis=1)))


def _restore_statistics(pruned: Graph, original: Graph, inputs: Float32Array) -> Graph:
    import torch

    actual = split(pruned, pruned.inputs, torch.from_numpy(inputs))
    wanted = dict(actual)
    nodes = []
    with torch.no_grad():
        for node, intended in zip(pruned.nodes, original.nodes, strict=True):
            target, value = sums_of(intended, wanted), sums_of(node, actual)
            if OPERATORS[node.op].rows_are_channels:
                node = _with_statistics_of(target, value, node)
                value = sums_of(node, actual)
            wanted[node.output] = limit(target, node.clamp.minimum, node.clamp.maximum)
            actual[node.output] = limit(value, node.clamp.minimum, node.clamp.maximum)
            nodes.append(node)
    return replace(pruned, nodes=tuple(nodes))


def _with_statistics_of(target: torch.Tensor, value: torch.Tensor, node: Node) -> Node:
    """The node with each channel scaled and shifted to the target's mean and standard deviation.

    That is exact for a layer with fused max-pooling too, as the factors are positive. A channel of
    one value gets the mean of its target.
    """
    means, spreads = _statistics(value)
    wanted_means, wanted_spreads = _statistics(target)
    moves = spreads > _LEAST_SPREAD * wanted_spreads
    gain = np.divide(wanted_spreads, spreads, out=np.ones_like(spreads), where=moves)
    weight, bias = node.parameters["weight"], node.parameters["bias"]
    weight = weight * gain.reshape(-1, *[1] * (weight.ndim - 1))
    bias = wanted_means - (means - bias) * gain
    corrected = {"weight": frozen(weight), "bias": frozen(bias)}
    return replace(node, parameters={**node.parameters, **corrected})


def _statistics(value: torch.Tensor) -> tuple[Float32Array, Float32Array]:
    """Mean and standard deviation of each channel, float32 [channels]."""
    channels = value.transpose(0, 1).flatten(1)
    return channels.mean(dim=1).numpy(), channels.std(dim=1, correction=0).numpy()
