"""Decompositions of recurrent layers into GRU and LSTM of one layer and one direction.

A layer of two directions is two layers. One of them reads the sequence from its end, and its
outputs are reversed again. A cell is a layer that runs for one step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    Tensors = Sequence[torch.Tensor]
    # Input, states, weights, has biases -> outputs and states. All tensors are batch-major.
    RunLayer = Callable[[torch.Tensor, Tensors, Tensors, bool], tuple[torch.Tensor, ...]]


def _gru_layer(
    x: torch.Tensor, states: Tensors, weights: Tensors, has_biases: bool
) -> tuple[torch.Tensor, ...]:
    import torch

    return torch.gru(x, states[0], list(weights), has_biases, 1, 0.0, False, False, True)


def _lstm_layer(
    x: torch.Tensor, states: Tensors, weights: Tensors, has_biases: bool
) -> tuple[torch.Tensor, ...]:
    import torch

    return torch.lstm(x, list(states), list(weights), has_biases, 1, 0.0, False, False, True)


def decomposed_gru(
    x: torch.Tensor, hx: torch.Tensor, params: Tensors, has_biases: bool, *how: Any
) -> tuple[torch.Tensor, ...] | None:
    """nn.GRU of two directions; None in one direction."""
    return _directions(_gru_layer, x, [hx], params, has_biases, *how)


def decomposed_lstm(
    x: torch.Tensor, hx: Tensors, params: Tensors, has_biases: bool, *how: Any
) -> tuple[torch.Tensor, ...] | None:
    """nn.LSTM of two directions; None in one direction, and with projections of its outputs."""
    return _directions(_lstm_layer, x, hx, params, has_biases, *how)


def _directions(
    run: RunLayer,
    x: torch.Tensor,
    states: Tensors,
    params: Tensors,
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[torch.Tensor, ...] | None:
    import torch

    per_direction = 4 if has_biases else 2
    if not bidirectional or len(params) != 2 * num_layers * per_direction:
        return None
    x = x if batch_first else x.transpose(0, 1)
    lasts: list[tuple[torch.Tensor, ...]] = []
    for layer in range(num_layers):
        outputs = []
        for direction in range(2):
            i = 2 * layer + direction
            weights = params[i * per_direction : (i + 1) * per_direction]
            starts = [state.narrow(0, i, 1) for state in states]
            ordered = x.flip(1) if direction else x
            found, *last = run(ordered, starts, weights, has_biases)
            outputs.append(found.flip(1) if direction else found)
            lasts.append(tuple(last))
        x = torch.cat(outputs, 2)
    outputs_of_last = x if batch_first else x.transpose(0, 1)
    return (outputs_of_last, *(torch.cat(last, 0) for last in zip(*lasts, strict=True)))


def decomposed_gru_cell(
    x: torch.Tensor, hx: torch.Tensor, w_ih: torch.Tensor, w_hh: torch.Tensor, *biases: torch.Tensor
) -> torch.Tensor:
    """nn.GRUCell."""
    outputs, _ = _gru_layer(x.unsqueeze(1), [hx.unsqueeze(0)], *_cell_weights(w_ih, w_hh, biases))
    return outputs.select(1, 0)


def decomposed_lstm_cell(
    x: torch.Tensor, hx: Tensors, w_ih: torch.Tensor, w_hh: torch.Tensor, *biases: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """nn.LSTMCell."""
    starts = [state.unsqueeze(0) for state in hx]
    weights = _cell_weights(w_ih, w_hh, biases)
    outputs, _, cell = _lstm_layer(x.unsqueeze(1), starts, *weights)
    return outputs.select(1, 0), cell.select(0, 0)


def _cell_weights(
    w_ih: torch.Tensor, w_hh: torch.Tensor, biases: Sequence[torch.Tensor | None]
) -> tuple[list[torch.Tensor], bool]:
    given = [bias for bias in biases if bias is not None]
    return [w_ih, w_hh, *given], bool(given)
