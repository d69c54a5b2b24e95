"""Softmax and LogSoftmax along any axis, in C and against torch."""

from __future__ import annotations

import numpy as np
import pytest
from chains import assert_c_equals, noise_of_int8
from deepcompress.errors import UserError
from deepcompress.ops.softmax import _log2
from hypothesis import given, settings
from hypothesis import strategies as st
from model_graphs import inputs_for, lowered
from torch import nn


@settings(max_examples=30, deadline=None)
@given(
    data=st.data(),
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    kind=st.sampled_from([nn.Softmax, nn.LogSoftmax]),
    spread=st.sampled_from([0.0, 0.01, 1.0, 30.0, 1e6]),
    seed=st.integers(0, 99),
)
def test_vectors_of_any_axis_and_spread_equal_the_reference(
    data: st.DataObject, shape: list[int], kind: type[nn.Module], spread: float, seed: int
) -> None:
    axis = data.draw(st.integers(1, len(shape)))
    scale = nn.PReLU(shape[0])
    scale.weight.data.fill_(spread)
    assert_c_equals(nn.Sequential(scale, kind(axis)), *shape, seed=seed)


@pytest.mark.parametrize("kind", [nn.Softmax, nn.LogSoftmax])
@pytest.mark.parametrize("length", [2, 10, 1000])
def test_int8_is_within_rounding_of_float(kind: type[nn.Module], length: int) -> None:
    graph = lowered(kind(-1), 3, length)
    assert noise_of_int8(graph, 4 * inputs_for(graph, 0)) < 1.5


def test_the_logarithm_is_right_except_for_its_last_two_bits() -> None:
    values = np.concatenate([2 ** np.arange(32), 3 ** np.arange(20), [2**32 - 1]])
    assert np.abs(_log2(values) - 2**16 * np.log2(values)).max() < 2


def test_an_axis_too_long_for_32_bits_is_refused() -> None:
    with pytest.raises(UserError, match="does not fit 32 bits"):
        lowered(nn.Softmax(1), 2**16 + 1)
