"""What the nodes of torch's exported program say: their operator, arguments, shape and origin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepcompress.errors import UserError

if TYPE_CHECKING:
    import torch

# Calls that make constants: of one value, or of those from a start to an end.
_FILLED = {"zeros": 0.0, "ones": 1.0, "full": None}
_RANGES = {"arange", "linspace"}


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
    """ "conv2d" from aten.conv2d.default."""
    schema = getattr(fx.target, "_schema", None)
    return schema.name.split("::")[-1] if schema else getattr(fx.target, "__name__", str(fx.target))


def is_pure(fx: torch.fx.Node) -> bool:
    """Whether a call is of torch's operator library, not of any other function of that name."""
    schema = getattr(fx.target, "_schema", None)
    return schema is not None and schema.name.startswith(("aten::", "quantized_decomposed::"))


def named_arguments(fx: torch.fx.Node) -> dict[str, Any]:
    """The call's arguments by their names in the operator's schema, defaults included."""
    schema = getattr(fx.target, "_schema", None)
    if schema is None:
        return dict(enumerate(fx.args))
    named = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    named.update(zip((a.name for a in schema.arguments), fx.args, strict=False))
    named.update(fx.kwargs)
    return named


def tensor_arguments(fx: torch.fx.Node) -> list[torch.fx.Node]:
    """The tensors among the arguments, in their order, as often as they are named.

    Sizes of a dynamic batch are integers, not tensors.
    """
    import torch
    from torch.fx.node import map_arg

    arguments: list[torch.fx.Node] = []
    map_arg((fx.args, fx.kwargs), arguments.append)
    tensors = (torch.Tensor, list, tuple)
    return [a for a in arguments if isinstance(a.meta.get("val"), tensors) or not a.meta]


def computing_node(fx: torch.fx.Node) -> torch.fx.Node:
    """The call that computes a node: of one of several results, that which gives them all."""
    return fx.args[0] if aten_name(fx) == "getitem" else fx


def gives_tensor(fx: torch.fx.Node) -> bool:
    """Whether a call's result is a tensor or several, and not a size."""
    value = fx.meta.get("val")
    return value is None or isinstance(value, (list, tuple)) or hasattr(value, "shape")


def value_of(fx: torch.fx.Node) -> torch.Tensor:
    """A stand-in for a node's result, for the first where it has several."""
    value = fx.meta["val"]
    return value[0] if isinstance(value, (list, tuple)) else value


def shape_of(fx: torch.fx.Node, samples: int = 0) -> tuple[int, ...]:
    """Shape of a node's result without the axis of the samples."""
    value = value_of(fx)
    sizes = [size for axis, size in enumerate(value.shape) if axis != samples]
    dynamic = [str(size) for size in sizes if not str(size).isdigit()]
    if dynamic:
        raise UserError(
            f"its shape {tuple(value.shape)} is dynamic beyond the batch",
            f"tensor {fx.name}",
            "Say which sizes it shall have with input_shape; or export the model with fixed ones",
        )
    return tuple(int(size) for size in sizes)


def module_kind(fx: torch.fx.Node) -> str:
    """ "Conv2d": the class of the innermost module that makes a call, where torch recorded it."""
    modules = list((fx.meta.get("nn_module_stack") or {}).values())
    kind = modules[-1][1] if modules else ""
    return getattr(kind, "__name__", str(kind).rpartition(".")[2])


def source_line(fx: torch.fx.Node) -> str:
    """ "model.py:31" of the user's code, where torch recorded it."""
    lines = (fx.meta.get("stack_trace") or "").splitlines()
    frames = [line for line in lines if 'File "' in line and "/torch/" not in line]
    if not frames:
        return ""
    file, _, rest = frames[-1].strip().removeprefix('File "').partition('", line ')
    return f"{file.rpartition('/')[2]}:{rest.split(',')[0]}"


def is_created(aten: str) -> bool:
    """Whether a call makes a constant of nothing, or of another tensor's shape."""
    return aten in _RANGES or aten.removeprefix("new_").removesuffix("_like") in _FILLED


def create(fx: torch.fx.Node, aten: str) -> torch.Tensor:
    """What the call makes, for one sample where the batch is dynamic."""
    import torch

    if aten in _RANGES:
        return fx.target(*fx.args, **fx.kwargs)
    value = _FILLED[aten.removeprefix("new_").removesuffix("_like")]
    if value is None:
        value = named_arguments(fx)["fill_value"]
    sizes = [int(size) if str(size).isdigit() else 1 for size in fx.meta["val"].shape]
    return torch.full(sizes, float(value))


def read_only(tensor: torch.Tensor) -> np.ndarray:
    array = tensor.detach().cpu().float().numpy().copy()
    array.flags.writeable = False
    return array
