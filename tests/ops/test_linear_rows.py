"""Linear on sequences, row by row, dense and sparse, in C and against torch."""

from __future__ import annotations

from itertools import pairwise

import torch
from chains import assert_c_equals
from deepcompress.encodings import ENCODINGS
from deepcompress.passes.fuse import fuse
from deepcompress.passes.remove_dead_channels import remove_dead_channels
from deepcompress.training.masks import producers
from hypothesis import given, settings
from hypothesis import strategies as st
from model_graphs import lowered
from torch import nn


def pruned_linear(inputs: int, outputs: int, share: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    layer.weight.data[torch.rand(outputs, inputs) < share] = 0
    return layer


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.integers(1, 5), min_size=1, max_size=2),
    features=st.lists(st.integers(1, 20), min_size=2, max_size=3),
    share=st.sampled_from([0.0, 0.7, 1.0]),
    encoding=st.sampled_from(["auto", *ENCODINGS]),
    seed=st.integers(0, 99),
)
def test_every_row_and_encoding_equals_the_reference(
    rows: list[int], features: list[int], share: float, encoding: str, seed: int
) -> None:
    torch.manual_seed(seed)
    layers = [pruned_linear(*pair, share) for pair in pairwise(features)]
    net = nn.Sequential(layers[0], nn.ReLU(), *layers[1:])
    assert_c_equals(net, *rows, features[0], seed=seed, encoding=encoding)


def test_pruning_does_not_treat_rows_as_channels() -> None:
    first, second = pruned_linear(6, 4, 0.0), pruned_linear(20, 3, 0.0)
    first.weight.data[1] = 0
    graph = fuse(lowered(nn.Sequential(first, nn.ReLU(), nn.Flatten(), second), 5, 6))
    assert producers(graph) == {"0": None, "3": None}
    assert remove_dead_channels(graph) == graph
