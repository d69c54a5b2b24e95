"""Calls that are no operators of ours, but can be said with some: told apart before `lower` reads.

Torch's own decompositions say some of them, the functions below the others, in torch. A program
without such a call is left as it is; else torch traces it anew, and keeps all other calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING

from deepcompress.ops import BY_ATEN

if TYPE_CHECKING:
    import torch

# Those that torch's own decomposition says with operators of ours.
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
    """The program without the calls of this file's tables."""
    import torch

    calls = [fx for fx in program.graph.nodes if isinstance(fx.target, torch._ops.OpOverload)]
    by_torch = {fx.target for fx in calls if fx.target._opname in _BY_TORCH}
    if not by_torch and not any(map(_asks, calls)):
        return program
    table = torch.export.default_decompositions()
    here = {_overload(name): how for name, how in _HERE.items()}
    return program.run_decompositions({op: table[op] for op in by_torch if op in table} | here)


def decomposed() -> set[str]:
    """Names of the calls that do not reach `lower`."""
    return _BY_TORCH | {name.partition(".")[0] for name in _HERE} - set(BY_ATEN)


def _overload(name: str) -> torch._ops.OpOverload:
    import torch

    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")


def _asks(fx: torch.fx.Node) -> bool:
    """Whether a call is one of those below, in a use that is not an operator of ours."""
    name = f"{fx.target._opname}.{fx.target._overloadname}".removesuffix(".default")
    if name == "div.Tensor":
        return all(hasattr(operand, "meta") for operand in fx.args[:2])
    if name == "pad":
        return min(fx.args[1]) < 0 and fx.args[2:3] in ((), ("constant",))
    if name in ("mean.dim", "sum.dim_IntList"):
        return not _adjacent(_axes(fx.args[0].meta["val"], fx.args[1]))
    return name in _HERE


def _axes(x: torch.Tensor, dim: int | Sequence[int] | None) -> list[int]:
    """Ascending, from 0 on; all where none is named."""
    dims = [dim] if isinstance(dim, int) else dim or range(x.dim())
    return sorted(axis % x.dim() for axis in dims)


def _adjacent(axes: list[int]) -> bool:
    return axes[-1] - axes[0] == len(axes) - 1


def _div(x: torch.Tensor, y: torch.Tensor | float) -> torch.Tensor:
    return x * y.reciprocal() if hasattr(y, "reciprocal") else NotImplemented


def _mean(
    x: torch.Tensor, dim: Sequence[int] | None, keepdim: bool = False, **_: object
) -> torch.Tensor:
    return _over_last(x, dim, keepdim, "mean")


def _sum(
    x: torch.Tensor, dim: Sequence[int] | None, keepdim: bool = False, **_: object
) -> torch.Tensor:
    return _over_last(x, dim, keepdim, "sum")


def _over_last(
    x: torch.Tensor, dim: Sequence[int] | None, keepdim: bool, function: str
) -> torch.Tensor:
    """Over axes that do not lie beside each other: they are moved behind the others."""
    axes = _axes(x, dim)
    if _adjacent(axes) or axes[0] == 0:
        return NotImplemented
    kept = [axis for axis in range(x.dim()) if axis not in axes]
    reduced = getattr(x.permute(*kept, *axes).flatten(len(kept)), function)(-1)
    return reduced.reshape(_reduced(x, axes)) if keepdim else reduced


def _reduced(x: torch.Tensor, axes: list[int]) -> list[int]:
    """The shape with 1 for each of these axes."""
    return [1 if axis in axes else size for axis, size in enumerate(x.shape)]


def _amax(x: torch.Tensor, dim: Sequence[int] = (), keepdim: bool = False) -> torch.Tensor:
    """A pooling window as high as the axes are long, of images as wide as what lies behind them."""
    import torch.nn.functional as F

    axes = _axes(x, dim)
    if axes[0] == 0:
        return NotImplemented
    if not _adjacent(axes):
        most = _amax(_amax(x, axes[1:], True), axes[:1], True)
    else:
        length = prod(x.shape[axes[0] : axes[-1] + 1])
        rows = x.reshape(x.shape[0], prod(x.shape[1 : axes[0]]), length, -1)
        most = F.max_pool2d(rows, (length, 1))
    shape = _reduced(x, axes)
    kept = [size for axis, size in enumerate(shape) if keepdim or axis not in axes]
    return most.reshape(kept)


def _amin(x: torch.Tensor, dim: Sequence[int] = (), keepdim: bool = False) -> torch.Tensor:
    most = _amax(-x, dim, keepdim)
    return most if most is NotImplemented else -most


def _max(x: torch.Tensor, dim: int, keepdim: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    return _amax(x, (dim,), keepdim), x.argmax(dim, keepdim)


def _min(x: torch.Tensor, dim: int, keepdim: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    return _amin(x, (dim,), keepdim), x.argmin(dim, keepdim)


def _maximum(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    import torch

    shape = torch.broadcast_shapes(x.shape, y.shape)
    return _amax(torch.stack([x.expand(shape), y.expand(shape)], 1), (1,))


def _minimum(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return -_maximum(-x, -y)


def _var(
    x: torch.Tensor,
    dim: int | Sequence[int] | None = None,
    *,
    correction: float | None = 1,
    keepdim: bool = False,
) -> torch.Tensor:
    axes = _axes(x, dim)
    count = prod(x.shape[axis] for axis in axes) - (1 if correction is None else correction)
    if axes[0] == 0 or count <= 0:
        return NotImplemented
    return (x - x.mean(axes, True)).square().sum(axes, keepdim) / count


def _var_unbiased(
    x: torch.Tensor, dim: Sequence[int] | None, unbiased: bool = True, keepdim: bool = False
) -> torch.Tensor:
    return _var(x, dim, correction=int(unbiased), keepdim=keepdim)


def _root_of(variance: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def deviation(*arguments: object, **options: object) -> torch.Tensor:
        found = variance(*arguments, **options)
        return found if found is NotImplemented else found.sqrt()

    return deviation


def _vector_norm(
    x: torch.Tensor,
    ord: float = 2,
    dim: Sequence[int] | None = None,
    keepdim: bool = False,
    **_: object,
) -> torch.Tensor:
    axes = _axes(x, dim)
    if axes[0] == 0 and x.dim() > 1:
        return NotImplemented
    return {
        1: lambda: x.abs().sum(axes, keepdim),
        2: lambda: x.square().sum(axes, keepdim).sqrt(),
    }.get(ord, lambda: NotImplemented)()


def _group_norm(
    x: torch.Tensor,
    groups: int,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
    *_: object,
) -> torch.Tensor:
    import torch.nn.functional as F

    rows = x.reshape(x.shape[0], groups, -1)
    normal = F.layer_norm(rows, rows.shape[2:], eps=eps).reshape(x.shape)
    across = (-1, *[1] * (x.dim() - 2))
    normal = normal if weight is None else normal * weight.reshape(across)
    return normal if bias is None else normal + bias.reshape(across)


def _instance_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    mean: torch.Tensor | None,
    variance: torch.Tensor | None,
    of_input: bool,
    momentum: float,
    eps: float,
    *_: object,
) -> torch.Tensor:
    import torch.nn.functional as F

    if of_input:
        return _group_norm(x, x.shape[1], weight, bias, eps)
    return F.batch_norm(x, mean, variance, weight, bias, False, momentum, eps)


def _hstack(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    import torch

    return torch.cat(tensors, 1)


def _lerp(x: torch.Tensor, y: torch.Tensor, weight: float) -> torch.Tensor:
    return x * (1 - weight) + y * weight


def _pad(
    x: torch.Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> torch.Tensor:
    """By less than nothing: that is cut off first."""
    import torch.nn.functional as F

    if min(pad) >= 0 or mode != "constant":
        return NotImplemented
    for axis, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True), start=1):
        cut = max(-before, 0), max(-after, 0)
        if any(cut):
            x = x.narrow(-axis, cut[0], x.shape[-axis] - sum(cut))
    return F.pad(x, [max(amount, 0) for amount in pad], mode, value)


def _roll(x: torch.Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> torch.Tensor:
    import torch

    if not dims:
        return NotImplemented
    for shift, dim in zip(shifts, dims, strict=True):
        last = shift % x.shape[dim]
        x = torch.cat(x.split([x.shape[dim] - last, last], dim)[::-1], dim) if last else x
    return x


# By name and overload. What is not decomposed in some use gives NotImplemented there.
_HERE = {
    "amax": _amax,
    "amin": _amin,
    "div.Tensor": _div,
    "group_norm": _group_norm,
    "hstack": _hstack,
    "instance_norm": _instance_norm,
    "lerp.Scalar": _lerp,
    "linalg_vector_norm": _vector_norm,
    "max.dim": _max,
    "max.other": _maximum,
    "maximum": _maximum,
    "mean.dim": _mean,
    "min.dim": _min,
    "min.other": _minimum,
    "minimum": _minimum,
    "pad": _pad,
    "roll": _roll,
    "std.correction": _root_of(_var),
    "std.dim": _root_of(_var_unbiased),
    "sum.dim_IntList": _sum,
    "var.correction": _var,
    "var.dim": _var_unbiased,
}
