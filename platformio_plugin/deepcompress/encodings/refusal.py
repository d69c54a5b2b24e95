"""Why an encoding cannot represent a matrix."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """What `encode` returns instead of arrays.

    Attributes:
        reason: what the weights are, as the end of a sentence that begins with "its weights".
        remedy: what the user can change about the weights, as an imperative without a full stop.
    """

    reason: str
    remedy: str
