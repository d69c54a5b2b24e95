"""Which weights stay while a network is retrained: the best by score that fit a size.

A mask is a float tensor in the shape of a layer's weight, 1 where the weight stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log2
from typing import TYPE_CHECKING

from deepcompress.ir.graph import Graph, Node
from deepcompress.ops import OPERATORS
from deepcompress.training.latency_per_weight import Pace

if TYPE_CHECKING:
    import torch

Masks = Mapping[str, "torch.Tensor"]

# What a weight's value takes when its layer has no codebook: int8, after entropy coding.
_INT8_BITS = 6.5
# A Huffman code loses this much against the entropy of its symbols, and they are not all as likely.
_CODEBOOK_BITS_USED = 0.85
# Lengths of the codes, scale, and what else a layer has once.
_LAYER_BYTES = 12


@dataclass(frozen=True)
class Layer:
    """One layer's size in flash, before it is encoded: see `parameter_bits`.

    Attributes:
        places: weights that are stored or skipped: those between living channels.
        constant_bits: bias of each living channel, codebook and scale.
        value_bits: of one non-zero weight's value.
    """

    places: int
    constant_bits: float
    value_bits: float

    def bits(self, nonzeros: int) -> float:
        """Estimated: values, the entropy of where they lie, constants."""
        return nonzeros * self.value_bits + self.places_bits(nonzeros) + self.constant_bits

    def places_bits(self, nonzeros: int) -> float:
        density = nonzeros / max(self.places, nonzeros, 1)
        if density in (0, 1):
            return 0.0
        return -self.places * (density * log2(density) + (1 - density) * log2(1 - density))

    def weight_bits(self, nonzeros: int) -> float:
        """What one weight takes on average, its place included."""
        return self.value_bits + self.places_bits(nonzeros) / max(nonzeros, 1)


def layers_of(
    masks: Masks, inputs: Mapping[str, str | None], codebook_bits: int
) -> dict[str, Layer]:
    """The layers by name, for masks whose wasted weights are gone."""
    value_bits = codebook_bits * _CODEBOOK_BITS_USED if codebook_bits else _INT8_BITS
    table = 2**codebook_bits if codebook_bits else 128
    layers = {}
    for name, mask in masks.items():
        by_unit = _by_unit(mask, masks.get(inputs[name] or ""))
        rows, units = _living_rows(mask), int(by_unit.any(2).any(0).sum())
        places = rows * units * by_unit.shape[2]
        layers[name] = Layer(places, 8 * (rows + table + _LAYER_BYTES), value_bits)
    return layers


def producers(graph: Graph) -> dict[str, str | None]:
    """Layer with weights -> the one whose channels alone are its inputs, or None."""
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
    """A mask as [rows, input channels, weights of one channel]."""
    units = mask.shape[1] if producer is None else producer.shape[0]
    return mask.reshape(mask.shape[0], units, -1)


def _living_rows(mask: torch.Tensor) -> int:
    return int(mask.flatten(1).any(1).sum())


def without_wasted(masks: Masks, inputs: Mapping[str, str | None]) -> dict[str, torch.Tensor]:
    """Masks without weights that read a channel of constant value or write one nobody reads."""
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
    """How many weights of all layers together have a higher score, for each weight."""
    import torch

    flat = torch.cat([score.flatten() for score in scores.values()])
    order = flat.argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    parts = rank.split([score.numel() for score in scores.values()])
    return {n: part.view_as(s) for (n, s), part in zip(scores.items(), parts, strict=True)}


def keep_fitting(
    scores: Mapping[str, torch.Tensor],
    inputs: Mapping[str, str | None],
    most: int,
    *,
    fits: Callable[[Masks], bool],
) -> dict[str, torch.Tensor]:
    """Masks of as many of the best weights as fit, but of no more than `most`."""
    ranks = rank_all(scores)

    def masks(keep: int) -> dict[str, torch.Tensor]:
        return without_wasted({n: (rank < keep).float() for n, rank in ranks.items()}, inputs)

    low, high = 0, most
    best = masks(high)
    if fits(best):
        return best
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(masks(middle)) else (low, middle - 1)
    return masks(low)


def estimate_bytes(masks: Masks, inputs: Mapping[str, str | None], codebook_bits: int) -> float:
    """What the weights that the masks leave take in flash, with all that goes with them."""
    layers = layers_of(masks, inputs, codebook_bits)
    return sum(layer.bits(int(masks[name].sum())) for name, layer in layers.items()) / 8


def estimate_cycles(masks: Masks, pace: Pace) -> float:
    """What an inference takes with the weights that the masks leave."""
    layers = (
        pace.weights[name] * float(mask.sum()) + pace.channels[name] * _living_rows(mask)
        for name, mask in masks.items()
    )
    return pace.rest + sum(layers)
