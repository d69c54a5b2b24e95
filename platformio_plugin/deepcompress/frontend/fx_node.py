"""Reads the nodes of torch's exported program: their operator, arguments, shape and origin."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any, cast

from deepcompress.errors import UserError, setting
from deepcompress.ir.arrays import Float32Array, frozen

if TYPE_CHECKING:
    import torch

# Calls that create constants: filled with one value, or with a range of values.
_FILLED = {"zeros": 0.0, "ones": 1.0, "full": None}
_RANGES = {"arange", "linspace"}
# More than any microcontroller stores, in a constant that an import computes.
_MOST_NUMBERS = 1 << 26


def constants_of(program: torch.export.ExportedProgram) -> dict[str, torch.Tensor]:
    """Placeholder name -> parameter, buffer or lifted constant."""
    stored = {**program.constants, **program.state_dict}
    return {
        placeholder: stored[name].detach()
        for placeholder, name in constant_names(program).items()
        if name in stored
    }


def constant_names(program: torch.export.ExportedProgram) -> dict[str, str]:
    """Placeholder name -> the user's name, such as "conv1.weight"."""
    signature = program.graph_signature
    return {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }


def aten_name(fx: torch.fx.Node) -> str:
    """ "conv2d" for aten.conv2d.default."""
    schema = getattr(fx.target, "_schema", None)
    if schema is None:
        return str(getattr(fx.target, "__name__", fx.target))
    return str(schema.name).split("::")[-1]


def is_pure(fx: torch.fx.Node) -> bool:
    """Whether a call is of torch's operator library, not of another function of that name."""
    schema = getattr(fx.target, "_schema", None)
    return schema is not None and schema.name.startswith(("aten::", "quantized_decomposed::"))


def named_arguments(fx: torch.fx.Node) -> dict[str, Any]:
    """The call's arguments by their names in the operator's schema, defaults included."""
    schema = getattr(fx.target, "_schema", None)
    if schema is None:
        return {str(position): argument for position, argument in enumerate(fx.args)}
    named = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    named.update(zip((a.name for a in schema.arguments), fx.args, strict=False))
    named.update(fx.kwargs)
    return named


def tensor_arguments(fx: torch.fx.Node) -> list[torch.fx.Node]:
    """The nodes of all tensors among the arguments, in order, with repetitions.

    Sizes of a dynamic batch are integers, not tensors.
    """
    import torch
    from torch.fx.node import map_arg

    arguments: list[torch.fx.Node] = []
    map_arg((fx.args, fx.kwargs), arguments.append)
    tensors = (torch.Tensor, list, tuple)
    return [a for a in arguments if isinstance(a.meta.get("val"), tensors) or not a.meta]


def first_argument(fx: torch.fx.Node) -> torch.fx.Node:
    """The node of a call's first argument."""
    return cast("torch.fx.Node", fx.args[0])


def is_item(fx: torch.fx.Node) -> bool:
    """Whether a node selects one of several results of a call."""
    return aten_name(fx) == "getitem"


def item_index(fx: torch.fx.Node) -> int:
    """Which of several results an item is."""
    return cast(int, fx.args[1])


def computing_node(fx: torch.fx.Node) -> torch.fx.Node:
    """The call that computes a node: for an item, the call that has several results."""
    return first_argument(fx) if is_item(fx) else fx


def gives_tensor(fx: torch.fx.Node) -> bool:
    """Whether a call's result is one or several tensors, and not a size."""
    value = fx.meta.get("val")
    return value is None or isinstance(value, (list, tuple)) or hasattr(value, "shape")


def value_of(fx: torch.fx.Node) -> torch.Tensor:
    """A placeholder for a node's result, or for the first of several results."""
    value = fx.meta["val"]
    return cast("torch.Tensor", value[0] if isinstance(value, (list, tuple)) else value)


def shape_of(fx: torch.fx.Node, batch_axis: int = 0) -> tuple[int, ...]:
    """Shape of a node's result without the batch axis.

    Raises:
        UserError: it is dynamic, or a size is 0.
    """
    value = value_of(fx)
    sizes = [size for axis, size in enumerate(value.shape) if axis != batch_axis]
    if not all(str(size).isdigit() for size in sizes):
        raise UserError(
            f"its shape {tuple(value.shape)} is dynamic beyond the batch",
            f"tensor {fx.name}",
            f"Fix these sizes with {setting('input_shape')}, or export the model with fixed ones",
        )
    if any(int(size) == 0 for size in sizes):
        raise UserError(
            f"its shape {tuple(value.shape)} holds no values",
            f"tensor {fx.name}",
            "Give every axis a size of at least 1",
        )
    return tuple(int(size) for size in sizes)


def module_kind(fx: torch.fx.Node) -> str:
    """ "Conv2d": the class of the innermost module that makes a call, if torch recorded it."""
    modules = list((fx.meta.get("nn_module_stack") or {}).values())
    kind = modules[-1][1] if modules else ""
    return str(getattr(kind, "__name__", str(kind).rpartition(".")[2]))


def source_line(fx: torch.fx.Node) -> str:
    """ "model.py:31" of the user's code, if torch recorded it."""
    lines = (fx.meta.get("stack_trace") or "").splitlines()
    frames = [line for line in lines if 'File "' in line and "/torch/" not in line]
    if not frames:
        return ""
    file, _, rest = frames[-1].strip().removeprefix('File "').partition('", line ')
    return f"{file.rpartition('/')[2]}:{rest.split(',')[0]}"


def creates_constant(aten: str) -> bool:
    """Whether an operator fills a tensor from numbers alone, or of another tensor's shape."""
    return aten in _RANGES or _filled_by(aten) in _FILLED


def created_constant(fx: torch.fx.Node, aten: str) -> torch.Tensor:
    """The tensor that such a call creates, for one sample if the batch is dynamic."""
    import torch

    if aten in _RANGES:
        return evaluate(fx, fx.args, fx.kwargs)
    value = _FILLED[_filled_by(aten)]
    if value is None:
        value = named_arguments(fx)["fill_value"]
    sizes = sizes_for_one_sample(fx)
    _check_size(fx, prod(sizes))
    return torch.full(sizes, float(value))


def sizes_for_one_sample(fx: torch.fx.Node) -> list[int]:
    """The shape of a node's result, with a batch of 1 if it is dynamic."""
    return [int(size) if str(size).isdigit() else 1 for size in fx.meta["val"].shape]


def _filled_by(aten: str) -> str:
    """ "zeros" for new_zeros and zeros_like."""
    return aten.removeprefix("new_").removesuffix("_like")


def evaluate(fx: torch.fx.Node, args: Any, kwargs: Any) -> torch.Tensor:
    """The result of a call's operator for these arguments. Raises UserError if it is too large."""
    operator = cast("Callable[..., torch.Tensor]", fx.target)
    _check_size(fx, _result_size(fx, args, kwargs))
    return operator(*args, **kwargs)


def _result_size(fx: torch.fx.Node, args: Any, kwargs: Any) -> int:
    """How many numbers a call computes, from its arguments' shapes; 0 if torch cannot say."""
    import torch
    from torch.fx.node import map_aggregate

    def without_values(value: Any) -> Any:
        return value.to("meta") if isinstance(value, torch.Tensor) else value

    operator = cast("Callable[..., torch.Tensor]", fx.target)
    schema = getattr(fx.target, "_schema", None)
    named = dict(map_aggregate(kwargs, without_values))
    if any(argument.name == "device" for argument in getattr(schema, "arguments", ())):
        named["device"] = "meta"
    try:
        result = operator(*map_aggregate(args, without_values), **named)
    except Exception:  # an operator that depends on values raises one of many types
        return 0
    return result.numel() if isinstance(result, torch.Tensor) else 0


def _check_size(fx: torch.fx.Node, numbers: int) -> None:
    if numbers > _MOST_NUMBERS:
        raise UserError(
            f"the constant that it computes has {numbers:,} numbers",
            f"tensor {fx.name}",
            "No microcontroller stores as many: compute a smaller one in the model",
        )


def read_only(tensor: torch.Tensor) -> Float32Array:
    """A copy of the tensor as a float32 array that cannot be written."""
    return frozen(tensor.detach().cpu().float().numpy().copy())
