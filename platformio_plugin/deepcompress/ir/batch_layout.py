"""Batches of a network's inputs and outputs as one array, however many it has.

Of one it is [samples, *its shape]. Several lie flat behind each other, [samples, all their values],
in the order of the network's inputs or outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

from deepcompress.ir.graph import Graph, IntegerGraph

if TYPE_CHECKING:
    import numpy as np
    import torch

    Batch = TypeVar("Batch", np.ndarray, torch.Tensor)


def shape_of(graph: Graph | IntegerGraph, names: tuple[str, ...]) -> tuple[int, ...]:
    """The shape of one sample of these tensors."""
    if len(names) == 1:
        return graph.tensors[names[0]].shape
    return (sum(graph.tensors[name].size for name in names),)


def parts(graph: Graph | IntegerGraph, batch: Batch, samples: int = 256) -> Iterator[Batch]:
    """A batch in parts of up to so many samples, which cut no stream of a stateful graph."""
    chunks = max(node.attributes.chunks for node in graph.nodes)
    size = max(samples // chunks, 1) * chunks
    return (batch[i : i + size] for i in range(0, len(batch), size))


def split(graph: Graph | IntegerGraph, names: tuple[str, ...], batch: Batch) -> dict[str, Batch]:
    """Each tensor's part of a batch, in its shape."""
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
    concatenate: Callable[[list[Any], int], Any],
) -> Batch:
    """The tensors' values as a batch.

    Args:
        concatenate: numpy's or torch's, of arrays along an axis.
    """
    samples = values[names[0]].shape[0]
    if len(names) == 1:
        return values[names[0]].reshape(samples, *graph.tensors[names[0]].shape)
    return concatenate([values[name].reshape(samples, -1) for name in names], 1)


AnyGraph = TypeVar("AnyGraph", Graph, IntegerGraph)


def in_chunks(graph: AnyGraph, chunks: int) -> AnyGraph:
    """The graph of `stream`, for batches in which each `chunks` samples are those of one stream."""
    nodes = tuple(
        replace(node, attributes=replace(node.attributes, chunks=chunks))
        if node.attributes.stateful
        else node
        for node in graph.nodes
    )
    return replace(graph, nodes=nodes)
