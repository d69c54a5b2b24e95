"""States that a network takes and returns are kept by a stateful network instead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from deepcompress.errors import UserError
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.frontend.open_graph import open_graph
from deepcompress.ir.batch_layout import in_chunks
from deepcompress.ir.graph import Graph
from deepcompress.options import Options
from deepcompress.passes.fuse import fuse
from deepcompress.passes.make_stateful import make_stateful
from model_graphs import assert_c_equals_reference
from torch import nn

CHUNKS, STEPS, FEATURES, UNITS = 4, 3, 3, 5


class Streamed(nn.Module):
    """A recurrent layer that takes and returns its states, and a Linear on its outputs."""

    def __init__(self, kind: type, layers: int = 1) -> None:
        super().__init__()
        self.layer = kind(FEATURES, UNITS, num_layers=layers, batch_first=True)
        self.out = nn.Linear(UNITS, 2)

    def forward(self, x: torch.Tensor, *states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        lstm = isinstance(self.layer, nn.LSTM)
        outputs, last = self.layer(x, states if lstm else states[0])
        return self.out(outputs), *(last if lstm else [last])


class Squeezed(Streamed):
    """The state has no axis of layers outside of the network."""

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs, last = self.layer(x, h.unsqueeze(0))
        return self.out(outputs), last.squeeze(0)


class Cells(nn.Module):
    """One step at a time, by cells."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.GRUCell(FEATURES, UNITS), nn.LSTMCell(UNITS, UNITS)
        self.out = nn.Linear(UNITS, 2)

    def forward(
        self, x: torch.Tensor, g: torch.Tensor, h: torch.Tensor, c: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        g = self.first(x, g)
        h, c = self.second(g, (h, c))
        return self.out(h), g, h, c


CASES = {
    "GRU": (Streamed(nn.GRU), [(1, 1, UNITS)]),
    "LSTM": (Streamed(nn.LSTM), [(1, 1, UNITS)] * 2),
    "GRU of two layers": (Streamed(nn.GRU, 2), [(2, 1, UNITS)]),
    "GRU with a state of two axes": (Squeezed(nn.GRU), [(1, UNITS)]),
    "cells": (Cells(), [(1, UNITS)] * 3),
}


def saved(module: nn.Module, shapes: list[tuple[int, ...]], path: Path) -> Path:
    x = torch.zeros(1, FEATURES) if isinstance(module, Cells) else torch.zeros(1, STEPS, FEATURES)
    states = [torch.zeros(shape) for shape in shapes]
    torch.export.save(torch.export.export(module.eval(), (x, *states)), path)
    return path


def stream_of(graph: Graph) -> np.ndarray:
    shape = (CHUNKS, *graph.tensors[graph.inputs[0]].shape)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_a_stateful_network_continues_as_with_the_states_of_its_caller(
    case: str, tmp_path: Path
) -> None:
    module, shapes = CASES[case]
    path = saved(module, shapes, tmp_path / "net.pt2")
    graph = open_graph(path, Options(stateful=True), name="net")
    assert (len(graph.inputs), len(graph.outputs)) == (1, 1)
    chunks = stream_of(graph)
    states, expected = [torch.zeros(shape) for shape in shapes], []
    with torch.no_grad():
        for chunk in torch.tensor(chunks):
            result, *states = module(chunk[None], *states)
            expected.append(result[0].numpy())
    found = forward_numpy(in_chunks(make_stateful(graph), CHUNKS), chunks)
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-5)


@pytest.mark.parametrize("case", ["LSTM", "cells"])
def test_the_c_of_a_stateful_network_equals_the_reference(case: str, tmp_path: Path) -> None:
    path = saved(*CASES[case], tmp_path / "net.pt2")
    graph = make_stateful(fuse(open_graph(path, Options(stateful=True), name="net")))
    assert_c_equals_reference(graph, 0, "auto", "balanced")


@pytest.mark.parametrize("case", CASES)
def test_without_the_option_the_error_names_it(case: str, tmp_path: Path) -> None:
    path = saved(*CASES[case], tmp_path / "net.pt2")
    with pytest.raises(UserError, match=r"it takes and returns .* state.*stateful.* yes"):
        open_graph(path, Options(), name="net")


def test_a_state_that_is_not_returned_is_refused(tmp_path: Path) -> None:
    class Decoder(Streamed):
        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return self.out(self.layer(x, h)[0])

    path = saved(Decoder(nn.GRU), [(1, 1, UNITS)], tmp_path / "net.pt2")
    for stateful in (False, True):
        with pytest.raises(UserError, match="starts from a state that is not zero"):
            open_graph(path, Options(stateful=stateful), name="net")


def test_a_state_that_is_used_elsewhere_stays_an_output(tmp_path: Path) -> None:
    """The network has no output but its state."""
    cell = nn.GRUCell(FEATURES, UNITS).eval()
    x, h = torch.zeros(1, FEATURES), torch.zeros(1, UNITS)
    torch.export.save(torch.export.export(cell, (x, h)), tmp_path / "net.pt2")
    graph = open_graph(tmp_path / "net.pt2", Options(stateful=True), name="net")
    assert graph.tensors[graph.outputs[0]].shape == (UNITS,)
    assert len(graph.inputs) == 1
