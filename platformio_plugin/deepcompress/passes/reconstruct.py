"""Prunes in one shot and solves for the weights that remain, layer by layer, without labels.

Each layer is pruned in rounds, by the weights' share in the layer's sums (Wanda, Sun et al., arXiv
2306.11695). After each round the remaining weights are those with the least squared error of the
sums, and the bias restores their mean: Optimal Brain Compression (Frantar and Alistarh, arXiv
2208.11580), SparseGPT (arXiv 2301.00774). The inputs of a layer are those that the network before
it now gives. A quarter of the samples decides how far a layer makes up for the errors of the layers
before it, and by how much its weights may change: with few samples, less is better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deepcompress.arith.least_squares import solve_masked
from deepcompress.data.calibration import Calibration
from deepcompress.execute.float_torch import sums_of
from deepcompress.ir.arrays import frozen
from deepcompress.ir.batch_layout import split
from deepcompress.ir.graph import Graph, Node
from deepcompress.ops import OPERATORS
from deepcompress.ops.clamp import limit
from deepcompress.ops.recurrent import RECURRENT
from deepcompress.passes.layer_inputs import (
    Moments,
    columns_of,
    held_out,
    merge,
    moments,
    most_samples,
    weight_matrix,
)

if TYPE_CHECKING:
    import torch

_ROUNDS = 8
# While the fit is chosen, where the differences matter and not the last tenth of the error.
_ROUNDS_OF_CHOICE = 2
_CORRECTIONS, _DAMPINGS = (0.0, 0.5, 1.0), (1e-3, 1e-2, 1e-1)
# Added to the diagonal in any case, as an input may be constant.
_LEAST_DIAGONAL = 1e-9


@dataclass(frozen=True)
class _Fit:
    """How a layer's weights are solved for.

    Attributes:
        correction: share of the errors of its inputs that it makes up for, 0 .. 1.
        damping: weight of staying near the original weights, as a share of the mean moment.
    """

    correction: float
    damping: float


def reconstruct(
    graph: Graph,
    calibration: Calibration,
    nonzeros: Mapping[str, int],
    progress: Callable[[str], None] = lambda line: None,
) -> Graph:
    """The graph with so many weights left in each layer, and these solved for.

    Args:
        calibration: with real inputs.
        nonzeros: by name of a layer; other layers stay as they are.
    """
    import torch

    samples = min(len(calibration.inputs), most_samples(graph))
    samples -= samples % calibration.chunks
    original = split(graph, graph.inputs, torch.from_numpy(calibration.inputs[:samples]))
    changed, nodes = dict(original), []
    readers = {name: len(graph.consumers(name)) for name in graph.tensors}
    with torch.no_grad():
        for node in graph.nodes:
            original[node.output] = sums_of(node, original)
            if node.name in nonzeros and OPERATORS[node.op].has_columns:
                changed[node.output] = sums_of(node, changed)
                indices = held_out(samples, calibration.chunks)
                node = _solve(node, nonzeros[node.name], original, changed, indices)
                progress(f"reconstructed {node.name}")
            changed[node.output] = sums_of(node, changed)
            for values in (original, changed):
                values[node.output] = limit(
                    values[node.output], node.clamp.minimum, node.clamp.maximum
                )
            nodes.append(node)
            for name in dict.fromkeys(node.inputs):
                readers[name] -= 1
                if not readers[name]:
                    del original[name], changed[name]
    return replace(graph, nodes=tuple(nodes))


def _solve(
    node: Node,
    keep: int,
    original: Mapping[str, torch.Tensor],
    changed: Mapping[str, torch.Tensor],
    indices: tuple[list[int], list[int]],
) -> Node:
    """The node with `keep` weights, solved for on the first samples and judged on the others."""
    centre = node.op not in RECURRENT  # their biases are not those of one sum
    find, judge = (
        moments(*columns_of(node, (original, changed), part), centre=centre) for part in indices
    )
    weight = weight_matrix(node)
    keep = min(keep, int((weight != 0).sum()))

    def loss(fit: _Fit) -> float:
        solved = _prune_and_solve(weight, find, keep, fit, rounds=_ROUNDS_OF_CHOICE)
        return float(judge.loss(weight, solved).sum())

    best = min((_Fit(1.0, damping) for damping in _DAMPINGS), key=loss)
    best = min((_Fit(correction, best.damping) for correction in _CORRECTIONS), key=loss)
    everything = merge(find, judge) if indices[0] is not indices[1] else find
    solved = _prune_and_solve(weight, everything, keep, best, rounds=_ROUNDS)
    parameters = dict(node.parameters)
    shape = parameters["weight"].shape
    parameters["weight"] = frozen(solved.reshape(shape).float().numpy())
    if centre:
        shift = weight @ everything.mean_x.mT - solved @ everything.mean_q.mT
        bias = parameters["bias"] + shift.reshape(-1).numpy()
        parameters["bias"] = frozen(bias.astype("float32"))
    return replace(node, parameters=parameters)


def _prune_and_solve(
    weight: torch.Tensor, of: Moments, keep: int, fit: _Fit, *, rounds: int
) -> torch.Tensor:
    """`keep` weights with a small error of the sums: float64 in the shape of the weight."""
    import torch

    diagonal = torch.diagonal(of.qq, dim1=1, dim2=2)
    added = fit.damping * diagonal.mean(1, keepdim=True) + _LEAST_DIAGONAL
    ridge = torch.diag_embed(added.expand_as(diagonal))
    hessian = of.qq + ridge
    right = weight @ (fit.correction * of.xq + (1 - fit.correction) * of.qq + ridge)
    mask = (weight != 0).to(weight.dtype)
    first, solved = int(mask.sum()), weight
    rounds = rounds if keep < first else 1
    for i in range(1, rounds + 1):
        scores = (solved.square() * (diagonal[:, None] + _LEAST_DIAGONAL)).where(mask > 0, -1.0)
        mask = highest(scores, round(first * (keep / first) ** (i / rounds)))
        solved = solve_masked(solved, mask, hessian, right)
    return solved


def highest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """1 at the `count` highest scores and 0 elsewhere, in the scores' shape and type."""
    import torch

    mask = torch.zeros_like(scores).flatten()
    mask[torch.topk(scores.flatten(), count).indices] = 1
    return mask.reshape(scores.shape)
