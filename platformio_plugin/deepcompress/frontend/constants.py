"""Tensors whose values are known during import, and constant folding of calls on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.errors import UserError, guard, reason
from deepcompress.frontend.fx_node import (
    aten_name,
    constant_names,
    constants_of,
    created_constant,
    creates_constant,
    evaluate,
    first_argument,
    is_item,
    is_pure,
    item_index,
    sizes_for_one_sample,
    source_line,
    tensor_arguments,
)
from deepcompress.frontend.qdq import ON_CONSTANTS
from deepcompress.frontend.safe_names import Names
from deepcompress.ir.aten_call import call_name
from deepcompress.ops import BY_ATEN

if TYPE_CHECKING:
    import torch

# Calls whose result is their input in inference.
IDENTITIES = {
    "alias",
    "clone",
    "contiguous",
    "alpha_dropout",
    "detach",
    "dropout",
    "feature_alpha_dropout",
    "feature_dropout",
    "lift_fresh_copy",
    "to",
    "_to_copy",
}
# The only calls that are computed during import. Other operators that a file names are never run.
FOLDABLE = {
    *("_weight_norm", "argmax", "dot", "embedding", "mv", "norm", "numpy_T", "t", "vdot"),
    *IDENTITIES,
    *ON_CONSTANTS,
    *BY_ATEN,
}


class Constants:
    """Known tensors by the name of their fx node, and the users' names for stored ones."""

    def __init__(self, program: torch.export.ExportedProgram, names: Names) -> None:
        self._values = constants_of(program)
        self._user_names = {
            placeholder: names.original(name)
            for placeholder, name in constant_names(program).items()
        }

    def __contains__(self, fx: object) -> bool:
        """Whether an argument of a call is a node whose value is known."""
        return getattr(fx, "name", None) in self._values

    def value(self, fx: torch.fx.Node) -> torch.Tensor:
        return self._values[fx.name]

    def is_mask(self, fx: torch.fx.Node) -> bool:
        """Whether a known tensor holds truth values, which select by their places as an index."""
        import torch

        return self.value(fx).dtype == torch.bool

    def user_name(self, fx: object) -> str:
        """ "conv1.weight", or an empty text for what the network does not store."""
        return self._user_names.get(getattr(fx, "name", ""), "")

    def add_zeros(self, fx: torch.fx.Node) -> None:
        """Notes that an input is zeros, such as the state with which a stream starts."""
        import torch

        self._values[fx.name] = torch.zeros(sizes_for_one_sample(fx))

    def can_fold(self, fx: torch.fx.Node, aten: str) -> bool:
        """Whether `fold` can compute a call: its tensors are known, and its operator is listed."""
        if creates_constant(aten):
            return True
        tensors = tensor_arguments(fx)
        if not tensors or any(tensor not in self for tensor in tensors):
            return False
        return is_item(fx) or (is_pure(fx) and aten in FOLDABLE)

    def fold(self, fx: torch.fx.Node, aten: str) -> None:
        """Computes a call, such as the transpose of a weight; its result becomes a constant."""
        if creates_constant(aten):
            self._values[fx.name] = created_constant(fx, aten)
            return
        source = tensor_arguments(fx)[0]
        if is_item(fx):
            self._values[fx.name] = self.value(first_argument(fx))[item_index(fx)]
        else:
            self._values[fx.name] = self._computed(fx)
        self._user_names[fx.name] = self.user_name(source)

    def _computed(self, fx: torch.fx.Node) -> torch.Tensor:
        """The result of a call on constants, for one sample if the batch is dynamic."""
        import torch
        from torch.fx.node import map_arg

        args, kwargs = map_arg((fx.args, fx.kwargs), lambda node: self._values.get(node.name, 1))
        with torch.no_grad():
            return guard(
                lambda: evaluate(fx, args, kwargs),
                lambda error: UserError(
                    f"it cannot be computed from the stored weights ({reason(error)})",
                    call_name(fx.name, aten_name(fx), source_line(fx)),
                    "Check its arguments and the shapes of the weights",
                ),
            )
