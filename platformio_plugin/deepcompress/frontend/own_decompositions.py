"""Decompositions of aten ops into supported ones, in torch, where torch's own do not help.

Each function has the arguments of its op. It returns None for uses that it leaves as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING

from deepcompress.frontend.recurrent_decompositions import (
    decomposed_gru,
    decomposed_gru_cell,
    decomposed_lstm,
    decomposed_lstm_cell,
)

if TYPE_CHECKING:
    import torch

    Decomposition = Callable[..., torch.Tensor | tuple[torch.Tensor, ...] | None]


def axes_of(x: torch.Tensor, dim: int | Sequence[int] | None) -> list[int]:
    """The axes in ascending order, counted from 0; all axes if none is given."""
    dims = [dim] if isinstance(dim, int) else dim or range(x.dim())
    return sorted(axis % x.dim() for axis in dims)


def are_adjacent(axes: list[int]) -> bool:
    """Whether ascending axes follow each other without a gap."""
    return axes[-1] - axes[0] == len(axes) - 1


def _div(x: torch.Tensor, y: torch.Tensor | float) -> torch.Tensor | None:
    import torch

    return x * y.reciprocal() if isinstance(y, torch.Tensor) else None


def _mean(
    x: torch.Tensor, dim: Sequence[int] | None, keepdim: bool = False, **_: object
) -> torch.Tensor | None:
    last = _axes_last(x, dim)
    return None if last is None else _kept(last.mean(-1), x, dim, keepdim)


def _sum(
    x: torch.Tensor, dim: Sequence[int] | None, keepdim: bool = False, **_: object
) -> torch.Tensor | None:
    last = _axes_last(x, dim)
    return None if last is None else _kept(last.sum(-1), x, dim, keepdim)


def _axes_last(x: torch.Tensor, dim: Sequence[int] | None) -> torch.Tensor | None:
    """The tensor with these axes moved to the end and flattened into one, if not adjacent."""
    axes = axes_of(x, dim)
    if are_adjacent(axes) or axes[0] == 0:
        return None
    kept = [axis for axis in range(x.dim()) if axis not in axes]
    return x.permute(*kept, *axes).flatten(len(kept))


def _kept(
    reduced: torch.Tensor, x: torch.Tensor, dim: Sequence[int] | None, keepdim: bool
) -> torch.Tensor:
    return reduced.reshape(_reduced_shape(x, axes_of(x, dim))) if keepdim else reduced


def _reduced_shape(x: torch.Tensor, axes: list[int]) -> list[int]:
    """The shape with 1 for each of these axes."""
    return [1 if axis in axes else size for axis, size in enumerate(x.shape)]


def _amax(x: torch.Tensor, dim: Sequence[int] = (), keepdim: bool = False) -> torch.Tensor | None:
    """None over the batch axis, which is not supported."""
    return None if axes_of(x, dim)[0] == 0 else _maximum_over(x, dim, keepdim)


def _maximum_over(x: torch.Tensor, dim: Sequence[int], keepdim: bool = False) -> torch.Tensor:
    """A pooling window as high as the axes are long, on images as wide as the axes after them."""
    import torch.nn.functional as F

    axes = axes_of(x, dim)
    if not are_adjacent(axes):
        maximum = _maximum_over(_maximum_over(x, axes[1:], True), axes[:1], True)
    else:
        length = prod(x.shape[axes[0] : axes[-1] + 1])
        rows = x.reshape(x.shape[0], prod(x.shape[1 : axes[0]]), length, -1)
        maximum = F.max_pool2d(rows, (length, 1))
    shape = _reduced_shape(x, axes)
    kept = [size for axis, size in enumerate(shape) if keepdim or axis not in axes]
    return maximum.reshape(kept)


def _amin(x: torch.Tensor, dim: Sequence[int] = (), keepdim: bool = False) -> torch.Tensor | None:
    maximum = _amax(-x, dim, keepdim)
    return None if maximum is None else -maximum


def _max(
    x: torch.Tensor, dim: int, keepdim: bool = False
) -> tuple[torch.Tensor, torch.Tensor] | None:
    maximum = _amax(x, (dim,), keepdim)
    return None if maximum is None else (maximum, x.argmax(dim, keepdim))


def _min(
    x: torch.Tensor, dim: int, keepdim: bool = False
) -> tuple[torch.Tensor, torch.Tensor] | None:
    minimum = _amin(x, (dim,), keepdim)
    return None if minimum is None else (minimum, x.argmin(dim, keepdim))


def _maximum(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    import torch

    shape = torch.broadcast_shapes(x.shape, y.shape)  # type: ignore[no-untyped-call]
    return _maximum_over(torch.stack([x.expand(shape), y.expand(shape)], 1), (1,))


def _minimum(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return -_maximum(-x, -y)


def _var(
    x: torch.Tensor,
    dim: int | Sequence[int] | None = None,
    *,
    correction: float | None = 1,
    keepdim: bool = False,
) -> torch.Tensor | None:
    axes = axes_of(x, dim)
    count = prod(x.shape[axis] for axis in axes) - (1 if correction is None else correction)
    if axes[0] == 0 or count <= 0:
        return None
    return (x - x.mean(axes, True)).square().sum(axes, keepdim) / count


def _var_unbiased(
    x: torch.Tensor, dim: Sequence[int] | None, unbiased: bool = True, keepdim: bool = False
) -> torch.Tensor | None:
    return _var(x, dim, correction=int(unbiased), keepdim=keepdim)


def _root_of(variance: Callable[..., torch.Tensor | None]) -> Decomposition:
    def deviation(*arguments: object, **options: object) -> torch.Tensor | None:
        squared = variance(*arguments, **options)
        return None if squared is None else squared.sqrt()

    return deviation


def _vector_norm(
    x: torch.Tensor,
    ord: float = 2,
    dim: Sequence[int] | None = None,
    keepdim: bool = False,
    **_: object,
) -> torch.Tensor | None:
    axes = axes_of(x, dim)
    if axes[0] == 0 and x.dim() > 1:
        return None
    if ord == 1:
        return x.abs().sum(axes, keepdim)
    if ord == 2:
        return x.square().sum(axes, keepdim).sqrt()
    return None


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
    normalized = F.layer_norm(rows, rows.shape[2:], eps=eps).reshape(x.shape)
    per_channel = (-1, *[1] * (x.dim() - 2))
    if weight is not None:
        normalized = normalized * weight.reshape(per_channel)
    return normalized if bias is None else normalized + bias.reshape(per_channel)


def _instance_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    mean: torch.Tensor | None,
    variance: torch.Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    *_: object,
) -> torch.Tensor:
    import torch.nn.functional as F

    if use_input_stats:
        return _group_norm(x, x.shape[1], weight, bias, eps)
    return F.batch_norm(x, mean, variance, weight, bias, False, momentum, eps)


def _hstack(tensors: list[torch.Tensor]) -> torch.Tensor | None:
    """None for vectors, which hstack joins along their only axis, that of the batch."""
    import torch

    return None if tensors[0].dim() == 1 else torch.cat(tensors, 1)


def _lerp(x: torch.Tensor, y: torch.Tensor, weight: float) -> torch.Tensor:
    return x * (1 - weight) + y * weight


def _pad(
    x: torch.Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> torch.Tensor | None:
    """Negative padding is cut off first."""
    import torch.nn.functional as F

    if min(pad) >= 0 or mode != "constant":
        return None
    for axis, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True), start=1):
        cut = max(-before, 0), max(-after, 0)
        if any(cut):
            x = x.narrow(-axis, cut[0], x.shape[-axis] - sum(cut))
    return F.pad(x, [max(amount, 0) for amount in pad], mode, value)


def _roll(x: torch.Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> torch.Tensor | None:
    import torch

    if not dims:
        return None
    for shift, dim in zip(shifts, dims, strict=True):
        last = shift % x.shape[dim]
        if last:
            first, rest = torch.split(x, [x.shape[dim] - last, last], dim)
            x = torch.cat((rest, first), dim)
    return x


# By name and overload.
OWN_DECOMPOSITIONS: dict[str, Decomposition] = {
    "amax": _amax,
    "amin": _amin,
    "div.Tensor": _div,
    "group_norm": _group_norm,
    "gru.input": decomposed_gru,
    "gru_cell": decomposed_gru_cell,
    "hstack": _hstack,
    "instance_norm": _instance_norm,
    "lerp.Scalar": _lerp,
    "linalg_vector_norm": _vector_norm,
    "lstm.input": decomposed_lstm,
    "lstm_cell": decomposed_lstm_cell,
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
