"""Decomposes unsupported aten ops into supported ones before import.

Torch's own decompositions handle some ops, `own_decompositions` the others. A program
without such ops is left as it is; otherwise torch traces it again and keeps all other calls.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

from deepcompress.frontend.own_decompositions import OWN_DECOMPOSITIONS, are_adjacent, axes_of
from deepcompress.ops import BY_ATEN

if TYPE_CHECKING:
    import torch

    from deepcompress.frontend.own_decompositions import Decomposition

# Ops whose built-in torch decomposition yields only supported ops.
_BY_TORCH = {
    "addcdiv",
    "addcmul",
    "clip",
    "expand_as",
    "glu",
    "movedim",
    "repeat_interleave",
    "swapaxes",
    "tensor_split",
    "tile",
    "type_as",
    "view_as",
}


def decompose(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program without the ops of `decomposed`, except in uses that no decomposition handles.

    A program that torch cannot trace again is returned as it is; the importer then reports its
    unsupported calls one by one.
    """
    import torch

    calls = [fx for fx in program.graph.nodes if isinstance(fx.target, torch._ops.OpOverload)]
    by_torch = {fx.target for fx in calls if fx.target._opname in _BY_TORCH}
    if not by_torch and not any(map(_needs_decomposition, calls)):
        return program
    builtin = torch.export.default_decompositions()
    table: dict[Any, Callable[..., Any]] = {op: builtin[op] for op in by_torch if op in builtin}
    table |= {
        _overload(name): _for_torch(function) for name, function in OWN_DECOMPOSITIONS.items()
    }
    try:
        result: torch.export.ExportedProgram = program.run_decompositions(table)
    except RuntimeError:  # torch cannot trace this program a second time
        return program
    return result


def decomposed() -> set[str]:
    """Names of the aten ops that do not reach the importer."""
    return _BY_TORCH | {name.partition(".")[0] for name in OWN_DECOMPOSITIONS} - set(BY_ATEN)


def _overload(name: str) -> torch._ops.OpOverload[..., Any]:
    import torch

    packet, _, overload = name.partition(".")
    operator = getattr(getattr(torch.ops.aten, packet), overload or "default")
    return cast("torch._ops.OpOverload[..., Any]", operator)


def _for_torch(decomposition: Decomposition) -> Callable[..., Any]:
    """The decomposition as torch calls it: NotImplemented keeps a call as it is."""

    @wraps(decomposition)
    def decompose_call(*arguments: object, **options: object) -> object:
        result = decomposition(*arguments, **options)
        return NotImplemented if result is None else result

    return decompose_call


def _needs_decomposition(fx: torch.fx.Node) -> bool:
    """Whether a call has an own decomposition, and is in a use that the importer refuses."""
    target = cast("torch._ops.OpOverload[..., Any]", fx.target)
    name = f"{target._opname}.{target._overloadname}".removesuffix(".default")
    args = cast("tuple[Any, ...]", fx.args)
    if name == "div.Tensor":
        return all(hasattr(operand, "meta") for operand in args[:2])
    if name == "pad":
        return min(args[1]) < 0 and args[2:3] in ((), ("constant",))
    if name in ("gru.input", "lstm.input"):
        return bool(args[7])  # bidirectional
    if name in ("mean.dim", "sum.dim_IntList"):
        return not are_adjacent(axes_of(args[0].meta["val"], args[1]))
    return name in OWN_DECOMPOSITIONS
