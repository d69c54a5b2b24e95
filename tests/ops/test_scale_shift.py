"""BatchNorm and arithmetic with constants: fused into weights if exact, else a separate layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from chains import assert_c_equals
from deepcompress.data.calibration import Calibration
from deepcompress.errors import UserError
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.execute.int8_reference import dequantize, quantize_float, run
from deepcompress.ir.graph import Graph
from deepcompress.passes.fuse import fuse
from deepcompress.passes.quantize import quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from model_graphs import Call, inputs_for, lowered, trained
from torch import nn


def ops(graph: Graph) -> list[str]:
    return [node.op for node in fuse(graph).nodes]


FOLDED = {
    "after a convolution": (
        nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        ["conv2d"],
    ),
    "after groups": (nn.Sequential(nn.Conv2d(2, 6, 3, groups=2), nn.BatchNorm2d(6)), ["conv2d"]),
    "after depthwise": (
        nn.Sequential(nn.Conv2d(2, 2, 3, groups=2), nn.BatchNorm2d(2)),
        ["conv2d"],
    ),
    "after a Linear": (
        nn.Sequential(nn.Flatten(), nn.Linear(128, 5), nn.BatchNorm1d(5), nn.ReLU6()),
        ["linear"],
    ),
    "without parameters": (
        nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, affine=False)),
        ["conv2d"],
    ),
    "before a convolution": (nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3)), ["conv2d"]),
    "before groups": (nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 6, 3, groups=2)), ["conv2d"]),
    "before a Linear, flattened": (
        nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(128, 3)),
        ["linear"],
    ),
    "between an activation and a convolution": (
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)),
        ["conv2d", "conv2d"],
    ),
    "flat, between an image and a Linear": (
        nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(144), nn.Linear(144, 2)
        ),
        ["conv2d", "linear"],
    ),
    "two in a row": (nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2)), ["scale_shift"]),
    "before a padded convolution, it stays": (
        nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3, padding=1)),
        ["scale_shift", "conv2d"],
    ),
    "after an activation, it stays": (
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.BatchNorm2d(3), nn.ReLU()),
        ["conv2d", "scale_shift"],
    ),
    "after pooling, one of its factors is negative": (
        nn.Sequential(nn.Conv2d(2, 8, 3), nn.MaxPool2d(2), nn.BatchNorm2d(8)),
        ["conv2d", "scale_shift"],
    ),
}


@pytest.mark.parametrize("where", FOLDED)
def test_batch_norm_is_fused_if_that_is_exact(where: str) -> None:
    module, expected = FOLDED[where]
    assert ops(assert_c_equals(trained(module), 2, 8, 8)) == expected


class Arithmetic(nn.Module):
    """Constants of every shape, as the first or the second operand."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([0.5, -2.0, 3.0]).reshape(3, 1, 1))
        self.position = nn.Parameter(torch.linspace(-1, 1, 60).reshape(1, 3, 4, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.gain * x - 0.25)
        x = torch.relu((1 - x) / 2 + self.position)
        return torch.relu(torch.sub(3, x, alpha=0.5)) * 0.1 - self.gain


def test_arithmetic_with_numbers_and_parameters_is_a_scale_and_shift() -> None:
    graph = assert_c_equals(Arithmetic(), 3, 4, 5)
    assert ops(graph) == ["scale_shift"] * 4
    assert [node.attributes.channels for node in fuse(graph).nodes] == [3, 60, 1, 3]


def test_scalings_of_two_and_three_channels_become_one_of_six() -> None:
    pairs, threes = (nn.Parameter(torch.randn(n, 1)) for n in (2, 3))
    scaled = Call(lambda x: (x.reshape(-1, 2, 3) * pairs).reshape(-1, 3, 2) * threes)
    scaled.register_parameter("pairs", pairs)
    scaled.register_parameter("threes", threes)
    (node, _) = fuse(assert_c_equals(scaled, 6)).nodes
    assert node.attributes.channels == 6


@settings(max_examples=25, deadline=None)
@given(
    channels=st.integers(1, 9),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_a_scaling_that_is_not_fused_is_exact_in_c_and_close_to_float(
    channels: int, height: int, width: int, seed: int
) -> None:
    module = trained(nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU6()), seed)
    graph = assert_c_equals(module, channels, height, width, seed=seed)
    assert worst_error(graph, inputs_for(graph, seed)) < 0.76


def worst_error(graph: Graph, inputs: np.ndarray) -> float:
    """The error in output steps, against float on the dequantized inputs."""
    integer = quantize(fuse(graph), Calibration(inputs))
    before, after = (integer.quantization[name] for name in (*integer.inputs, *integer.outputs))
    quantized = quantize_float(inputs, before)
    expected = forward_numpy(graph, dequantize(quantized, before))
    inside = (expected > after.scale * (-127 - after.zero_point)) & (
        expected < after.scale * (126 - after.zero_point)
    )
    errors = np.abs(dequantize(run(integer, quantized), after) - expected)[inside]
    return float(errors.max(initial=0) / after.scale)


def test_a_module_in_training_mode_is_refused() -> None:
    class Training(nn.Module):
        mean, variance = torch.zeros(2), torch.ones(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.batch_norm(x, self.mean, self.variance, training=True)

    with pytest.raises(UserError, match=r"BatchNorm is in training mode.*model.eval\(\)"):
        lowered(Training(), 2, 3, 3)


def test_a_division_with_rounding_is_refused_with_an_alternative() -> None:
    with pytest.raises(UserError, match=r"only by a constant.*torch\.reciprocal"):
        lowered(Call(lambda x: torch.div(x, 2, rounding_mode="floor")), 2, 3, 3)
