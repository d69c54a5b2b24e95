"""Pooling of every kind: windows over the border, divisors, adaptive sizes, means over axes."""

from __future__ import annotations

import pytest
import torch
from chains import assert_c_equals, noise_of_int8
from deepcompress.errors import UserError
from deepcompress.passes.fuse import fuse
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from model_graphs import inputs_for, lowered
from torch import nn


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_windows_of_all_kinds_equal_the_reference(data: st.DataObject) -> None:
    pair = st.tuples(st.integers(1, 4), st.integers(1, 4))
    kernel, stride, dilation = data.draw(pair), data.draw(pair), data.draw(pair)
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    height, width = data.draw(st.integers(1, 11)), data.draw(st.integers(1, 11))
    ceil = data.draw(st.booleans())
    maximum = data.draw(st.booleans())
    reach = [(k - 1) * d + 1 if maximum else k for k, d in zip(kernel, dilation, strict=True)]
    assume(reach[0] <= height + 2 * padding[0] and reach[1] <= width + 2 * padding[1])
    if maximum:
        # In torch, a window that contains only padding is minus infinity.
        assume(all(d == 1 or p == 0 for d, p in zip(dilation, padding, strict=True)))
        layer = nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil)
    else:
        divisor = data.draw(st.sampled_from([None, 1, 5]))
        layer = nn.AvgPool2d(kernel, stride, padding, ceil, data.draw(st.booleans()), divisor)
    graph = assert_c_equals(nn.Sequential(layer, nn.ReLU()), 3, height, width)
    assert noise_of_int8(graph, inputs_for(graph, 0)) < 1.2


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    pooled=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    maximum=st.booleans(),
)
def test_adaptive_pooling_of_all_sizes_equals_the_reference(
    size: tuple[int, int], pooled: tuple[int, int], maximum: bool
) -> None:
    layer = nn.AdaptiveMaxPool2d(pooled) if maximum else nn.AdaptiveAvgPool2d(pooled)
    graph = assert_c_equals(nn.Sequential(layer, nn.ReLU6()), 2, *size)
    assert noise_of_int8(graph, inputs_for(graph, 0)) < 1.2


@pytest.mark.parametrize(
    ("layer", "op"),
    [
        (nn.AdaptiveAvgPool2d(1), "mean"),
        (nn.AdaptiveAvgPool2d((2, 3)), "avg_pool2d"),
        (nn.AdaptiveMaxPool2d((2, 3)), "max_pool2d"),
        (nn.AdaptiveAvgPool2d((4, 6)), "adaptive_pool2d"),
    ],
    ids=str,
)
def test_adaptive_pooling_becomes_the_simplest_equal_pooling(layer: nn.Module, op: str) -> None:
    assert [node.op for node in lowered(layer, 2, 6, 9).nodes] == [op]


def test_ceil_mode_without_effect_does_not_prevent_fusion() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True))
    assert [node.op for node in fuse(lowered(module, 1, 8, 8)).nodes] == ["conv2d"]
    assert len(fuse(assert_c_equals(module, 1, 7, 8)).nodes) == 2


@pytest.mark.parametrize(
    "layer", [nn.AvgPool1d(3, 2, 1), nn.AdaptiveAvgPool1d(1), nn.AdaptiveMaxPool1d(3)], ids=str
)
def test_pooling_along_one_dimension_equals_the_reference(layer: nn.Module) -> None:
    assert_c_equals(layer, 3, 10)


class Reduce(nn.Module):
    def __init__(self, function: str, dim: int | tuple | None, keepdim: bool) -> None:
        super().__init__()
        self.function, self.dim, self.keepdim = function, dim, keepdim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return getattr(x, self.function)(dim=self.dim, keepdim=self.keepdim)


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", [1, 2, -1, (2, 3), (1, 2), (1, 3), (1, 2, 3)])
@pytest.mark.parametrize("function", ["mean", "sum"])
def test_means_and_sums_over_axes_equal_the_reference(
    function: str, dim: int | tuple, keepdim: bool
) -> None:
    graph = assert_c_equals(nn.Sequential(Reduce(function, dim, keepdim), nn.ReLU()), 3, 4, 5)
    assert noise_of_int8(graph, inputs_for(graph, 0)) < 3


def test_a_mean_over_the_batch_is_refused() -> None:
    with pytest.raises(UserError, match="over the batch mixes samples"):
        lowered(Reduce("mean", (0, 1), True), 3, 4, 5)
