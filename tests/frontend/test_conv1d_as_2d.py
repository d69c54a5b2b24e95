"""Layers on [channels, length] become two-dimensional ones; the change of shape costs nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from chains import assert_c_equals
from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.select_kernels import select_kernels
from deepcompress.data.calibration import Calibration
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.frontend.open_graph import open_graph
from deepcompress.options import Options
from deepcompress.passes.fuse import fuse
from deepcompress.passes.quantize import quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from model_graphs import inputs_for, lowered
from torch import nn

POOLS = [
    nn.Identity(),
    nn.MaxPool1d(2, padding=1),
    nn.MaxPool1d(1),
    nn.AvgPool1d(2, stride=1, padding=1),
    nn.AdaptiveAvgPool1d(1),
    nn.AdaptiveMaxPool1d(1),
]


@st.composite
def convolutions(draw: st.DrawFn, channels: int, length: int) -> nn.Conv1d:
    kernel = draw(st.integers(1, min(5, length)))
    groups = draw(st.sampled_from([g for g in (1, 2, channels) if channels % g == 0]))
    padding = draw(st.sampled_from(["same", 0, kernel // 2]))
    return nn.Conv1d(
        channels,
        groups * draw(st.integers(1, 3)),
        kernel,
        stride=1 if padding == "same" else draw(st.integers(1, 3)),
        padding=padding,
        dilation=draw(st.integers(1, 2)) if (kernel - 1) * 2 < length else 1,
        groups=groups,
        bias=draw(st.booleans()),
    )


@settings(max_examples=25, deadline=None)
@given(
    data=st.data(),
    channels=st.integers(1, 6),
    length=st.integers(4, 30),
    after=st.sampled_from([nn.Identity(), nn.ReLU(), nn.SiLU()]),
    seed=st.integers(0, 99),
)
def test_convolutions_and_pooling_equal_the_reference(
    data: st.DataObject, channels: int, length: int, after: nn.Module, seed: int
) -> None:
    torch.manual_seed(seed)
    conv = data.draw(convolutions(channels, length))
    pool = data.draw(st.sampled_from(POOLS))
    encoding = data.draw(st.sampled_from(["auto", "dense", "delta"]))
    assert_c_equals(
        nn.Sequential(conv, after, pool), channels, length, seed=seed, encoding=encoding
    )


def test_a_chain_of_convolutions_and_pooling_is_one_step_each() -> None:
    layers = [nn.Conv1d(3, 4, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(4, 2, 3), nn.ReLU()]
    graph = lowered(nn.Sequential(*layers, nn.Flatten(), nn.Linear(10, 2)), 3, 16)
    integer = quantize(fuse(graph), Calibration(inputs_for(graph, 0)))
    made = plan_memory(select_kernels(integer, cpu="cortex-m4"))
    assert [step.node.name for step in made.steps] == ["0", "3", "6"]


def test_core_aten_gives_the_same_layers() -> None:
    layers = [nn.Conv1d(3, 4, 3, padding=2, dilation=2, groups=1), nn.ReLU(), nn.MaxPool1d(2)]
    ops = [node.op for node in lowered(nn.Sequential(*layers), 3, 16, decompose=True).nodes]
    assert [op for op in ops if op != "flatten"] == ["conv2d", "clamp", "max_pool2d"]


@pytest.mark.parametrize("layer", [nn.Conv1d(4, 2, 4, padding="same"), nn.Conv1d(4, 2, 3)], ids=str)
def test_padding_by_name_is_read_from_torchscript_too(layer: nn.Module, tmp_path: Path) -> None:
    inputs = torch.randn(1, 4, 9, generator=torch.Generator().manual_seed(0))
    torch.jit.trace(layer.eval(), inputs).save(str(tmp_path / "net.pt"))
    graph = open_graph(tmp_path / "net.pt", Options(input_shape=(4, 9)), name="net")
    found = forward_numpy(graph, inputs.numpy())
    np.testing.assert_allclose(found, layer(inputs).detach().numpy(), atol=1e-5)
