"""GRU and LSTM over windows, dense and sparse, in C and against torch."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from c_runner import INCLUDE
from chains import assert_c_equals, noise_of_int8
from deepcompress.encodings import ENCODINGS
from deepcompress.errors import UserError
from deepcompress.execute.float_torch import forward, to_torch
from deepcompress.frontend.fx_importer import import_graph
from deepcompress.ops.recurrent import TANH_TABLE, sigmoid, tanh
from deepcompress.passes.fuse import fuse
from hypothesis import given, settings
from hypothesis import strategies as st
from model_graphs import inputs_for, lowered
from torch import nn

KINDS = [nn.GRU, nn.LSTM]


class Sequence(nn.Module):
    """A recurrent layer of which all outputs are read, or the last one in any of several ways."""

    def __init__(self, layer: nn.Module, read: str, *after: nn.Module) -> None:
        super().__init__()
        self.layer, self.read, self.after = layer, read, nn.Sequential(*after)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs, state = self.layer(x)
        state = state[0] if isinstance(state, tuple) else state
        read = {
            "outputs": lambda: outputs,
            "state[-1]": lambda: state[-1],
            "state.squeeze(0)": lambda: state.squeeze(0),
            "outputs[:, -1]": lambda: outputs[:, -1],
            "both": lambda: outputs.flatten(1) + state[-1].repeat(1, outputs.shape[1]),
        }
        return self.after(read[self.read]())


def recurrent(kind: type, features: int, hidden: int, share: float = 0.0, **how) -> nn.Module:
    layer = kind(features, hidden, batch_first=True, **how)
    for name, weight in layer.named_parameters():
        if "weight" in name:
            weight.data[torch.rand(weight.shape) < share] = 0
    return layer


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9)),
    layers=st.integers(1, 2),
    bias=st.booleans(),
    share=st.sampled_from([0.0, 0.7, 1.0]),
    spread=st.sampled_from([0.1, 1.0, 10.0]),
    read=st.sampled_from(["outputs", "outputs[:, -1]", "state[-1]", "both"]),
    after=st.sampled_from([nn.Identity(), nn.ReLU(), nn.Hardtanh(-0.1, 0.3)]),
    encoding=st.sampled_from(["auto", *ENCODINGS]),
    seed=st.integers(0, 99),
)
def test_all_shapes_and_encodings_equal_the_reference(
    kind: type,
    sizes: tuple[int, int, int],
    layers: int,
    bias: bool,
    share: float,
    spread: float,
    read: str,
    after: nn.Module,
    encoding: str,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    steps, features, hidden = sizes
    layer = recurrent(kind, features, hidden, share, num_layers=layers, bias=bias)
    for parameter in layer.parameters():
        parameter.data *= spread
    net = Sequence(layer, read, after)
    assert_c_equals(net, steps, features, seed=seed, encoding=encoding)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("read", ["outputs", "outputs[:, -1]", "state[-1]", "state.squeeze(0)"])
def test_int8_is_within_a_few_steps_of_float_after_many_steps(kind: type, read: str) -> None:
    torch.manual_seed(0)
    graph = lowered(Sequence(recurrent(kind, 10, 32), read), 50, 10)
    assert noise_of_int8(graph, inputs_for(graph, 0)) < 1.5


@pytest.mark.parametrize("read", ["outputs[:, -1]", "state[-1]"])
def test_unused_outputs_are_not_stored(read: str) -> None:
    graph = fuse(lowered(Sequence(recurrent(nn.GRU, 3, 4), read, nn.Linear(4, 2)), 5, 3))
    assert [node.op for node in graph.nodes] == ["gru", "linear"]
    assert graph.tensors[graph.nodes[0].output].shape == (4,)


@pytest.mark.parametrize("kind", KINDS)
def test_the_float_graph_can_be_trained(kind: type) -> None:
    graph = lowered(Sequence(recurrent(kind, 3, 4), "state[-1]", nn.Linear(4, 2)), 5, 3)
    parameters = to_torch(graph)
    for tensor in parameters["layer"].values():
        tensor.requires_grad_(True)
    forward(graph, torch.randn(2, 5, 3), parameters=parameters).sum().backward()
    assert all(tensor.grad.abs().min() > 0 for tensor in parameters["layer"].values())


def test_the_kernel_and_the_specification_have_the_same_table() -> None:
    text = (INCLUDE / "deepcompress" / "kernels" / "recurrent.h").read_text()
    numbers = re.search(r"dc_tanh_table\[129\] = \{([^}]*)\}", text)[1]
    assert [int(n) for n in re.findall(r"\d+", numbers)] == TANH_TABLE.tolist()


def test_gate_functions_are_accurate_to_one_in_two_thousand() -> None:
    gates = np.arange(-(2**16), 2**16 + 1)
    assert np.abs(tanh(gates) / 2**15 - np.tanh(gates / 2**12)).max() < 1 / 2000
    exact = 1 / (1 + np.exp(-gates / 2**12))
    assert np.abs(sigmoid(gates) / 2**15 - exact).max() < 1 / 2000


class BothWays(nn.Module):
    """A bidirectional layer, of which outputs and last states are read in any of several ways."""

    def __init__(self, kind: type, read: str, **how) -> None:
        super().__init__()
        self.layer, self.read = kind(3, 4, bidirectional=True, **how), read
        self.batch_first = self.layer.batch_first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs, state = self.layer(x if self.batch_first else x.transpose(0, 1))
        state = state[0] if isinstance(state, tuple) else state
        outputs = outputs if self.batch_first else outputs.transpose(0, 1)
        read = {
            "outputs": lambda: outputs,
            "last output": lambda: outputs[:, -1],
            "last states": lambda: torch.cat([state[-2], state[-1]], 1),
            "last states, permuted": lambda: state.permute(1, 0, 2).flatten(1),
            "states of the first layer": lambda: torch.cat(state.unbind(0)[:2], 1),
            "both": lambda: outputs.mean(1) + torch.hstack([state[0], state[1]]),
        }
        return read[self.read]()


@pytest.mark.parametrize(("kind", "batch_first"), [(nn.GRU, True), (nn.LSTM, False)])
@pytest.mark.parametrize(
    ("layers", "read"),
    [
        (2, "outputs"),
        (1, "last output"),
        (2, "last states"),
        (1, "last states, permuted"),
        (2, "states of the first layer"),
    ],
)
def test_layers_of_both_directions_compute_what_torch_does(
    kind: type, batch_first: bool, layers: int, read: str
) -> None:
    torch.manual_seed(0)
    module = BothWays(kind, read, num_layers=layers, batch_first=batch_first)
    graph = lowered(module, 6, 3)
    assert noise_of_int8(graph, inputs_for(graph, 0)) < 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_c_of_both_directions_equals_the_reference(kind: type) -> None:
    torch.manual_seed(0)
    assert_c_equals(BothWays(kind, "both"), 6, 3)


def test_the_parts_of_a_layer_have_its_name() -> None:
    graph = lowered(BothWays(nn.LSTM, "outputs", num_layers=2, batch_first=True), 6, 3)
    names = [node.name for node in graph.nodes if node.op == "lstm"]
    assert names == ["layer", "layer.l0_reverse", "layer.l1", "layer.l1_reverse"]


STATES = {
    "of the first of two layers": (2, lambda state: state[0]),
    "of all layers": (2, lambda state: state.transpose(0, 1).flatten(1)),
    "of the last layer, squeezed": (1, lambda state: state.squeeze(0)),
    "in two ways": (1, lambda state: state[0] + state.permute(1, 0, 2).flatten(1)),
    "of some layers": (3, lambda state: torch.cat([state[:1], state[2:]]).transpose(0, 1).mean(1)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", STATES)
def test_states_of_several_layers_may_be_read(kind: type, case: str) -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = kind(3, 4, num_layers=STATES[case][0], batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            state = self.layer(x)[1]
            return STATES[case][1](state[0] if isinstance(state, tuple) else state)

    torch.manual_seed(0)
    graph = lowered(Reads(), 5, 3)
    assert noise_of_int8(graph, inputs_for(graph, 0)) < 2


@pytest.mark.parametrize("cell", [nn.GRUCell, nn.LSTMCell])
def test_a_cell_is_a_layer_of_one_step(cell: type) -> None:
    torch.manual_seed(0)
    graph = lowered(Cell(cell(3, 4)), 3)
    assert [node.op for node in fuse(graph).nodes if "weight" in node.parameters] == [
        "gru" if cell is nn.GRUCell else "lstm"
    ]


class Cell(nn.Module):
    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result = self.cell(x)
        return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize("kind", KINDS)
def test_an_initial_state_other_than_zero_is_reported_with_what_to_do(kind: type) -> None:
    class Starts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.start = kind(3, 4, batch_first=True), nn.Parameter(torch.ones(1, 1, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            start = (self.start, self.start) if kind is nn.LSTM else self.start
            return self.layer(x, start)[0]

    with pytest.raises(UserError, match=r"a state that is not zero\. .*stateful.* yes"):
        lowered(Starts(), 5, 3)


class FoldsSteps(nn.Module):
    """A convolution on each frame of a sequence, which is made part of the batch for it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.layer = nn.Conv2d(1, 2, 3), nn.LSTM(8, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frames = self.conv(x.reshape(-1, *x.shape[2:]))
        return self.layer(frames.reshape(*x.shape[:2], -1))[0]


def test_steps_in_the_batch_are_refused_with_what_to_do() -> None:
    with pytest.raises(UserError, match=r"5 samples of the 5 steps.*one step.*stateful.* yes"):
        lowered(FoldsSteps(), 5, 1, 4, 4)
    assert [node.op for node in fuse(lowered(FoldsSteps(), 1, 1, 4, 4)).nodes] == [
        *("flatten", "conv2d", "flatten", "lstm")
    ]


REFUSED = {
    "time before the batch": ({"batch_first": False}, "batch_first=True"),
    "a projection": ({"proj_size": 2}, "projection"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_unsupported_variants_are_reported_with_what_to_do(case: str) -> None:
    how, complaint = REFUSED[case]
    layer = nn.LSTM(3, 4, **{"batch_first": True, **how})
    with pytest.raises(UserError, match=complaint):
        lowered(Sequence(layer, "outputs"), 2, 3)


class StepsFirst(nn.Module):
    """A recurrent layer without batch_first, between transpositions of the first two axes."""

    def __init__(self, kind: type, read: str) -> None:
        super().__init__()
        self.conv, self.layer = nn.Conv1d(3, 4, 3), kind(4, 5)
        self.fc, self.read = nn.Linear(5, 2), read

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs, state = self.layer(self.conv(x).permute(2, 0, 1))
        state = state[0] if isinstance(state, tuple) else state
        read = {
            "outputs": lambda: self.fc(torch.relu(outputs)).transpose(0, 1),
            "outputs[-1]": lambda: self.fc(outputs[-1]),
            "the last two": lambda: outputs[-2:].permute(1, 2, 0),
            "their mean": lambda: outputs.mean(0),
            "one of each": lambda: outputs[:, :, 1].transpose(0, 1),
            "state[-1]": lambda: self.fc(state[-1]),
        }
        return read[self.read]()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "read", ["outputs", "outputs[-1]", "the last two", "their mean", "one of each", "state[-1]"]
)
def test_inputs_may_be_time_major(kind: type, read: str) -> None:
    torch.manual_seed(0)
    graph = assert_c_equals(StepsFirst(kind, read), 3, 9)
    assert noise_of_int8(graph, inputs_for(graph, 0)) < 4


def test_time_major_outputs_keep_the_order_of_their_values() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.GRU(4, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x.transpose(0, 1))[0]

    graph = import_graph(torch.export.export(Plain(), (torch.zeros(1, 7, 4),)), name="net")
    assert graph.tensors[graph.outputs[0]].shape == (7, 5)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[:, 0],
        lambda x: x.softmax(0),
        lambda x: x.flatten(1),
        lambda x: x + x.transpose(0, 1),
    ],
    ids=["a sample", "a softmax over steps", "a vector", "a sum of both orders"],
)
def test_operators_that_need_batch_major_tensors_report_it(function: Callable) -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return function(x.transpose(0, 1))

    with pytest.raises(UserError, match=r"only around nn\.GRU and nn\.LSTM they may be"):
        import_graph(torch.export.export(Odd(), (torch.zeros(1, 7, 4),)), name="net")
