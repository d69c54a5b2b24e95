"""Layers that share their weights: the weights are in flash once and are counted once."""

from __future__ import annotations

import re
from pathlib import Path

import c_runner
import numpy as np
import pytest
import torch
from deepcompress.compile import Compiled, compile_model
from deepcompress.execute.int8_reference import quantize_inputs, run
from deepcompress.options import Options
from torch import nn


class Tied(nn.Module):
    """One convolution used twice with different scales, and two Linears with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.wide, self.again = nn.Linear(64, 64), nn.Linear(64, 64)
        self.again.weight = self.wide.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv(torch.relu(self.conv(x))))
        return self.again(torch.relu(self.wide(torch.flatten(x, 1))))


@pytest.fixture(scope="module", params=[None, 0.8])
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """The compiled network, with dense weights and with pruned ones."""
    path = tmp_path_factory.mktemp("tied") / "net.pt2"
    torch.manual_seed(0)
    torch.export.save(torch.export.export(Tied().eval(), (torch.zeros(1, 4, 4, 4),)), path)
    return compile_model(path, name="net", options=Options(sparsity=request.param))


def test_shared_weights_are_written_once_and_read_by_both(compiled: Compiled) -> None:
    layers = re.findall(
        r"static const dc_weights weights = \{.*?\};", compiled.texts["net.c"], re.S
    )
    arrays = [re.findall(r"\.(?:values|index|codebook) = (\w+)", layer) for layer in layers]
    assert len(layers) == 4
    assert arrays[0] == arrays[1]
    assert arrays[2] == arrays[3]
    for name in {*arrays[0], *arrays[2]}:
        assert compiled.texts["net_weights.h"].count(f" {name}[") == 1


def test_the_report_counts_them_once(compiled: Compiled) -> None:
    facts = compiled.report
    assert [layer["weight_bytes"] > 0 for layer in facts["layers"]] == [True, False, True, False]
    assert facts["parameters"]["count"] == 4 * 4 * 9 + 4 + 64 * 64 + 64
    total = sum(layer["flash_bytes"] for layer in facts["layers"])
    assert total == facts["flash"]["weights_bytes"]


def test_the_c_equals_the_reference(compiled: Compiled, tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).normal(size=(8, 4, 4, 4)).astype(np.float32)
    program = c_runner.build(compiled.texts, name="net", folder=tmp_path, kind="float")
    expected = run(compiled.integer, quantize_inputs(inputs, compiled.integer))
    np.testing.assert_array_equal(c_runner.run(program, inputs, 64), expected)
