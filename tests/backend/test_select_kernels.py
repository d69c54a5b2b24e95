"""Encodings are lossless and predict their size, and the cheapest one is chosen."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import strategies
from deepcompress.backend.select_kernels import select_kernels
from deepcompress.encodings import (
    ENCODINGS,
    Encoding,
    bitmap,
    block,
    codebook,
    delta,
    delta4,
    huffman,
)
from deepcompress.encodings.huffman import package_merge
from deepcompress.encodings.refusal import Refusal
from deepcompress.errors import UserError
from deepcompress.ir.graph import IntegerGraph, Quantization, Requantize, Tensor, WeightedNode
from deepcompress.ops.linear import Linear
from hypothesis import given
from hypothesis import strategies as st
from model_graphs import FIBONACCI

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
    "one output channel": np.arange(9).reshape(1, 9) % 3,
    "narrower than a block": np.array([[1, 0, 3], [0, 0, 0]]),
    "a gap of exactly 255 blocks": np.eye(1, 1024, 1023),
    "a gap of exactly 256 blocks": np.eye(1, 1028, 1027),
    "64 different weights": np.arange(65).reshape(5, 13),
    "65 different weights": np.arange(66).reshape(6, 11),
    "255 different weights, no zero": np.delete(np.arange(-128, 128), 128).reshape(5, 51),
    "256 different weights": np.arange(-128, 128).reshape(2, 128),
    "weights as rare as Fibonacci's numbers": np.repeat(np.arange(1, 22), FIBONACCI).reshape(1, -1),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("case", ADVERSARIAL)
def test_adversarial_weights_survive(encoding: str, case: str) -> None:
    assert_survives(encoding, ADVERSARIAL[case].astype(np.int8))


@given(weight=strategies.sparse_matrices(), step=st.sampled_from([1, 4, 32]))
def test_random_weights_survive(weight: np.ndarray, step: int) -> None:
    for encoding in ENCODINGS:
        assert_survives(encoding, weight // step * step)


def assert_survives(encoding: str, weight: np.ndarray) -> None:
    """The encoding is lossless, or it is a codebook and refuses more than 64 values."""
    arrays = ENCODINGS[encoding].encode(weight)
    if isinstance(arrays, Refusal):
        assert encoding == "codebook"
        assert len(np.unique(weight[weight != 0])) > 64
        return
    np.testing.assert_array_equal(ENCODINGS[encoding].decode(arrays, weight.shape), weight)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (delta, ["02 02 05 00 ff 02 ff 00 2c 07"]),
        (delta4, ["02 05 ff 01 07", "02 " + "ff " * 10 + "00"]),
        (block, ["01 00 00 00 05 ff 01 4b 07 00 00 00"]),
        (codebook, ["48 00 00 00", "02 " + "ff " * 23 + "f6 ff ff 9f", "02 ff 05 07"]),
        (huffman, ["82 e0 20 5c 38 c0 00 00 00", "07 01 07 02 ff 05"]),
    ],
)
def test_the_bytes_are_those_shown_in_the_documentation(
    module: Encoding, expected: list[str]
) -> None:
    weight = np.zeros((2, 400), np.int8)
    weight[0, [2, 3]] = 5, -1
    weight[1, 300] = 7
    assert [array.values.tobytes().hex(" ") for array in module.encode(weight)] == expected


def test_a_bitmap_begins_each_channel_with_a_byte() -> None:
    weight = np.zeros((2, 10), np.int8)
    weight[0, [0, 9]] = 1, 2
    weight[1, 3] = -3
    values, index = bitmap.encode(weight)
    assert values.values.tobytes().hex(" ") == "02 01 02 01 fd"
    assert index.values.tobytes().hex(" ") == "01 02 08 00"


def test_the_remainder_of_a_row_is_stored_before_its_blocks() -> None:
    weight = np.zeros((2, 10), np.int8)
    weight[0, [1, 9]] = 1, 2
    weight[1, 3] = -3
    (values,) = block.encode(weight)
    assert values.values.tobytes().hex(" ") == "01 00 01 01 00 00 00 02 01 00 00 00 00 fd 00 00"


@given(
    counts=st.lists(st.integers(0, 50), min_size=2, max_size=5),
    limit=st.integers(3, 4),
)
def test_no_code_within_the_limit_is_shorter(counts: list[int], limit: int) -> None:
    lengths = package_merge(np.array(counts), limit)
    possible = product(range(1, limit + 1), repeat=len(counts))
    prefix_free = (of for of in possible if sum(2.0**-length for length in of) <= 1)
    assert sum(2.0**-lengths) == 1
    assert lengths @ counts == min(np.dot(of, counts) for of in prefix_free)


def test_huffman_is_near_the_entropy_of_a_trained_layer() -> None:
    """16 values and 95% zeros, as after training: within 5% of the entropy, with the table."""
    random = np.random.default_rng(0)
    values = np.round(random.laplace(0, 20, (120, 400))).clip(-120, 120) // 15 * 15
    weight = (values * (random.random((120, 400)) < 0.05)).astype(np.int8)
    share = np.unique(weight, return_counts=True)[1] / weight.size
    bound = -weight.size * (share @ np.log2(share)) / 8
    assert sum(array.values.nbytes for array in huffman.encode(weight)) <= 1.05 * bound


def test_zeros_are_symbols_where_few_weights_are_zero() -> None:
    weight = np.arange(400).reshape(4, 100).astype(np.int8) % 16
    _, table = huffman.encode(weight)
    assert table.values[:2].tolist() == [255, 0]


def test_too_many_values_for_a_codebook_are_reported_with_what_to_do() -> None:
    graph = linear_graph(np.arange(1, 66).reshape(5, 13).astype(np.int8))
    with pytest.raises(UserError, match=r"layer fc: .*Retrain with codebook_bits = 6 or less"):
        select_kernels(graph, encoding="codebook", cpu="cortex-m4")
    assert (
        select_kernels(graph, encoding="auto", cpu="cortex-m4").weights["fc"].encoding != "codebook"
    )


def linear_graph(weight: np.ndarray) -> IntegerGraph:
    rows, columns = weight.shape
    node = WeightedNode(
        "fc",
        "linear",
        ("x",),
        "y",
        Linear(columns, rows),
        weight=weight,
        bias=np.zeros(rows, np.int32),
        multiplier=np.ones(rows, np.int32),
        requantize=Requantize(32, 0, -128, 127),
    )
    tensors = {"x": Tensor("x", (columns,)), "y": Tensor("y", (rows,))}
    return IntegerGraph("net", tensors, {"x": Quantization(1, 0)}, (node,), ("x",), ("y",))


@pytest.mark.parametrize(
    ("density", "values", "optimize", "expected"),
    [
        (1.0, 99, "balanced", "panel"),
        (1.0, 99, "speed", "panel"),
        (0.05, 99, "balanced", "delta"),
        (0.2, 99, "speed", "delta"),
        (0.2, 99, "size", "delta4"),
        (0.3, 127, "size", "bitmap"),
        (0.2, 16, "size", "codebook"),
        (0.5, 16, "size", "huffman"),
    ],
)
def test_auto_takes_the_cheapest_encoding(
    density: float, values: int, optimize: str, expected: str
) -> None:
    random = np.random.default_rng(0)
    weight = random.integers(1, values + 1, (20, 200)) * (random.random((20, 200)) < density)
    encoded = select_kernels(
        linear_graph(weight.astype(np.int8)), optimize=optimize, cpu="cortex-m4"
    )
    assert encoded.weights["fc"].encoding == expected


@pytest.mark.parametrize("optimize", ["balanced", "speed"])
def test_vector_units_get_dense_weights_in_rows(optimize: str) -> None:
    weight = np.random.default_rng(0).integers(1, 128, (20, 200)).astype(np.int8)
    encoded = select_kernels(linear_graph(weight), optimize=optimize, cpu="cortex-m55")
    assert encoded.weights["fc"].encoding == "dense"
