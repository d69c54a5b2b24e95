"""Tensors with steps on the first axis and samples on the second, as nn.GRU and nn.LSTM have them
without batch_first: a call on one becomes the call that does the same with samples first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from deepcompress.ops import OPERATORS
from deepcompress.ops.recurrent import RECURRENT

# Of the last axis, or value by value: the first two axes may as well lie the other way round.
_BY_ROW = {
    *OPERATORS["clamp"].aten,
    *OPERATORS["lookup"].aten,
    "add",
    "linear",
    "matmul",
    "mul",
    "sub",
}
_MOVES = {"transpose", "permute"}


@dataclass(frozen=True)
class Axes:
    """How a call's tensors lie, and what it says of axes.

    Attributes:
        rank: of its first tensor, the batch included.
        turned: whether that has its steps first; then whether the result has.
    """

    aten: str
    arguments: dict[str, Any]
    rank: int
    turned: bool

    def with_samples_first(self) -> Axes | None:
        """The call on tensors with samples first; None where they end elsewhere."""
        if self.aten in _MOVES:
            return self._moved()
        if not self.turned or self.aten in _BY_ROW:
            return self
        if self.aten in RECURRENT:
            read = {**self.arguments, "batch_first": True}
            return None if self.arguments["batch_first"] else replace(self, arguments=read)
        if self.aten in ("select", "slice", "mean"):
            return self._along()
        return None

    def _moved(self) -> Axes | None:
        order = list(range(self.rank))
        if self.aten == "permute":
            order = [dim % self.rank for dim in self.arguments["dims"]]
        else:
            i, j = (self.arguments[name] % self.rank for name in ("dim0", "dim1"))
            order[i], order[j] = order[j], order[i]
        if self.turned:
            order = [(1, 0, *range(2, self.rank))[axis] for axis in order]
        if order.index(0) > 1:
            return None
        dims = [0, *(axis for axis in order if axis != 0)]
        return replace(self, aten="permute", arguments={"dims": dims}, turned=order[0] != 0)

    def _along(self) -> Axes | None:
        """A part of an axis, or the mean over one; over that of the steps, which comes second."""
        dims = self.arguments.get("dim", 0)
        (dim,) = dims if isinstance(dims, (list, tuple)) else (dims,)
        dim %= self.rank
        if dim == 1:
            return None
        arguments = {**self.arguments, "dim": [dim or 1] if self.aten == "mean" else dim or 1}
        ends = dim == 0 and self.aten != "slice" and not self.arguments.get("keepdim", False)
        return replace(self, arguments=arguments, turned=not ends)
