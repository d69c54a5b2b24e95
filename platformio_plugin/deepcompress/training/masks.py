"""Pruning masks: the weights with the highest scores that fit the budgets.

A mask is a float tensor in the shape of a layer's weight, 1 where the weight is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log2
from typing import TYPE_CHECKING

from deepcompress.ir.graph import Graph, Node
from deepcompress.ops import OPERATORS
from deepcompress.training.latency_per_weight import LatencyModel

if TYPE_CHECKING:
    import torch

Masks = Mapping[str, "torch.Tensor"]

# Bits per weight value without a codebook: int8 after entropy coding.
_INT8_BITS = 6.5
# Bits per weight value over the codebook's bits: values are not equally frequent, and a Huffman
# code needs a little more than their entropy.
_CODEBOOK_BITS_USED = 0.85
# Bytes per layer for the lengths of the codes, the scale and the rest of its constants.
_LAYER_BYTES = 12


@dataclass(frozen=True)
class LayerSize:
    """The estimated flash of one layer as a function of its non-zero weights.

    Attributes:
        positions: weights that are stored or skipped: those between channels in use.
        constant_bits: bias of each channel in use, codebook and scale.
        value_bits: of one non-zero weight's value.
    """

    positions: int
    constant_bits: float
    value_bits: float

    def bits(self, nonzeros: int) -> float:
        """Values, the entropy of their positions, and constants."""
        return nonzeros * self.value_bits + self.position_bits(nonzeros) + self.constant_bits

    def position_bits(self, nonzeros: int) -> float:
        """The entropy of the non-zero weights' positions."""
        density = nonzeros / max(self.positions, nonzeros, 1)
        if density in (0, 1):
            return 0.0
        return -self.positions * (density * log2(density) + (1 - density) * log2(1 - density))

    def weight_bits(self, nonzeros: int) -> float:
        """Mean bits per non-zero weight, its position included."""
        return self.value_bits + self.position_bits(nonzeros) / max(nonzeros, 1)


def layer_sizes(
    masks: Masks, inputs: Mapping[str, str | None], codebook_bits: int
) -> dict[str, LayerSize]:
    """The size of each layer, for masks that `remove_unused` returned."""
    value_bits = codebook_bits * _CODEBOOK_BITS_USED if codebook_bits else _INT8_BITS
    table = 2**codebook_bits if codebook_bits else 128
    layers = {}
    for name, mask in masks.items():
        by_unit = _by_unit(mask, masks.get(inputs[name] or ""))
        rows, units = _used_rows(mask), int(by_unit.any(2).any(0).sum())
        positions = rows * units * by_unit.shape[2]
        layers[name] = LayerSize(positions, 8 * (rows + table + _LAYER_BYTES), value_bits)
    return layers


def producers(graph: Graph) -> dict[str, str | None]:
    """For each layer with weights the layer whose channels are its only inputs, or None."""
    weighted = {node.name: node for node in graph.nodes if "weight" in node.parameters}
    return {name: _producer(graph, node) for name, node in weighted.items()}


def _producer(graph: Graph, node: Node) -> str | None:
    before = graph.producer(node.inputs[0])
    while before is not None and len(graph.consumers(before.output)) == 1:
        if "weight" in before.parameters:
            return before.name if all(map(_has_free_channels, (before, node))) else None
        if not OPERATORS[before.op].channelwise:
            return None
        before = graph.producer(before.inputs[0])
    return None


def _has_free_channels(node: Node) -> bool:
    grouped = node.attributes.groups > 1
    return OPERATORS[node.op].rows_are_channels and not grouped


def _by_unit(mask: torch.Tensor, producer: torch.Tensor | None) -> torch.Tensor:
    """A mask as [rows, input channels, weights per channel]."""
    units = mask.shape[1] if producer is None else producer.shape[0]
    return mask.reshape(mask.shape[0], units, -1)


def _used_rows(mask: torch.Tensor) -> int:
    return int(mask.flatten(1).any(1).sum())


def remove_unused(masks: Masks, inputs: Mapping[str, str | None]) -> dict[str, torch.Tensor]:
    """Masks without weights that read a constant channel or write a channel that is not read."""
    masks = dict(masks)
    while True:
        before = sum(float(mask.sum()) for mask in masks.values())
        for name, producer in inputs.items():
            if producer is None:
                continue
            units = _by_unit(masks[name], masks[producer])
            written = masks[producer].flatten(1).any(1)
            read = units.any(2).any(0)
            masks[name] = (units * written[None, :, None]).view_as(masks[name])
            masks[producer] = (masks[producer].flatten(1) * read[:, None]).view_as(masks[producer])
        if sum(float(mask.sum()) for mask in masks.values()) == before:
            return masks


def rank_all(scores: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """For each weight the number of weights in all layers with a higher score, int64."""
    import torch

    flat = torch.cat([score.flatten() for score in scores.values()])
    order = flat.argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    parts = torch.split(rank, [score.numel() for score in scores.values()])
    return {n: part.view_as(s) for (n, s), part in zip(scores.items(), parts, strict=True)}


def keep_fitting(
    scores: Mapping[str, torch.Tensor],
    inputs: Mapping[str, str | None],
    most: int,
    *,
    fits: Callable[[Masks], bool],
) -> dict[str, torch.Tensor]:
    """Masks of as many of the best weights as fit, but of `most` at most."""
    ranks = rank_all(scores)

    def masks(keep: int) -> dict[str, torch.Tensor]:
        return remove_unused({n: (rank < keep).float() for n, rank in ranks.items()}, inputs)

    low, high = 0, most
    best = masks(high)
    if fits(best):
        return best
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(masks(middle)) else (low, middle - 1)
    return masks(low)


def estimate_bytes(masks: Masks, inputs: Mapping[str, str | None], codebook_bits: int) -> float:
    """Estimated flash of the kept weights and their layers' constants."""
    layers = layer_sizes(masks, inputs, codebook_bits)
    return sum(layer.bits(int(masks[name].sum())) for name, layer in layers.items()) / 8


def estimate_cycles(masks: Masks, latency: LatencyModel) -> float:
    """Estimated cycles of one inference with the kept weights."""
    layers = (
        latency.per_weight[name] * float(mask.sum()) + latency.per_channel[name] * _used_rows(mask)
        for name, mask in masks.items()
    )
    return latency.constant + sum(layers)
