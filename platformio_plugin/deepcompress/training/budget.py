"""What a training may take in bytes and in cycles: estimated while it prunes, corrected by what the
compiled network really takes."""

from __future__ import annotations

from collections.abc import Mapping

from deepcompress.ir.graph import Graph
from deepcompress.training.config import Outcome, Recipe
from deepcompress.training.latency_per_weight import Pace
from deepcompress.training.masks import Masks, estimate_bytes, estimate_cycles, producers

# Fields of a recipe that limit the fields of an outcome with the same names.
LIMITED = ("parameter_bytes", "cycles")
# Of a budget: rounding weights to a codebook that learns moves the size a little.
_AIM = 0.997


class Budgets:
    """The limits of one recipe.

    Attributes:
        corrections: what an estimate is for each unit of the real number; a training learns them.
    """

    def __init__(self, graph: Graph, recipe: Recipe, pace: Pace, dense: Masks) -> None:
        self._inputs, self._codebook_bits, self._pace = producers(graph), recipe.codebook_bits, pace
        self._limits: Mapping[str, int] = {
            name: limit for name in LIMITED if (limit := getattr(recipe, name)) is not None
        }
        self._dense = {name: self._estimate(name, dense) for name in self._limits}
        self.corrections = dict.fromkeys(self._limits, 1.0)

    def fit(self, masks: Masks, left: float) -> bool:
        """Whether masks are within the limits, by estimate, where this share of the way from the
        dense network down to them is left."""
        return all(
            self._estimate(name, masks) <= self._allowed(name, left) for name in self._limits
        )

    def _allowed(self, name: str, left: float) -> float:
        target = self._limits[name] * self.corrections[name]
        return target + max(0.0, self._dense[name] - target) * left

    def _estimate(self, name: str, masks: Masks) -> float:
        if name == "cycles":
            return estimate_cycles(masks, self._pace)
        return estimate_bytes(masks, self._inputs, self._codebook_bits)

    def excess(self, outcome: Outcome) -> float:
        """Shares of the limits by which they are exceeded, together; 0 where none is."""
        over = (getattr(outcome, name) / limit - 1 for name, limit in self._limits.items())
        return sum(max(0.0, share) for share in over)

    def learn(self, masks: Masks, outcome: Outcome, *, only_excess: bool) -> None:
        """Corrects the estimates by what these masks became, or only those that were too low."""
        for name, limit in self._limits.items():
            taken = getattr(outcome, name)
            if taken > limit or not only_excess:
                self.corrections[name] = _AIM * self._estimate(name, masks) / max(1, taken)
