"""Scales, zero points and biases of small layers, computed by hand; raw bytes folded in."""

from __future__ import annotations

import numpy as np
import pytest
from deepcompress.arith.narrow_constants import narrow
from deepcompress.arith.qparams import find_grid, narrow_scale
from deepcompress.data.byte_scaling import ByteScaling
from deepcompress.data.calibration import Calibration
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.execute.int8_reference import dequantize, quantize_bytes, quantize_float, run
from deepcompress.ir.graph import Clamp, Graph, Node, Quantization, Tensor
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.linear import Linear
from deepcompress.passes.quantize import clamp_int8, quantize
from deepcompress.pipeline import verify
from hypothesis import given
from hypothesis import strategies as st


def linear(weight: list, bias: list, *, clamp: Clamp = Clamp()) -> Graph:  # noqa: B008
    w, b = np.array(weight, np.float32), np.array(bias, np.float32)
    tensors = {"x": Tensor("x", (w.shape[1],)), "y": Tensor("y", (w.shape[0],))}
    node = Node(
        "fc", "linear", ("x",), "y", Linear(*w.shape[::-1]), {"weight": w, "bias": b}, clamp
    )
    return Graph("net", tensors, (node,), ("x",), ("y",))


def calibration(*rows: list, scaling: ByteScaling | None = None) -> Calibration:
    return Calibration(np.array(rows, np.float32), byte_scaling=scaling)


def test_weights_use_nearly_the_whole_range_in_every_output_channel() -> None:
    weight = np.random.default_rng(0).standard_normal((8, 50)) * np.linspace(0.2, 1, 8)[:, None]
    integer = quantize(linear(weight.tolist(), [0] * 8), calibration([1] * 50))
    largest = np.abs(integer.nodes[0].weight.astype(int)).max(axis=1)
    assert (largest >= 127 / 1.125 - 1).all() and (largest <= 127).all()


def test_multipliers_of_ordinary_weights_have_seven_bits_and_are_exact() -> None:
    weight = np.random.default_rng(0).standard_normal((8, 50))
    graph = linear(weight.tolist(), [0.1] * 8)
    integer = quantize(graph, calibration([1] * 50, [-1] * 50))
    by = integer.nodes[0]
    assert narrow(by.multiplier).stored.dtype == np.int8
    scale = (
        by.multiplier / 2.0**by.requantize.shift * integer.quantization["y"].scale
        / integer.quantization["x"].scale
    )  # fmt: skip
    error = weight - scale[:, None] * integer.nodes[0].weight
    assert (np.abs(error).max(axis=1) <= 0.501 * scale).all()


@pytest.mark.parametrize("steps", [[1], [1, -1], [3, -7, 127], [-126, 1], [2, 4, 8, 0, 100]])
def test_weights_on_a_grid_stay_as_they_are_and_share_one_multiplier(steps: list[int]) -> None:
    weight = (np.array([steps, steps[::-1], [0] * len(steps)]) * 0.0137).astype(np.float32)
    integer = quantize(linear(weight.tolist(), [0.5, 0, 0]), calibration([1] * len(steps)))
    node = integer.nodes[0]
    grid = find_grid(weight.astype(np.float64))
    assert narrow(node.multiplier).shared
    np.testing.assert_allclose(node.weight * grid, weight.reshape(3, -1), rtol=1e-6)


def test_narrow_rows_on_different_grids_are_not_mistaken_for_finer_grids() -> None:
    random = np.random.default_rng(0)
    steps = random.integers(-40, 41, (3, 9))  # 120 would fit int8, too
    weight = (steps * random.uniform(0.01, 0.02, (3, 1))).astype(np.float32)
    conv = Conv2d(1, 3, (3, 3))
    parameters = {"weight": weight.reshape(3, 1, 3, 3), "bias": np.zeros(3, np.float32)}
    tensors = {"x": Tensor("x", (1, 4, 4)), "y": Tensor("y", (3, 2, 2))}
    graph = Graph(
        "net", tensors, (Node("conv", "conv2d", ("x",), "y", conv, parameters),), ("x",), ("y",)
    )
    inputs = random.standard_normal((2, 1, 4, 4)).astype(np.float32)
    node = quantize(graph, Calibration(inputs), narrow=True).nodes[0]
    np.testing.assert_array_equal(np.abs(node.weight), np.abs(steps))


def test_a_narrow_row_of_one_weight_keeps_the_finest_scale() -> None:
    weight = np.array([[0, 0, 0.5], [0.1, 0.2, 0.317]])
    assert narrow_scale(weight)[0] == pytest.approx(0.5 / 127)


@given(st.integers(0, 2**32 - 1), st.integers(6, 200), st.floats(1e-3, 10))
def test_random_weights_are_not_on_a_grid(seed: int, size: int, spread: float) -> None:
    random = np.random.default_rng(seed)
    assert find_grid(random.standard_normal((2, size)) ** 3 * spread) is None


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_a_grid_found_by_chance_loses_less_than_rounding(seed: int, size: int) -> None:
    weight = np.random.default_rng(seed).uniform(0.3, 1, (1, size))
    grid = find_grid(weight)
    if grid is not None:
        assert np.abs(weight / grid).max() <= 127.1
        assert np.abs(weight / grid - np.round(weight / grid)).max() <= 3e-3


def test_a_grid_too_fine_for_its_biases_is_given_up() -> None:
    graph = linear([[1e-6, 2e-6, 3e-6], [4e-6, 5e-6, 6e-6]], [1e6, 0.0])
    integer = quantize(graph, calibration([1, 1, 1]))
    assert np.abs(integer.nodes[0].bias.astype(np.int64)).max() < 2**30
    verify.accumulators_fit(integer)


@given(st.integers(0, 2**32 - 1), st.floats(-3, 1.5), st.booleans())
def test_a_bias_is_off_by_an_eighth_of_an_output_step_at_most(
    seed: int, magnitude: float, gridded: bool
) -> None:
    random = np.random.default_rng(seed)
    weight = random.standard_normal((4, 9))
    if gridded:
        weight = np.round(weight * 4) / 4
    bias = (random.standard_normal(4) * 10**magnitude).astype(np.float32)
    inputs = random.standard_normal((5, 9))
    integer = quantize(linear(weight.tolist(), bias.tolist()), calibration(*inputs.tolist()))
    node, before = integer.nodes[0], integer.quantization["x"]
    stored = node.bias + before.zero_point * node.weight.sum(axis=1, dtype=np.int64)
    factors = node.multiplier / 2.0**node.requantize.shift
    found = stored * factors * integer.quantization["y"].scale
    # Half an accumulator's unit where that is more; a hundredth for a multiplier's own rounding.
    error = np.abs(found - bias) / integer.quantization["y"].scale
    assert (error <= np.maximum(0.125, 0.5 * factors) + 0.01).all()


def test_the_range_of_an_activation_always_contains_zero() -> None:
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


def test_channels_with_different_mean_and_std_are_scaled_at_the_input() -> None:
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
