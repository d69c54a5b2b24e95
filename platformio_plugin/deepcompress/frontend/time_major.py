"""Rewrites calls on time-major tensors [steps, samples, ...] to batch-major [samples, steps, ...].

nn.GRU and nn.LSTM take and return time-major tensors unless batch_first is set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from deepcompress.ops import OPERATORS
from deepcompress.ops.recurrent import RECURRENT

# Ops on single values or along the last axis: the order of the first two axes does not matter.
_ORDER_INDEPENDENT = {
    *(aten for operator in OPERATORS.values() if operator.elementwise for aten in operator.aten),
    *("linear", "matmul"),
}
_TRANSPOSES = {"transpose", "permute"}
# Ops along one axis, which may be that of the steps.
_KEEP_AXIS = {
    "slice",
    "cat",
    "concat",
    "concatenate",
    "index_select",
    "chunk",
    "split",
    "split_with_sizes",
}
_ALONG_AXIS = {"select", "mean", "unbind", *_KEEP_AXIS}


@dataclass(frozen=True)
class LayoutCall:
    """A call with the layout of its first tensor.

    Attributes:
        aten: its operator.
        arguments: by the names of the operator's schema.
        rank: number of axes of the first tensor, the batch included.
        time_major: whether the first tensor is time-major; after a rewrite, whether the result is.
    """

    aten: str
    arguments: dict[str, Any]
    rank: int
    time_major: bool

    def batch_major(self) -> LayoutCall | None:
        """The same call on batch-major tensors; None if its result has neither layout."""
        if self.aten in _TRANSPOSES:
            return self._transpose()
        if not self.time_major or self.aten in _ORDER_INDEPENDENT:
            return self
        if self.aten in RECURRENT:
            arguments = {**self.arguments, "batch_first": True}
            return None if self.arguments["batch_first"] else replace(self, arguments=arguments)
        if self.aten in _ALONG_AXIS:
            return self._along_axis()
        if self.aten == "flip":
            return self._flip()
        if self.aten == "squeeze" and self.arguments.get("dim") == 0:
            return replace(self, time_major=False)  # the result has the same values, in its shape
        return None

    def _transpose(self) -> LayoutCall | None:
        """A permutation that leaves the samples first; only their place in the result changes."""
        order = list(range(self.rank))
        if self.aten == "permute":
            order = [dim % self.rank for dim in self.arguments["dims"]]
        else:
            i, j = (self.arguments[name] % self.rank for name in ("dim0", "dim1"))
            order[i], order[j] = order[j], order[i]
        if self.time_major:
            batch_major_axes = (1, 0, *range(2, self.rank))
            order = [batch_major_axes[axis] for axis in order]
        if order.index(0) > 1:
            return None
        dims = [0, *(axis for axis in order if axis != 0)]
        return replace(self, aten="permute", arguments={"dims": dims}, time_major=order[0] != 0)

    def _flip(self) -> LayoutCall | None:
        """A reversal of axes other than that of the batch."""
        dims = [dim % self.rank for dim in self.arguments["dims"]]
        return None if 1 in dims else replace(self, arguments={"dims": [dim or 1 for dim in dims]})

    def _along_axis(self) -> LayoutCall | None:
        """A part, a mean or a join. The axis of the steps, 0, becomes 1; 1 is the batch."""
        dims = self.arguments.get("dim", 0)
        (dim,) = dims if isinstance(dims, (list, tuple)) else (dims,)
        dim %= self.rank
        if dim == 1:
            return None
        axis = dim or 1
        arguments = {**self.arguments, "dim": [axis] if self.aten == "mean" else axis}
        keeps_steps = dim != 0 or self.aten in _KEEP_AXIS or self.arguments.get("keepdim", False)
        return replace(self, arguments=arguments, time_major=bool(keeps_steps))
