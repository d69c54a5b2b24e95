"""Transposed convolutions of all shapes, dense and sparse, in C and against torch."""

from __future__ import annotations

import pytest
import torch
from chains import assert_c_equals, noise_of_int8
from deepcompress.encodings import ENCODINGS
from hypothesis import given, settings
from hypothesis import strategies as st
from model_graphs import inputs_for, lowered
from torch import nn


@st.composite
def layers(draw: st.DrawFn, channels: int) -> nn.ConvTranspose2d:
    kernel, stride, dilation = (
        (draw(st.integers(1, high)), draw(st.integers(1, high))) for high in (4, 3, 2)
    )
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    groups = draw(st.sampled_from([g for g in (1, 2, channels) if channels % g == 0]))
    layer = nn.ConvTranspose2d(
        channels,
        groups * draw(st.integers(1, 3)),
        kernel,
        stride,
        padding=tuple(draw(st.integers(0, (e - 1) // 2)) for e in extent),
        output_padding=tuple(
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
        ),
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()),
    )
    share = draw(st.sampled_from([0.0, 0.7, 1.0]))
    layer.weight.data[torch.rand(layer.weight.shape) < share] = 0
    return layer


@settings(max_examples=40, deadline=None)
@given(
    data=st.data(),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)),
    encoding=st.sampled_from(["auto", *ENCODINGS]),
    relu=st.booleans(),
    seed=st.integers(0, 99),
)
def test_all_shapes_and_encodings_equal_the_reference(
    data: st.DataObject, shape: tuple[int, ...], encoding: str, relu: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    activation = [nn.ReLU()] * relu
    net = nn.Sequential(data.draw(layers(shape[0])), *activation)
    assert_c_equals(net, *shape, seed=seed, encoding=encoding)


def test_one_dimension_is_an_image_of_one_row() -> None:
    torch.manual_seed(0)
    assert_c_equals(nn.Sequential(nn.ConvTranspose1d(4, 6, 4, 3, 1, 1, groups=2)), 4, 9)


@pytest.mark.parametrize("decompose", [False, True])
def test_int8_is_within_rounding_of_float(decompose: bool) -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(8, 4, 4, 2, 1)
    graph = lowered(layer, 8, 8, 8, decompose=decompose)
    assert [node.op for node in graph.nodes] == ["conv_transpose2d"]
    assert noise_of_int8(graph, inputs_for(graph, 0)) < 1.5
