"""PReLU, of one slope or one a channel, in C and against torch."""

from __future__ import annotations

import torch
from chains import assert_c_equals, noise_of_int8
from hypothesis import given, settings
from hypothesis import strategies as st
from test_lower import lowered
from test_random_networks import inputs_for
from torch import nn


def prelu(slopes: int, steepness: float, seed: int) -> nn.PReLU:
    layer = nn.PReLU(slopes)
    random = torch.Generator().manual_seed(seed)
    layer.weight.data = torch.randn(slopes, generator=random) * steepness
    return layer


@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    shared=st.booleans(),
    steepness=st.sampled_from([0.0, 0.01, 0.3, 5.0, 1e4]),
    after=st.sampled_from([nn.Identity(), nn.ReLU(), nn.Hardtanh(-0.5, 0.5)]),
    seed=st.integers(0, 99),
)
def test_slopes_of_any_steepness_equal_the_reference(
    shape: list[int], shared: bool, steepness: float, after: nn.Module, seed: int
) -> None:
    layer = prelu(1 if shared else shape[0], steepness, seed)
    assert_c_equals(nn.Sequential(layer, after), *shape, seed=seed)


def test_int8_is_within_rounding_of_float() -> None:
    graph = lowered(prelu(8, 0.3, 0), 8, 20)
    assert noise_of_int8(graph, inputs_for(graph, 0)) < 1
