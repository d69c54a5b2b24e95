"""Encodings lose nothing, say their bytes, and the cheapest is chosen."""

from __future__ import annotations

import numpy as np
import pytest
import strategies
from deepcompress.encode import encode
from deepcompress.encodings import ENCODINGS, bitmap, delta, delta4
from deepcompress.graph import IntegerGraph, IntegerNode, Quantization, Tensor
from deepcompress.ops.linear import Linear
from hypothesis import given

ADVERSARIAL = {
    "all zero": np.zeros((3, 7)),
    "one at the start": np.eye(1, 600, 0),
    "one at the end": np.eye(1, 600, 599),
    "dense": np.full((2, 300), -128),
    "one weight": np.array([[-1]]),
    "a gap of exactly 255": np.eye(1, 256, 255),
    "a gap of exactly 256": np.eye(1, 257, 256),
    "a gap of many bytes": np.eye(1, 70000, 69999),
    "exactly 255 weights": np.ones((1, 255)),
    "exactly 510 weights": np.ones((2, 510)),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("case", ADVERSARIAL)
def test_adversarial_weights_survive(encoding: str, case: str) -> None:
    weight = ADVERSARIAL[case].astype(np.int8)
    module = ENCODINGS[encoding]
    np.testing.assert_array_equal(module.decode(module.encode(weight), weight.shape), weight)


@given(strategies.sparse_matrices())
def test_random_weights_survive(weight: np.ndarray) -> None:
    for module in ENCODINGS.values():
        np.testing.assert_array_equal(module.decode(module.encode(weight), weight.shape), weight)


def test_the_delta_stream_is_the_one_drawn_in_its_documentation() -> None:
    weight = np.zeros((2, 400), np.int8)
    weight[0, [2, 3]] = 5, -1
    weight[1, 300] = 7
    (array,) = delta.encode(weight)
    assert array.values.tolist() == [2, 2, 5, 0, 255, 2, 255, 0, 44, 7]


def test_half_byte_gaps_are_the_ones_drawn_in_the_documentation() -> None:
    weight = np.zeros((2, 400), np.int8)
    weight[0, [2, 3]] = 5, -1
    weight[1, 300] = 7
    values, index = delta4.encode(weight)
    assert values.values.tobytes().hex(" ") == "02 05 ff 01 07"
    assert index.values.tobytes().hex(" ") == "02 " + 10 * "ff " + "00"


def test_a_bitmap_begins_each_channel_with_a_byte() -> None:
    weight = np.zeros((2, 10), np.int8)
    weight[0, [0, 9]] = 1, 2
    weight[1, 3] = -3
    values, index = bitmap.encode(weight)
    assert values.values.tobytes().hex(" ") == "02 01 02 01 fd"
    assert index.values.tobytes().hex(" ") == "01 02 08 00"


def linear_graph(weight: np.ndarray) -> IntegerGraph:
    rows, columns = weight.shape
    node = IntegerNode(
        "fc", "linear", ("x",), "y", Linear(columns, rows), weight, np.zeros(rows, np.int32)
    )
    tensors = {"x": Tensor("x", (columns,)), "y": Tensor("y", (rows,))}
    return IntegerGraph("net", tensors, {"x": Quantization(1, 0)}, (node,), ("x",), ("y",))


@pytest.mark.parametrize(
    ("density", "optimize", "expected"),
    [
        (1.0, "balanced", "dense"),
        (0.05, "balanced", "delta"),
        (0.2, "size", "delta4"),
        (0.5, "size", "bitmap"),
        (0.2, "speed", "delta"),
    ],
)
def test_auto_takes_the_cheapest_encoding(density: float, optimize: str, expected: str) -> None:
    random = np.random.default_rng(0)
    weight = (random.integers(1, 100, (20, 200)) * (random.random((20, 200)) < density)).astype(
        np.int8
    )
    encoded = encode(linear_graph(weight), optimize=optimize, cpu="cortex-m4")
    assert encoded.weights["fc"].encoding == expected
