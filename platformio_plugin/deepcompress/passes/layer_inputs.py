"""What each layer with weights multiplies on calibration data, and the moments of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from deepcompress.ir.graph import Graph, Node
from deepcompress.ops import OPERATORS

if TYPE_CHECKING:
    import torch

    Activations = Mapping[str, "torch.Tensor"]

# Rows of a layer's inputs that are used: enough for each column, and few enough to take seconds.
_ROWS_PER_COLUMN, _LEAST_ROWS = 32, 8192
# Values of a layer's inputs that are copied at a time.
_PIECE = 2**24
# Values of one tensor over all samples: 1 GiB of float32.
_MOST_VALUES = 2**28


@dataclass(frozen=True)
class Moments:
    """Means over rows of a layer's inputs: X in the original network, Q in the changed one.

    Attributes:
        mean_x, mean_q: float64 [groups, 1, columns].
        xq, qq: X^T Q and Q^T Q of centred rows, float64 [groups, columns, columns].
        rows: how many there are.
    """

    mean_x: torch.Tensor
    mean_q: torch.Tensor
    xq: torch.Tensor
    qq: torch.Tensor
    rows: int

    def loss(self, original: torch.Tensor, changed: torch.Tensor) -> torch.Tensor:
        """Mean squared error of each row's sums, less a constant: float64 [groups, rows].

        Args:
            original, changed: weights, float64 [groups, rows, columns].
        """
        return ((changed @ self.qq - 2 * original @ self.xq) * changed).sum(2)


def most_samples(graph: Graph) -> int:
    """The number of samples whose activations are held in memory at once."""
    return max(1, _MOST_VALUES // max(tensor.size for tensor in graph.tensors.values()))


def weight_matrix(node: Node) -> torch.Tensor:
    """The weights as float64 [groups, rows per group, columns]."""
    import torch

    weight = torch.tensor(node.parameters["weight"], dtype=torch.float64)
    groups = getattr(node.attributes, "groups", 1)
    return weight.reshape(groups, len(weight) // groups, -1)


def columns_of(
    node: Node, values: Sequence[Activations], samples: Sequence[int]
) -> list[torch.Tensor]:
    """Rows that the node's weights multiply, at the same positions of each set of activations.

    At most so many as its moments need, at random positions (of a fixed seed).

    Args:
        values: sets of activations, in which the node's output is that before its clamp.
        samples: indices of the samples that are used.

    Returns:
        For each set float64 [groups, rows, columns].
    """
    import torch

    operator, generator = OPERATORS[node.op], torch.Generator().manual_seed(0)
    names = (*node.inputs, node.output)
    found: list[list[torch.Tensor]] = [[] for _ in values]
    wanted = max(_LEAST_ROWS, _ROWS_PER_COLUMN * weight_matrix(node).shape[2])
    one = operator.columns(node.attributes, *(values[0][name][:1] for name in names))
    piece = max(1, _PIECE // max(1, prod(one.shape)))
    chunks = node.attributes.chunks
    piece = max(1, piece // chunks) * chunks
    for start in range(0, len(samples), piece):
        index = torch.tensor(samples[start : start + piece])
        count = len(index)
        rows = one.shape[1] * count
        keep = torch.randperm(rows, generator=generator)[: -(-wanted * count // len(samples))]
        for part, activations in zip(found, values, strict=True):
            given = (activations[name][index] for name in names)
            part.append(operator.columns(node.attributes, *given)[:, keep].double())
    return [torch.cat(parts, 1) for parts in found]


def moments(x: torch.Tensor, q: torch.Tensor, *, centre: bool = True) -> Moments:
    """The moments of rows, float64 [groups, rows, columns] each.

    Args:
        centre: subtract the means; if not, they are taken as 0.
    """
    mean_x, mean_q = x.mean(1, keepdim=True), q.mean(1, keepdim=True)
    if not centre:
        mean_x, mean_q = mean_x * 0, mean_q * 0
    x, q, rows = x - mean_x, q - mean_q, x.shape[1]
    return Moments(mean_x, mean_q, x.mT @ q / rows, q.mT @ q / rows, rows)


def merge(one: Moments, other: Moments) -> Moments:
    """The moments of the rows of both."""
    share = one.rows / (one.rows + other.rows)

    def mean(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return share * a + (1 - share) * b

    def spread(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return share * (1 - share) * a.mT @ b

    dx, dq = one.mean_x - other.mean_x, one.mean_q - other.mean_q
    return Moments(
        mean(one.mean_x, other.mean_x),
        mean(one.mean_q, other.mean_q),
        mean(one.xq, other.xq) + spread(dx, dq),
        mean(one.qq, other.qq) + spread(dq, dq),
        one.rows + other.rows,
    )


def held_out(samples: int, chunks: int) -> tuple[list[int], list[int]]:
    """Indices of samples to find a solution on, and of a quarter of the streams to judge it on.

    All samples are in both lists if there are fewer than four streams.
    """
    streams = samples // chunks
    if streams < 4:
        everything = list(range(samples))
        return everything, everything
    judge = [i for i in range(samples) if (i // chunks) % 4 == 3]
    return [i for i in range(samples) if (i // chunks) % 4 != 3], judge
