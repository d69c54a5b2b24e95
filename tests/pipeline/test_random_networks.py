"""Random networks through every stage: the generated C, under sanitizers, equals the reference."""

from __future__ import annotations

import c_runner
import numpy as np
import pytest
import strategies
from deepcompress.data.calibration import Calibration
from deepcompress.encodings import ENCODINGS
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.execute.int8_reference import dequantize, quantize_float, run
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.linear import Linear
from deepcompress.ops.max_pool2d import MaxPool2d
from deepcompress.passes.fuse import fuse
from deepcompress.passes.quantize import quantize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_graphs import FIBONACCI, assert_c_equals_reference, inputs_for

EXAMPLES = 300
SHARDS = 2  # so that two cores share them


@pytest.mark.parametrize("shard", range(SHARDS))
@settings(
    max_examples=EXAMPLES // SHARDS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    graph=strategies.graphs(),
    seed=st.integers(0, 1000),
    encoding=st.sampled_from(["auto", *ENCODINGS]),
    optimize=st.sampled_from(["size", "speed", "balanced"]),
    step=st.sampled_from([1, 4, 32]),
    kernels=st.sampled_from(list(c_runner.KERNELS)),
)
def test_generated_c_equals_the_reference_under_sanitizers(
    shard: int, graph: Graph, seed: int, encoding: str, optimize: str, step: int, kernels: str
) -> None:
    # Below a step of 4, weights may have more values than a codebook.
    step = max(4, step) if encoding == "codebook" else step
    assert_c_equals_reference(graph, seed + 1000 * shard, encoding, optimize, step, kernels)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_gaps_longer_than_any_window_are_read_as_they_were_written(encoding: str) -> None:
    random = np.random.default_rng(0)
    weight = np.zeros((6, 1501))
    weight[0] = random.standard_normal(1501)
    weight[3, -1] = weight[4, 0] = 1
    weight[5, :700] = random.standard_normal(700)
    assert_c_equals_reference(linear_graph(weight), 0, encoding, "size", step=16)


def test_codes_longer_than_a_byte_are_read_as_they_were_written() -> None:
    weight = np.repeat(np.arange(1.0, 22), FIBONACCI).reshape(1, -1)
    assert_c_equals_reference(linear_graph(weight), 0, "huffman", "size")


def linear_graph(weight: np.ndarray) -> Graph:
    rows, columns = weight.shape
    parameters = {"weight": weight.astype(np.float32), "bias": np.zeros(rows, np.float32)}
    node = Node("fc", "linear", ("x",), "y", Linear(columns, rows), parameters)
    tensors = {"x": Tensor("x", (columns,)), "y": Tensor("y", (rows,))}
    return Graph("net", tensors, (node,), ("x",), ("y",))


@pytest.mark.parametrize("kernels", c_runner.KERNELS)
def test_a_tap_steps_over_the_padding_of_a_large_input(kernels: str) -> None:
    weight = np.zeros((1, 32, 3, 3), np.float32)
    weight[0, 0, 0, 0] = weight[0, 31, 2, 2] = 1
    # Without the padding of the channels before it, a tap could step to the last channel.
    conv = Conv2d(32, 1, (3, 3), padding=(1, 1, 1, 1))
    node = Node("conv", "conv2d", ("x",), "y", conv, {"weight": weight, "bias": weight[:, 0, 0, 1]})
    tensors = {"x": Tensor("x", (32, 45, 45)), "y": Tensor("y", (1, 45, 45))}
    graph = Graph("net", tensors, (node,), ("x",), ("y",))
    assert_c_equals_reference(graph, 0, "delta", "speed", kernels=kernels)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(graph=strategies.graphs(), seed=st.integers(0, 1000))
def test_integers_stay_close_to_float(graph: Graph, seed: int) -> None:
    """A layer's int8 error is a few steps of its own output, whatever the scales are."""
    inputs = inputs_for(graph, seed)
    folded = fuse(
        Graph(graph.name, graph.tensors, graph.nodes[:1], ("x",), (graph.nodes[0].output,))
    )
    integer = quantize(folded, Calibration(inputs))
    by = integer.quantization[integer.outputs[0]]
    found = dequantize(run(integer, quantize_float(inputs, integer.quantization["x"])), by)
    expected = forward_numpy(folded, inputs)
    power = float(np.square(expected).mean())
    noise = float(np.square(found - expected).mean())
    assert noise <= 0.02 * power + by.scale**2


def test_a_pooling_window_of_one_with_a_stride_subsamples() -> None:
    """A regression that the test above found: the kernel treated a 1x1 window as no pooling."""
    conv = Node(
        "conv",
        "conv2d",
        ("x",),
        "c",
        Conv2d(1, 1, (1, 1)),
        {"weight": np.ones((1, 1, 1, 1), np.float32), "bias": np.zeros(1, np.float32)},
    )
    pool = Node("pool", "max_pool2d", ("c",), "p", MaxPool2d((1, 1), (2, 1)), {})
    shapes = {"x": (1, 3, 1), "c": (1, 3, 1), "p": (1, 2, 1)}
    tensors = {name: Tensor(name, shape) for name, shape in shapes.items()}
    assert_c_equals_reference(
        Graph("net", tensors, (conv, pool), ("x",), ("p",)), 0, "auto", "size"
    )
