"""Decomposed calls compute what torch computes, and nearly the same in int8."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from chains import noise_of_int8
from deepcompress.errors import UserError
from deepcompress.frontend.decompositions import decompose, decomposed
from deepcompress.frontend.frontend import ImportedLayer
from deepcompress.frontend.fx_importer import import_graph
from deepcompress.frontend.own_decompositions import OWN_DECOMPOSITIONS
from deepcompress.passes.fuse import fuse
from model_graphs import Call, inputs_for, lowered, trained
from torch import nn
from torch.nn import functional as F


class Vector(nn.Module):
    """A recurrent cell on the values of a vector; of its results, the first one."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result = self.cell(x.flatten(1))
        return result[0] if isinstance(result, tuple) else result


# At least one example of every name in `decomposed()`.
CALLS = {
    "addcdiv": lambda x: torch.addcdiv(x, x, x.square() + 1, value=0.5),
    "addcmul": lambda x: torch.addcmul(x, x, x.tanh(), value=0.5),
    "amax": lambda x: x.amax((2, 3)),
    "amax kept": lambda x: x.amax(1, keepdim=True),
    "amax over axes that are not adjacent": lambda x: x.amax((1, 3)),
    "amin": lambda x: x.amin(2),
    "clip": lambda x: torch.clip(x, -0.5, 1),
    "div": lambda x: x / (x.square() + 1),
    "expand_as": lambda x: x.mean((2, 3), keepdim=True).expand_as(x),
    "glu": nn.GLU(1),
    "group_norm": nn.GroupNorm(2, 4),
    "gru_cell": Vector(nn.GRUCell(120, 4)),
    "gru_cell without bias": Vector(nn.GRUCell(120, 4, bias=False)),
    "hstack": lambda x: torch.hstack([x, x.relu()]),
    "instance_norm": nn.InstanceNorm2d(4, affine=True),
    "instance_norm with running statistics": nn.InstanceNorm2d(4, track_running_stats=True),
    "lerp": lambda x: torch.lerp(x, x.relu(), 0.3),
    "linalg_vector_norm": lambda x: F.normalize(x, dim=1),
    "linalg_vector_norm of 1": lambda x: x.norm(1, dim=2),
    "lstm_cell": Vector(nn.LSTMCell(120, 4)),
    "max": lambda x: x.max(2)[0],
    "max of two": lambda x: torch.max(x, x.mean(1, keepdim=True)),
    "maximum": lambda x: torch.maximum(x, torch.zeros(1)),
    "mean": lambda x: x.mean((1, 3)),
    "min": lambda x: x.min(3).values,
    "min of two": lambda x: torch.min(x, x * 0.5 + 0.2),
    "minimum": lambda x: torch.minimum(x, x * 0.5 + 0.2),
    "movedim": lambda x: x.movedim(1, -1),
    "pad": lambda x: F.pad(x, (-1, 2, 1, -2)),
    "repeat_interleave": lambda x: x.repeat_interleave(2, 2),
    "roll": lambda x: x.roll((1, -2), (2, 3)),
    "std": lambda x: x.std((2, 3)),
    "std corrected": lambda x: torch.std(x, 1, correction=0),
    "sum": lambda x: x.sum((1, 3), keepdim=True),
    "swapaxes": lambda x: x.swapaxes(1, 2),
    "tensor_split": lambda x: x.tensor_split(3, 3)[1],
    "tile": lambda x: x.tile(1, 2, 1, 1),
    "type_as": lambda x: x.tanh().type_as(x),
    "var": lambda x: x.var(1),
    "var corrected": lambda x: torch.var(x, (1, 2), correction=0),
    "view_as": lambda x: x.tanh().view_as(x),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_decomposed_call_computes_what_torch_does(name: str) -> None:
    torch.manual_seed(0)
    call = CALLS[name]
    module = trained(call) if isinstance(call, nn.Module) else Call(call)
    graph = lowered(module, 4, 5, 6)
    # The operators are tested in C elsewhere. A variance has twice the error of its input.
    assert noise_of_int8(graph, inputs_for(graph, 0)) < 4


def test_there_is_an_example_of_each_decomposed_call() -> None:
    assert {name.split(" ")[0] for name in CALLS} >= decomposed() | {"div", "mean", "pad", "sum"}


def test_a_program_without_such_calls_is_left_as_it_is() -> None:
    plain = nn.Sequential(nn.Conv2d(4, 2, 3), nn.Flatten(), Call(lambda x: x.mean(1) / 3))
    program = torch.export.export(plain.eval(), (torch.zeros(1, 4, 5, 6),))
    assert decompose(program) is program


def test_other_calls_keep_their_names() -> None:
    module = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding="same"), nn.GroupNorm(1, 4), nn.Conv1d(4, 2, 1)
    )
    module.insert(2, nn.Flatten(2))
    graph = fuse(lowered(module, 4, 5, 6))
    assert [node.name for node in graph.nodes if node.op == "conv2d"] == ["0", "3"]


KEPT = {
    "max": lambda x: x.max(0)[0],
    "min": lambda x: x.min(0).values,
    "amax": lambda x: x.amax((0, 1)),
    "hstack": lambda x: torch.hstack([x.flatten(), x.flatten()]),
}


@pytest.mark.parametrize("aten", KEPT)
def test_a_use_that_is_not_decomposed_is_reported_as_the_users_own_call(aten: str) -> None:
    """Over the batch; the group norm before it is still decomposed."""
    module = nn.Sequential(nn.GroupNorm(2, 4), Call(KEPT[aten]))
    program = torch.export.export(module.eval(), (torch.randn(1, 4, 5, 6),))
    layers: list[ImportedLayer] = []
    with pytest.raises(UserError):
        import_graph(program, name="net", layer=layers.append)
    problems = {layer.op: layer.problem.what for layer in layers if layer.problem}
    assert problems[aten] == f"the operator {aten} is not supported"
    assert "group_norm" not in {layer.op for layer in layers}


def fail_with(error: Exception) -> Callable[..., torch.Tensor]:
    def decomposition(*_: object) -> torch.Tensor:
        raise error

    return decomposition


def test_a_program_that_torch_cannot_trace_again_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = torch.export.export(Call(CALLS["amin"]), (torch.zeros(1, 4, 5, 6),))
    monkeypatch.setitem(OWN_DECOMPOSITIONS, "amin", fail_with(RuntimeError("data-dependent")))
    assert decompose(program) is program


def test_a_defect_in_a_decomposition_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    program = torch.export.export(Call(CALLS["amin"]), (torch.zeros(1, 4, 5, 6),))
    monkeypatch.setitem(OWN_DECOMPOSITIONS, "amin", fail_with(TypeError("a defect")))
    with pytest.raises(TypeError, match="a defect"):
        decompose(program)
