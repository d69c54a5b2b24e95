"""Views (changes of shape) anywhere: correct in every stage, and without work on the device."""

from __future__ import annotations

import pytest
import torch
from chains import assert_c_equals
from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.plan import Plan
from deepcompress.backend.select_kernels import select_kernels
from deepcompress.data.calibration import Calibration
from deepcompress.errors import UserError
from deepcompress.ir.graph import Graph
from deepcompress.passes.fuse import fuse
from deepcompress.passes.quantize import quantize
from model_graphs import inputs_for, lowered
from torch import nn

NETWORKS = {
    "Linear to image": (
        nn.Sequential(nn.Linear(6, 32), nn.Unflatten(1, (2, 4, 4)), nn.Conv2d(2, 3, 3)),
        (6,),
    ),
    "activation after the view": (
        nn.Sequential(nn.Linear(6, 32), nn.Unflatten(1, (2, 4, 4)), nn.ReLU(), nn.Conv2d(2, 3, 3)),
        (6,),
    ),
    "image to another image": (
        nn.Sequential(
            nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Unflatten(1, (1, 8, 8)), nn.MaxPool2d(2)
        ),
        (4, 4, 4),
    ),
    "a view first": (nn.Sequential(nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 2, 3)), (16,)),
    "a view last": (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(2)), (1, 5, 5)),
    "a view only": (nn.Flatten(), (2, 3, 4)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_view_anywhere_keeps_the_function(name: str) -> None:
    module, shape = NETWORKS[name]
    assert_c_equals(module, *shape)


class Squeezing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x).relu().squeeze(-1).squeeze(-1)
        return y.unsqueeze(-1).unsqueeze(1).reshape(x.size(0), 2, 2)


def test_squeeze_unsqueeze_and_reshape_are_views() -> None:
    graph = assert_c_equals(Squeezing(), 3, 2, 2)
    assert [node.op for node in fuse(graph).nodes] == ["conv2d", "flatten"]
    assert graph.tensors[graph.outputs[0]].shape == (2, 2)


def planned(graph: Graph) -> Plan:
    integer = quantize(fuse(graph), Calibration(inputs_for(graph, 0)))
    return plan_memory(select_kernels(integer, cpu="cortex-m4"))


def test_a_view_takes_no_step_and_no_memory() -> None:
    with_view = planned(lowered(NETWORKS["Linear to image"][0], 6))
    assert [step.node.op for step in with_view.steps] == ["linear", "conv2d"]
    assert with_view.steps[0].output == with_view.steps[1].inputs[0]


def test_a_view_that_mixes_samples_is_refused() -> None:
    class Mixing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.squeeze().relu()

    with pytest.raises(UserError, match=r"it mixes the batch with the rest.*Keep the first axis"):
        lowered(Mixing(), 4, 1, 1)
