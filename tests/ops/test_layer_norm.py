"""LayerNorm and RMSNorm over one or more axes, in C and against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from chains import assert_c_equals, noise_of_int8
from deepcompress.ops.layer_norm import _root
from hypothesis import given, settings
from hypothesis import strategies as st
from model_graphs import inputs_for, lowered
from torch import nn


def norm(kind: type[nn.Module], shape: list[int], affine: bool, spread: float) -> nn.Module:
    layer = kind(shape, elementwise_affine=affine)
    for parameter in layer.parameters():
        parameter.data = torch.randn_like(parameter) * spread
    return layer


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(1, 8), min_size=1, max_size=3),
    axes=st.integers(1, 3),
    kind=st.sampled_from([nn.LayerNorm, nn.RMSNorm]),
    affine=st.booleans(),
    spread=st.sampled_from([0.0, 0.01, 1.0, 1e3]),
    before=st.sampled_from([nn.Identity(), nn.ReLU(), nn.Hardtanh(0.0, 1e-6), nn.Threshold(9, 9)]),
    seed=st.integers(0, 99),
)
def test_rows_of_any_shape_and_spread_equal_the_reference(
    shape: list[int],
    axes: int,
    kind: type[nn.Module],
    affine: bool,
    spread: float,
    before: nn.Module,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    layer = norm(kind, shape[-axes:], affine, spread)
    assert_c_equals(nn.Sequential(before, layer), *shape, seed=seed)


@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.RMSNorm])
@pytest.mark.parametrize("length", [8, 64, 768])
def test_int8_is_within_rounding_of_float(kind: type[nn.Module], length: int) -> None:
    torch.manual_seed(0)
    graph = lowered(norm(kind, [length], affine=True, spread=1.0), 4, length)
    assert noise_of_int8(graph, 3 * inputs_for(graph, 0) + 1) < 1


def test_core_aten_gives_the_same_layers() -> None:
    graph = lowered(nn.Sequential(nn.LayerNorm([4, 8])), 4, 8, decompose=True)
    assert [node.op for node in graph.nodes] == ["layer_norm"]


def test_roots_are_exact() -> None:
    values = np.concatenate([2 ** np.arange(62), 3 ** np.arange(38)])
    root, exponent = _root(values)
    assert root.min() >= 2**15 and root.max() < 2**16
    np.testing.assert_allclose(root * 2.0**exponent, np.sqrt(values), rtol=2**-15)
