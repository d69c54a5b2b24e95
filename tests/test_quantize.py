"""Scales, zero points and biases of small layers, computed by hand; raw bytes folded in."""

from __future__ import annotations

import numpy as np
import pytest
from deepcompress.calibration import ByteScaling, Calibration
from deepcompress.forward import forward_numpy
from deepcompress.graph import Clamp, Graph, Node, Quantization, Tensor
from deepcompress.ops.linear import Linear
from deepcompress.quantize import clamp_int8, quantize
from deepcompress.reference import dequantize, quantize_bytes, quantize_float, run


def linear(weight: list, bias: list, *, clamp: Clamp = Clamp()) -> Graph:  # noqa: B008
    w, b = np.array(weight, np.float32), np.array(bias, np.float32)
    tensors = {"x": Tensor("x", (w.shape[1],)), "y": Tensor("y", (w.shape[0],))}
    node = Node(
        "fc", "linear", ("x",), "y", Linear(*w.shape[::-1]), {"weight": w, "bias": b}, clamp
    )
    return Graph("net", tensors, (node,), ("x",), ("y",))


def calibration(*rows: list, scaling: ByteScaling | None = None) -> Calibration:
    return Calibration(np.array(rows, np.float32), byte_scaling=scaling)


def test_weights_use_the_whole_range_in_every_output_channel() -> None:
    integer = quantize(linear([[1, -0.5], [0.01, 0.02]], [0, 0]), calibration([1, 1]))
    assert integer.nodes[0].weight.tolist() == [[127, -64], [64, 127]]


def test_the_range_of_an_activation_always_holds_zero() -> None:
    integer = quantize(linear([[1]], [0]), calibration([5], [10]))
    assert integer.quantization["x"] == Quantization(float(np.float32(10 / 255)), -128)


def test_the_input_zero_point_is_folded_into_the_bias() -> None:
    integer = quantize(linear([[1, 1]], [0]), calibration([-1, 0], [1, 0]))
    zero_point = integer.quantization["x"].zero_point
    assert integer.nodes[0].bias.tolist() == [-zero_point * 254]


def test_an_activation_function_becomes_the_limits_of_the_output() -> None:
    by = Quantization(0.1, -128)
    assert clamp_int8(Clamp(0.0, 6.0), by) == (-128, -68)
    assert clamp_int8(Clamp(), by) == (-128, 127)


def test_a_bias_far_larger_than_its_weights_makes_them_coarser_instead_of_overflowing() -> None:
    integer = quantize(linear([[1e-6], [1.0]], [1e6, 0.0]), calibration([1]))
    assert np.abs(integer.nodes[0].bias.astype(np.int64)).max() < 2**30
    found = dequantize(run(integer, np.array([[127]], np.int8)), integer.quantization["y"])
    np.testing.assert_allclose(found[0, 0], 1e6, rtol=0.01)


def test_all_zero_weights_and_constant_outputs_are_fine() -> None:
    integer = quantize(linear([[0, 0]], [0]), calibration([1, 2]))
    assert dequantize(run(integer, np.zeros((1, 2), np.int8)), integer.quantization["y"]) == 0


def test_a_pruned_channel_with_a_bias_keeps_it_and_leaves_the_shift_alone() -> None:
    integer = quantize(linear([[1.0, 1.0], [0, 0]], [0, 0.5]), calibration([1, 1], [0, 0]))
    assert integer.nodes[0].requantize.shift == 32
    found = dequantize(run(integer, np.zeros((1, 2), np.int8)), integer.quantization["y"])
    assert abs(found[0, 1] - 0.5) <= integer.quantization["y"].scale


def test_raw_bytes_are_the_input_less_128_and_lose_nothing_to_the_rounded_zero_point() -> None:
    scaling = ByteScaling(np.array([1 / (255 * 0.3081)]), np.array([255 * 0.1307]))
    images = np.random.default_rng(0).integers(0, 256, (50, 400), dtype=np.uint8)
    graph = linear(np.full((1, 400), 0.01).tolist(), [0])
    samples = Calibration(scaling.real(images), byte_scaling=scaling, images=images)
    integer = quantize(graph, samples)
    quantized = quantize_bytes(images, integer)
    np.testing.assert_array_equal(quantized, images.astype(int) - 128)
    error = dequantize(run(integer, quantized), integer.quantization["y"]) - forward_numpy(
        graph, samples.inputs
    )
    # All 400 inputs are off by the same 0.3 of a byte: uncorrected, the mean error is many steps.
    assert abs(error.mean()) < 0.2 * integer.quantization["y"].scale


def test_channels_with_a_mean_and_std_of_their_own_are_scaled_on_the_way_in() -> None:
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    scaling = ByteScaling(1 / (255 * std), 255 * mean)
    images = np.random.default_rng(0).integers(0, 256, (9, 3, 4, 4), dtype=np.uint8)
    tensors = {"x": Tensor("x", (3, 4, 4)), "y": Tensor("y", (1,))}
    weight = {"weight": np.ones((1, 48), np.float32), "bias": np.zeros(1, np.float32)}
    node = Node("fc", "linear", ("x",), "y", Linear(48, 1), weight)
    graph = Graph("net", tensors, (node,), ("x",), ("y",))
    integer = quantize(graph, Calibration(scaling.real(images), byte_scaling=scaling))
    by = integer.quantization["x"]
    real = dequantize(quantize_bytes(images, integer), by)
    np.testing.assert_allclose(real, scaling.real(images), atol=by.scale * 0.51)


@pytest.mark.parametrize(
    "value", [np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0, 0.5, -0.5, 0.49999997]
)
def test_any_float_becomes_an_int8(value: float) -> None:
    q = quantize_float(np.array([[value]], np.float32), Quantization(1.0, 3))
    expected = {np.inf: 127, 1e30: 127, 0.0: 3, 0.5: 4, -0.5: 3, 0.49999997: 4}
    # 0.49999997 + 0.5 rounds to 1 in float32: so do the numpy and the C.
    assert q.item() == expected.get(value, -128)
