"""Sums, differences and products of tensors: broadcasting, different scales, branches, memory."""

from __future__ import annotations

import c_runner
import numpy as np
import pytest
import torch
from chains import assert_c_equals, noise_of_int8
from deepcompress.arith.broadcast import broadcast, nest
from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.select_kernels import select_kernels
from deepcompress.data.calibration import Calibration
from deepcompress.passes.fuse import fuse
from deepcompress.passes.quantize import quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from model_graphs import assert_c_equals_reference, inputs_for, lowered
from torch import nn


class Residual(nn.Module):
    """The residual block of a ResNet: two convolutions and a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + x)


def test_a_residual_block_is_two_convolutions_and_a_sum_with_its_activation() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), Residual(4), Residual(4))
    graph = assert_c_equals(module, 1, 10, 10)
    folded = fuse(graph)
    assert [node.op for node in folded.nodes] == ["conv2d", *["conv2d", "conv2d", "add"] * 2]
    assert all(node.clamp.minimum == 0 for node in folded.nodes if node.op == "add")
    assert noise_of_int8(graph, inputs_for(graph, 1)) < 2


def test_a_sum_reuses_the_memory_of_a_dead_input() -> None:
    graph = fuse(lowered(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), Residual(4)), 1, 8, 8))
    integer = quantize(graph, Calibration(inputs_for(graph, 0)))
    planned = plan_memory(select_kernels(integer, cpu="cortex-m4"))
    added = planned.steps[-1]
    assert added.node.op == "add"
    assert added.output in added.inputs


class Elementwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scaling = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.sub(torch.tanh(x), self.scaling(torch.relu(x)), alpha=0.3)
        return (y + x.abs()).clamp(-0.5, 0.75).mean((2, 3))


@pytest.mark.parametrize("kernels", c_runner.KERNELS)
@pytest.mark.parametrize("width", [1, 4, 7])
def test_four_values_at_a_time_are_as_exact_as_one(width: int, kernels: str) -> None:
    graph = lowered(Elementwise(), 3, 5, width)
    assert_c_equals_reference(graph, width, "auto", "speed", kernels=kernels)


class Arithmetic(nn.Module):
    """An operation on a and b, which have different scales and are computed from the same input."""

    def __init__(self, operation: str, first: tuple[int, ...], second: tuple[int, ...]) -> None:
        super().__init__()
        self.operation, self.first, self.second = operation, first, second
        self.sizes = [int(np.prod(shape)) for shape in (first, second)]
        self.a, self.b = (nn.Linear(6, size) for size in self.sizes)
        self.a.weight.data *= 10

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.a(x).reshape(x.size(0), *self.first)
        b = self.b(x).reshape(x.size(0), *self.second)
        if self.operation == "mul":
            return a * b
        if self.operation == "add":
            return torch.relu(a + b)
        return torch.sub(a, b, alpha=2.5)


SHAPES = (
    ((3, 4, 5), (3, 4, 5)),
    ((3, 4, 5), (3, 1, 1)),
    ((3, 1, 1), (3, 4, 5)),
    ((3, 4, 5), (1, 4, 5)),
    ((3, 4, 5), (1, 4, 1)),
    ((3, 4, 1), (1, 1, 5)),
    ((7,), (1,)),
    ((1, 4), (3, 4)),
)


@pytest.mark.parametrize("operation", ["add", "sub", "mul"])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_tensors_are_broadcast(operation: str, shapes: tuple) -> None:
    graph = assert_c_equals(Arithmetic(operation, *shapes), 6)
    assert noise_of_int8(graph, inputs_for(graph, 0)) < 3


class Twice(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + x) * (x - torch.relu(x))


def test_a_tensor_may_be_both_operands() -> None:
    assert_c_equals(Twice(), 2, 3, 3)


@settings(max_examples=300)
@given(st.data())
def test_three_loops_broadcast_like_numpy(data: st.DataObject) -> None:
    result = data.draw(st.lists(st.integers(1, 3), max_size=4))
    shapes = []
    for _ in range(2):
        shape = [data.draw(st.sampled_from([1, size])) for size in result]
        shapes.append(tuple(shape[data.draw(st.integers(0, len(shape))) :]))
    tensors = [np.arange(np.prod(shape, dtype=int)) for shape in shapes]
    found = [np.zeros(1, int), np.zeros(1, int)]
    for size, steps in nest(shapes):
        for i, step in enumerate(steps):
            found[i] = (found[i][:, None] + step * np.arange(size)).ravel()
    wide = broadcast(shapes)
    assert wide == np.broadcast_shapes(*shapes)
    for shape, tensor, offsets in zip(shapes, tensors, found, strict=True):
        expected = np.broadcast_to(tensor.reshape(shape), wide).ravel()
        np.testing.assert_array_equal(np.broadcast_to(offsets, expected.shape), expected)


def test_shapes_that_cannot_be_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="have no common shape"):
        broadcast([(2, 3), (2, 4)])
