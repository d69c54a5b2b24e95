"""Limits of a training in bytes and cycles: estimated from masks, corrected by compilation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deepcompress.ir.graph import Graph
from deepcompress.training.config import Outcome, Recipe
from deepcompress.training.latency_per_weight import LatencyModel
from deepcompress.training.masks import Masks, estimate_bytes, estimate_cycles, producers

# Fields of a recipe that limit the fields of an outcome with the same names.
LIMITED = ("parameter_bytes", "cycles")
# Share of a budget that is used: refitting a codebook changes the size a little.
_USED_SHARE = 0.997

# Ratio of the estimate to the compiled network's value, by name of the limit.
Corrections = dict[str, float]


@dataclass(frozen=True)
class Budgets:
    """The limits of one recipe.

    Attributes:
        limits: bytes or cycles, by name; a subset of `LIMITED`.
        dense: estimates of the same for the network with all weights.
        inputs: as `masks.producers` returns.
    """

    limits: Mapping[str, int]
    dense: Mapping[str, float]
    inputs: Mapping[str, str | None]
    codebook_bits: int
    latency: LatencyModel

    @classmethod
    def of(cls, graph: Graph, recipe: Recipe, latency: LatencyModel, masks: Masks) -> Budgets:
        """The recipe's limits on a graph. `masks` keep all weights."""
        limits = {name: limit for name in LIMITED if (limit := getattr(recipe, name)) is not None}
        empty = cls(limits, {}, producers(graph), recipe.codebook_bits, latency)
        dense = {name: empty.estimate(name, masks) for name in limits}
        return cls(limits, dense, empty.inputs, recipe.codebook_bits, latency)

    def start(self) -> Corrections:
        """The corrections before any network was compiled."""
        return dict.fromkeys(self.limits, 1.0)

    def fit(self, masks: Masks, corrections: Corrections, remaining: float) -> bool:
        """Whether the masks are within the limits, by estimate.

        Args:
            remaining: how much of the way from the dense network to the limits is left, 0 to 1.
        """
        return all(
            self.estimate(name, masks) <= self._allowed(name, corrections[name], remaining)
            for name in self.limits
        )

    def _allowed(self, name: str, correction: float, remaining: float) -> float:
        target = self.limits[name] * correction
        return target + max(0.0, self.dense[name] - target) * remaining

    def estimate(self, name: str, masks: Masks) -> float:
        """Bytes or cycles of a network with these masks."""
        if name == "cycles":
            return estimate_cycles(masks, self.latency)
        return estimate_bytes(masks, self.inputs, self.codebook_bits)

    def excess(self, outcome: Outcome) -> float:
        """Sum of the shares by which limits are exceeded; 0 if none is."""
        over = [getattr(outcome, name) / limit - 1 for name, limit in self.limits.items()]
        return sum((max(0.0, float(share)) for share in over), 0.0)

    def corrected(
        self, corrections: Corrections, masks: Masks, outcome: Outcome, *, only_excess: bool
    ) -> Corrections:
        """Corrections after the masks' network was compiled.

        Args:
            only_excess: keep the correction of a limit that is not exceeded.
        """
        updated = dict(corrections)
        for name, limit in self.limits.items():
            used = getattr(outcome, name)
            if used > limit or not only_excess:
                updated[name] = _USED_SHARE * self.estimate(name, masks) / max(1, used)
        return updated
