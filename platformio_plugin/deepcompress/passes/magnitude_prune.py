"""Magnitude pruning to a given sparsity, without data.

Han et al., Learning both Weights and Connections (arXiv 1506.02626). Weights that are zero in the
model file stay zero and count: a model that was pruned in training loses no further weights at the
same sparsity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from deepcompress.errors import UserError, did_you_mean, setting
from deepcompress.ir.arrays import Float32Array, frozen
from deepcompress.ir.graph import Graph, Node


def magnitude_prune(
    graph: Graph, *, sparsity: float | dict[str, float] | None, scope: str = "layer"
) -> Graph:
    """The graph with its smallest weights set to zero.

    Args:
        sparsity: share of weights that are zero afterwards, 0 <= sparsity < 1: one number, or a
            number by layer name; None for no pruning.
        scope: "global" prunes the smallest weights of
            the whole network, so that layers may end at different shares; any other value prunes
            every layer to that share.

    Raises:
        UserError: a layer name that is not in the graph.
    """
    if sparsity is None:
        return graph
    layers = {node.name: node.parameters["weight"] for node in weighted_nodes(graph)}
    if isinstance(sparsity, dict):
        _check_names(layers, sparsity)
        thresholds = {name: _threshold([layers[name]], s) for name, s in sparsity.items()}
    elif scope == "global":
        thresholds = dict.fromkeys(layers, _threshold(list(layers.values()), sparsity))
    else:
        thresholds = {name: _threshold([weight], sparsity) for name, weight in layers.items()}
    nodes = (
        _zero_weights(node, thresholds[node.name]) if node.name in thresholds else node
        for node in graph.nodes
    )
    return replace(graph, nodes=tuple(nodes))


def weighted_nodes(graph: Graph) -> list[Node]:
    """The nodes with a parameter `weight`."""
    return [node for node in graph.nodes if "weight" in node.parameters]


def _check_names(layers: Mapping[str, Float32Array], sparsity: dict[str, float]) -> None:
    for name in sparsity:
        if name not in layers:
            raise UserError(
                f"the model has no layer {name} with weights{did_you_mean(name, list(layers))}",
                f"option {setting('sparsity')}",
                f"Its layers are {', '.join(layers)}",
            )


def _threshold(weights: list[Float32Array], sparsity: float) -> float:
    """The largest magnitude that becomes zero; -1 if none does."""
    magnitudes = np.sort(np.abs(np.concatenate([weight.ravel() for weight in weights])))
    count = round(sparsity * len(magnitudes))
    return float(magnitudes[count - 1]) if count else -1.0


def _zero_weights(node: Node, threshold: float) -> Node:
    """The node with the weights up to a magnitude set to zero."""
    weight = node.parameters["weight"]
    kept = np.where(np.abs(weight) <= threshold, 0, weight).astype(np.float32)
    return replace(node, parameters={**node.parameters, "weight": frozen(kept)})
