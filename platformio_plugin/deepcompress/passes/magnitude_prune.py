"""Which weights are zero: magnitude pruning to a given sparsity, without data.

Han et al., Learning both Weights and Connections (arXiv 1506.02626). Zeros that the model brings
are kept: a model that was pruned in training loses nothing here.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deepcompress.errors import UserError, did_you_mean, setting
from deepcompress.ir.arrays import frozen
from deepcompress.ir.graph import Graph, Node


def magnitude_prune(
    graph: Graph, *, sparsity: float | dict[str, float] | None, scope: str = "layer"
) -> Graph:
    """The graph with its smallest weights set to zero.

    Args:
        sparsity: share of weights that are zero afterwards, 0 <= sparsity < 1: of all layers, or
            by layer name; None for no pruning.
        scope: "layer" gives every layer that share; "global" gives it to the whole network, the
            smallest weights first, wherever they are.

    Raises:
        UserError: a layer name that is not in the graph.
    """
    if sparsity is None:
        return graph
    if isinstance(sparsity, dict):
        _check_names(graph, sparsity)
        thresholds = {
            name: _threshold([graph_weight(graph, name)], s) for name, s in sparsity.items()
        }
    elif scope == "global":
        weights = [node.parameters["weight"] for node in weighted_nodes(graph)]
        thresholds = dict.fromkeys(names(graph), _threshold(weights, sparsity))
    else:
        thresholds = {
            name: _threshold([graph_weight(graph, name)], sparsity) for name in names(graph)
        }
    nodes = (
        _cut(node, thresholds[node.name]) if node.name in thresholds else node
        for node in graph.nodes
    )
    return replace(graph, nodes=tuple(nodes))


def weighted_nodes(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if "weight" in node.parameters]


def names(graph: Graph) -> list[str]:
    return [node.name for node in weighted_nodes(graph)]


def graph_weight(graph: Graph, name: str) -> np.ndarray:
    return next(node.parameters["weight"] for node in graph.nodes if node.name == name)


def _check_names(graph: Graph, sparsity: dict[str, float]) -> None:
    for name in sparsity:
        if name not in names(graph):
            raise UserError(
                f"the model has no layer {name} with weights{did_you_mean(name, names(graph))}",
                f"option {setting('sparsity')}",
                f"Its layers are {', '.join(names(graph))}",
            )


def _threshold(weights: list[np.ndarray], sparsity: float) -> float:
    """Magnitude up to which a weight is cut."""
    magnitudes = np.sort(np.abs(np.concatenate([weight.ravel() for weight in weights])))
    count = round(sparsity * len(magnitudes))
    return float(magnitudes[count - 1]) if count else -1.0


def _cut(node: Node, threshold: float) -> Node:
    weight = np.where(np.abs(node.parameters["weight"]) <= threshold, 0, node.parameters["weight"])
    weight = frozen(weight.astype(np.float32))
    return replace(node, parameters={**node.parameters, "weight": weight})
