"""PReLU with one slope or one per channel, in C and against torch."""

from __future__ import annotations

import numpy as np
import torch
from chains import assert_c_equals, noise_of_int8
from deepcompress.ir.graph import Quantization
from deepcompress.ops import OPERATORS
from deepcompress.passes.fuse import fuse
from hypothesis import given, settings
from hypothesis import strategies as st
from model_graphs import inputs_for, lowered
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


def test_a_dead_input_stays_at_zero() -> None:
    """A dead input has the smallest scale; the output has that of a tensor it is joined with."""
    node = fuse(lowered(prelu(1, 0.3, 0), 4)).nodes[0]
    dead = [Quantization(1e-38, 0)]
    integer, after = OPERATORS["prelu"].quantize(node, dead, (-1.0, 1.0))
    assert integer.requantize.shift < 32
    answers = OPERATORS["prelu"].integer(integer, dead, np.full((1, 4), 100, np.int8))
    assert (answers == after.zero_point).all()


def test_int8_is_within_rounding_of_float() -> None:
    graph = lowered(prelu(8, 0.3, 0), 8, 20)
    assert noise_of_int8(graph, inputs_for(graph, 0)) < 1
