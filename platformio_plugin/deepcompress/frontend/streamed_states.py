"""Finds inputs that are the states of recurrent layers, and the outputs that return them.

Networks for streams are often exported so: the caller passes the state of a GRU or LSTM, and gets
the next one back. A stateful network keeps it instead, so it has neither the input nor the output.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from deepcompress.errors import UserError, setting
from deepcompress.frontend.fx_node import (
    aten_name,
    first_argument,
    is_item,
    item_index,
    value_of,
)
from deepcompress.ops.recurrent import RECURRENT

if TYPE_CHECKING:
    import torch

# Calls that change only the shape of a state, or do not change it at all.
_KEEP_VALUES = {
    *("view", "reshape", "squeeze", "unsqueeze", "flatten", "unflatten", "_unsafe_view"),
    *("clone", "contiguous", "detach", "alias", "to", "_to_copy"),
}
_CELLS = ("gru_cell", "lstm_cell")


@dataclass(frozen=True)
class StreamedStates:
    """Inputs and outputs of a program that are states of recurrent layers.

    Attributes:
        inputs: names of placeholders.
        outputs: positions among the program's outputs.
    """

    inputs: frozenset[str] = frozenset()
    outputs: frozenset[int] = frozenset()


def streamed_states(program: torch.export.ExportedProgram) -> StreamedStates:
    """The states of recurrent layers that the program takes and returns.

    An input is such a state if one recurrent layer, and nothing else, reads it as its initial
    state, and if an output is the last state of the same layer. If no other outputs are left, the
    outputs stay.
    """
    returned = list(_returned_states(program))
    inputs, outputs = set(), set()
    for fx in program.graph.nodes:
        if fx.op != "placeholder" or fx.name not in program.graph_signature.user_inputs:
            continue
        layer, which = _initial_state_of(fx)
        matching = {i for i, *state in returned if layer is not None and state == [layer, which]}
        if matching:
            inputs.add(fx.name)
            outputs |= matching
    others = set(range(len(_results(program)))) - outputs
    return StreamedStates(frozenset(inputs), frozenset(outputs if others else ()))


def check_stateful(states: StreamedStates, model: str) -> None:
    """Raises UserError for a program that takes and returns states without being stateful."""
    if not states.inputs:
        return
    names = " and ".join(sorted(states.inputs))
    many = len(states.inputs) > 1
    raise UserError(
        f"it takes and returns {names}, the state{'s' * many} of a recurrent layer",
        f"the model {model}",
        f"Set {setting('stateful', 'yes')}: the network then keeps the state from one inference to "
        f"the next, and has only its other inputs and outputs",
    )


def _results(program: torch.export.ExportedProgram) -> list[object]:
    (output,) = (fx for fx in program.graph.nodes if fx.op == "output")
    return list(cast("tuple[object, ...]", output.args[0]))


def _returned_states(
    program: torch.export.ExportedProgram,
) -> Iterator[tuple[int, torch.fx.Node, int]]:
    """Position of an output, the recurrent call, and which of its states the output is."""
    for i, result in enumerate(_results(program)):
        if not hasattr(result, "op"):
            continue
        source = cast("torch.fx.Node", result)
        while _keeps_values(source):
            source = first_argument(source)
        if _is_call(source, ("gru_cell",)):
            yield i, source, 0
        if not is_item(source):
            continue
        layer, item = first_argument(source), item_index(source)
        if _is_call(layer, RECURRENT) and item > 0:
            yield i, layer, item - 1
        if _is_call(layer, ("lstm_cell",)):
            yield i, layer, item


def _initial_state_of(fx: torch.fx.Node) -> tuple[torch.fx.Node | None, int]:
    """The only recurrent call that starts from a value, and which of its states it is."""
    while len(fx.users) == 1:
        (user,) = fx.users
        if _is_call(user, (*RECURRENT, *_CELLS)):
            starts = user.args[1] if isinstance(user.args[1], (list, tuple)) else [user.args[1]]
            return (user, list(starts).index(fx)) if fx in starts else (None, 0)
        if not _keeps_values(user):
            break
        fx = user
    return None, 0


def _is_call(fx: torch.fx.Node, names: Collection[str]) -> bool:
    return fx.op == "call_function" and aten_name(fx) in names


def _keeps_values(fx: torch.fx.Node) -> bool:
    if _is_call(fx, ("select",)):
        return bool(value_of(first_argument(fx)).shape[cast(int, fx.args[1])] == 1)
    return _is_call(fx, _KEEP_VALUES)
