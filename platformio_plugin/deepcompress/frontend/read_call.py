"""Reads an fx node as a call for `ops/*.read`: arguments and constants by name, batch-major."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Any

from deepcompress.errors import UserError
from deepcompress.frontend.fx_node import (
    computing_node,
    is_item,
    item_index,
    named_arguments,
    read_only,
    source_line,
    value_of,
)
from deepcompress.frontend.import_state import ImportState
from deepcompress.frontend.time_major import LayoutCall
from deepcompress.frontend.unsupported_ops import advice_for
from deepcompress.ir.aten_call import AtenCall, call_name
from deepcompress.ir.graph import LARGEST_VALUE
from deepcompress.ops import BY_ATEN
from deepcompress.ops.recurrent import RECURRENT

if TYPE_CHECKING:
    import torch

    from deepcompress.ir.arrays import Float32Array


def read_call(state: ImportState, fx: torch.fx.Node, aten: str) -> AtenCall:
    """The call with arguments by name, on batch-major tensors.

    Raises:
        UserError: it reads no tensor that depends on the input, or the batch is on an axis on
            which it is not supported.
    """
    data = state.data_arguments(fx)
    if not data:
        raise UserError(
            "it reads no input, and is not computed here",
            call_name(state.layer_name(fx), aten, source_line(fx)),
            advice_for(aten, default="Store its result in __init__, with register_buffer"),
        )
    layout = _batch_major(state, fx, aten, data)
    arguments = layout.arguments if layout else _arguments(fx)
    call = AtenCall(
        layer=state.layer_name(fx),
        source=source_line(fx),
        aten=layout.aten if layout else aten,
        arguments={name: value for name, value in arguments.items() if not hasattr(value, "name")},
        constants=_constants(state, fx),
        input_shapes=tuple(state.shape_of(argument) for argument in data),
        output_shape=state.shape_of(fx),
    )
    _check_numbers(call)
    layouts = {argument.name in state.time_major for argument in data}
    is_unknown = any(argument.name in state.unknown for argument in data)
    if (layout is None or len(layouts) > 1) and not is_unknown:
        raise call.unsupported(
            "it moves the batch to another axis, or works on an axis that holds it",
            "Leave the samples on the first axis; only around nn.GRU and nn.LSTM they may be "
            "on the second",
        )
    return call


# Limits of values may be infinite, and padding has better advice.
_CHECKING_NUMBERS = ("clamp", "pad")


def _check_numbers(call: AtenCall) -> None:
    """Raises UserError for a number that is NaN, or too large where the operator does not check."""
    is_limit = BY_ATEN.get(call.aten) in _CHECKING_NUMBERS
    for name, value in call.arguments.items():
        if not isinstance(value, float) or abs(value) <= LARGEST_VALUE:
            continue
        if isnan(value) or not is_limit:
            raise call.unsupported(
                f"its {name} is {value:g}, which is "
                + ("not a number" if isnan(value) else f"more than {LARGEST_VALUE:.0e}"),
                "Change this number in the model",
            )


def mark_result(state: ImportState, fx: torch.fx.Node, aten: str) -> None:
    """Notes whether a call's result is unknown, or time-major, because its inputs are."""
    data = state.data_arguments(fx)
    if any(argument.name in state.unknown for argument in data):
        state.unknown.add(fx.name)
    elif data:
        layout = _batch_major(state, fx, aten, data)
        if layout is not None and layout.time_major:
            state.time_major.add(fx.name)


def _batch_major(
    state: ImportState, fx: torch.fx.Node, aten: str, data: list[torch.fx.Node]
) -> LayoutCall | None:
    """A call on batch-major tensors; None where it is not supported on the axis of the batch."""
    value, is_time_major = value_of(data[0]), data[0].name in state.time_major
    arguments = _arguments(fx)
    if aten in RECURRENT and list(value.shape[:2]) == [1, 1]:
        arguments["batch_first"] = True  # one step of one sample: both orders are the same
    return LayoutCall(aten, arguments, value.dim(), is_time_major).batch_major()


def _arguments(fx: torch.fx.Node) -> dict[str, Any]:
    """Arguments by name; for one of several results also which one it is, as "item"."""
    arguments = named_arguments(computing_node(fx))
    return {**arguments, "item": item_index(fx)} if is_item(fx) else arguments


def _constants(state: ImportState, fx: torch.fx.Node) -> dict[str, Float32Array]:
    """The arguments that are constants; those in lists as "params.0", "params.1"."""
    arguments = named_arguments(computing_node(fx))
    elements = {
        f"{name}.{i}": element
        for name, value in arguments.items()
        if isinstance(value, (list, tuple))
        for i, element in enumerate(value)
    }
    return {
        name: read_only(state.constants.value(value))
        for name, value in {**arguments, **elements}.items()
        if value in state.constants
    }
