"""The layout of a network's inputs or outputs as one batch array.

One tensor is stored as [samples, *its shape]. Several tensors are stored flat, one after another,
as [samples, total number of values], in the order of the network's inputs or outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

from deepcompress.ir.graph import Graph, IntegerGraph

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.arrays import AnyArray

    Batch = TypeVar("Batch", AnyArray, torch.Tensor)

# Of one tensor of a part of a batch: 256 MB as float32.
_MOST_VALUES = 1 << 26

AnyGraph = TypeVar("AnyGraph", Graph, IntegerGraph)


def shape_of(graph: Graph | IntegerGraph, names: tuple[str, ...]) -> tuple[int, ...]:
    """The shape of one sample of these tensors."""
    if len(names) == 1:
        return graph.tensors[names[0]].shape
    return (sum(graph.tensors[name].size for name in names),)


def parts(graph: Graph | IntegerGraph, batch: Batch, samples: int = 256) -> Iterator[Batch]:
    """Splits a batch into parts of at most `samples` samples, or of one stream if that is more.

    A part has fewer samples if a tensor of it would have more than `_MOST_VALUES` values.
    """
    chunks = max(node.attributes.chunks for node in graph.nodes)
    largest = max(tensor.size for tensor in graph.tensors.values())
    samples = min(samples, _MOST_VALUES // max(largest, 1))
    size = max(samples // chunks, 1) * chunks
    return (batch[i : i + size] for i in range(0, len(batch), size))


def split(graph: Graph | IntegerGraph, names: tuple[str, ...], batch: Batch) -> dict[str, Batch]:
    """The values of each tensor in a batch, [samples, *its shape]."""
    if len(names) == 1:
        return {names[0]: batch}
    ends = accumulate(graph.tensors[name].size for name in names)
    return {
        name: batch[:, end - graph.tensors[name].size : end].reshape(
            batch.shape[0], *graph.tensors[name].shape
        )
        for name, end in zip(names, ends, strict=True)
    }


def join(
    graph: Graph | IntegerGraph,
    names: tuple[str, ...],
    values: Mapping[str, Batch],
    concatenate: Callable[[list[Batch], int], Batch],
) -> Batch:
    """The tensors' values as a batch; the inverse of `split`.

    Args:
        concatenate: `np.concatenate` or `torch.cat`, of arrays along an axis.
    """
    samples = values[names[0]].shape[0]
    if len(names) == 1:
        return values[names[0]].reshape(samples, *graph.tensors[names[0]].shape)
    return concatenate([values[name].reshape(samples, -1) for name in names], 1)


def in_chunks(graph: AnyGraph, chunks: int) -> AnyGraph:
    """A stateful graph for batches in which each `chunks` samples are consecutive in a stream."""
    nodes = tuple(
        replace(node, attributes=node.attributes.in_chunks(chunks)) for node in graph.nodes
    )
    return replace(graph, nodes=nodes)
