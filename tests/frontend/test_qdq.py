"""Q/DQ nodes, as PT2E writes them: their scales and zero points are kept, and not measured.

The fixtures call the operators that torchao's prepare_pt2e and convert_pt2e leave in a program, in
the order in which they do, so that no torchao is needed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.ao.quantization.fx._decomposed
from deepcompress.compile import compile_model
from deepcompress.data.byte_scaling import ByteScaling
from deepcompress.data.calibration import Calibration
from deepcompress.execute.int8_reference import dequantize, quantize_inputs, run
from deepcompress.frontend.open_graph import open_graph
from deepcompress.ir.graph import Graph, IntegerGraph, Quantization
from deepcompress.options import Options
from deepcompress.passes.fuse import fuse
from deepcompress.passes.quantize import quantize
from torch import nn

decomposed = torch.ops.quantized_decomposed
SHAPE = (2, 6, 6)
# Scales and zero points of the input, the convolution's output, its sum with the input, and the
# scores. Measuring would give other values.
INPUT, CONVOLVED, SUM, SCORES = (0.03, 5), (0.021, -128), (0.047, -20), (0.04, 3)


def through(x: torch.Tensor, by: tuple[float, int]) -> torch.Tensor:
    """x quantized to int8 and back."""
    q = decomposed.quantize_per_tensor(x, *by, -128, 127, torch.int8)
    return decomposed.dequantize_per_tensor(q, *by, -128, 127, torch.int8)


class Weights(nn.Module):
    """int8 weights with one scale per channel, as they are stored."""

    def __init__(self, *shape: int, least: int = -127) -> None:
        super().__init__()
        q = torch.randint(least, 128, shape)
        q[0, 0] = least
        self.register_buffer("q", q.to(torch.int8))
        self.register_buffer("scale", 0.01 * torch.rand(shape[0]) + 0.001)
        self.register_buffer("zero_point", torch.zeros(shape[0], dtype=torch.int64))
        self.bias = nn.Parameter(torch.randn(shape[0]))

    def forward(self) -> torch.Tensor:
        return decomposed.dequantize_per_channel(
            self.q, self.scale, self.zero_point, 0, -128, 127, torch.int8
        )


class Converted(nn.Module):
    """A residual network, as convert_pt2e leaves it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = Weights(2, 2, 3, 3), Weights(5, 18)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = through(x, INPUT)
        y = nn.functional.conv2d(x, self.conv(), self.conv.bias, padding=1)
        x = through(x + through(torch.relu(y), CONVOLVED), SUM)
        x = through(nn.functional.max_pool2d(x, 2), SUM)
        x = through(torch.flatten(x, 1), SUM)
        return through(nn.functional.linear(x, self.fc(), self.fc.bias), SCORES)


def saved(module: nn.Module, path: Path, *, shape: tuple[int, ...] = SHAPE) -> Path:
    program = torch.export.export(module.eval(), (torch.zeros(1, *shape),))
    torch.export.save(program, path)
    return path


def graph_of(module: nn.Module, folder: Path, *, shape: tuple[int, ...] = SHAPE) -> Graph:
    path = saved(module, folder / "net.pt2", shape=shape)
    return fuse(open_graph(path, Options(), name="net"))


def samples(shape: tuple[int, ...] = SHAPE) -> Calibration:
    return Calibration(np.random.default_rng(0).normal(0, 2, (64, *shape)).astype(np.float32))


@pytest.fixture
def converted() -> Converted:
    torch.manual_seed(0)
    return Converted()


def scores(integer: IntegerGraph, given: Calibration) -> np.ndarray:
    """The outputs of the integer network for the samples, in real units."""
    by = integer.quantization[integer.outputs[0]]
    return dequantize(run(integer, quantize_inputs(given.inputs, integer)), by)


def quantizations(integer: IntegerGraph) -> set[Quantization]:
    return set(integer.quantization.values())


def as_quantization(by: tuple[float, int]) -> Quantization:
    return Quantization(float(np.float32(by[0])), by[1])


def real_range(by: tuple[float, int]) -> tuple[float, float]:
    """The real values of -128 and 127."""
    scale, zero_point = by
    return (-128 - zero_point) * scale, (127 - zero_point) * scale


def test_scales_and_zero_points_of_activations_are_the_files(
    converted: Converted, tmp_path: Path
) -> None:
    integer = quantize(graph_of(converted, tmp_path), samples())
    assert [node.op for node in integer.nodes] == ["conv2d", "add", "max_pool2d", "linear"]
    assert quantizations(integer) == set(map(as_quantization, (INPUT, CONVOLVED, SUM, SCORES)))


def test_weights_are_the_files_integers(converted: Converted, tmp_path: Path) -> None:
    integer = quantize(graph_of(converted, tmp_path), samples())
    for node, weights in ((integer.nodes[0], converted.conv), (integer.nodes[-1], converted.fc)):
        np.testing.assert_array_equal(node.weight, weights.q.flatten(1))


def test_the_integer_network_is_that_of_the_file_except_for_rounding(
    converted: Converted, tmp_path: Path
) -> None:
    given = samples()
    integer = quantize(graph_of(converted, tmp_path), given)
    found = scores(integer, given)
    with torch.no_grad():
        expected = converted(torch.from_numpy(given.inputs)).numpy()
    assert np.abs(found - expected).max() <= 2.01 * SCORES[0]
    assert np.abs(found - expected).mean() < 0.5 * SCORES[0]


def test_a_weight_of_minus_128_is_clipped_and_all_others_are_the_files(tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = Converted()
    module.conv = Weights(2, 2, 3, 3, least=-128)
    node = quantize(graph_of(module, tmp_path), samples()).nodes[0]
    np.testing.assert_array_equal(node.weight, module.conv.q.flatten(1).clamp(-127, 127))


def test_raw_bytes_become_the_files_scale(converted: Converted, tmp_path: Path) -> None:
    scaling = ByteScaling(np.array([0.02]), np.array([120.0]))
    given = Calibration(samples().inputs, byte_scaling=scaling)
    integer = quantize(graph_of(converted, tmp_path), given)
    assert integer.quantization["x"] == as_quantization(INPUT)
    by = integer.byte_input
    byte = np.arange(256)
    expected = np.round((byte - 120) * 0.02 / INPUT[0]) + INPUT[1]
    found = (byte * by.multiplier + by.offset) >> by.shift
    assert np.abs(found - expected).max() <= 1


def test_compiling_a_quantized_file_does_not_warn_about_calibration_data(
    converted: Converted, tmp_path: Path
) -> None:
    path = saved(converted, tmp_path / "net.pt2")
    assert compile_model(path, name="net", options=Options()).report["warnings"] == []


class Unsigned(nn.Module):
    """uint8 activations, as x86's quantizer makes them; the scores are left in float."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = Weights(3, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = decomposed.quantize_per_tensor(x, 0.02, 151, 0, 255, torch.uint8)
        x = decomposed.dequantize_per_tensor(q, 0.02, 151, 0, 255, torch.uint8)
        return nn.functional.linear(x, self.fc(), self.fc.bias)


def test_unsigned_zero_points_are_shifted_and_ranges_without_qdq_nodes_are_measured(
    tmp_path: Path,
) -> None:
    integer = quantize(graph_of(Unsigned(), tmp_path, shape=(8,)), samples((8,)))
    assert integer.quantization["x"] == as_quantization((0.02, 151 - 128))
    assert integer.quantization["linear"].scale > 0


class ChosenAnew(nn.Module):
    """Dynamic quantization: scales that are computed for each input."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = Weights(3, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale, zero_point = decomposed.choose_qparams.tensor(x, -128, 127, 1e-5, torch.int8)
        q = decomposed.quantize_per_tensor.tensor(x, scale, zero_point, -128, 127, torch.int8)
        x = decomposed.dequantize_per_tensor.tensor(q, scale, zero_point, -128, 127, torch.int8)
        return nn.functional.linear(x, self.fc(), self.fc.bias)


def test_scales_that_are_computed_for_each_input_are_measured_once(tmp_path: Path) -> None:
    graph = graph_of(ChosenAnew(), tmp_path, shape=(8,))
    assert not graph.ranges
    assert [node.op for node in quantize(graph, samples((8,))).nodes] == ["linear"]


class FakeQuantized(nn.Module):
    """Trained with four bits: torch's own fake quantization, in the order of training."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 20)
        self.register_buffer("scale", torch.rand(20) / 100 + 0.01)
        self.register_buffer("zeros", torch.zeros(20, dtype=torch.int32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = torch.fake_quantize_per_channel_affine(
            self.fc.weight, self.scale, self.zeros, 0, -7, 7
        )
        x = torch.relu(nn.functional.linear(x, weight, self.fc.bias))
        return torch.fake_quantize_per_tensor_affine(x, 0.1, 0, 0, 15)


def test_fake_quantization_of_few_bits_keeps_its_steps_and_its_limits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, given = FakeQuantized(), samples((8,))
    graph = graph_of(module, tmp_path, shape=(8,))
    (node,) = graph.nodes
    assert (node.clamp.minimum, node.clamp.maximum) == (0, pytest.approx(1.5))
    integer = quantize(graph, given)
    assert integer.quantization[integer.outputs[0]] == as_quantization((0.1, -128))
    found = scores(integer, given)
    assert found.max() == pytest.approx(1.5)
    with torch.no_grad():
        expected = module(torch.from_numpy(given.inputs)).numpy()
    assert np.abs(found - expected).max() <= 0.101


def test_random_weights_are_on_no_grid_even_in_rows_of_few(tmp_path: Path) -> None:
    """A row of two weights passes by chance in one case of four; sixteen such rows do not."""
    torch.manual_seed(0)
    integer = quantize(graph_of(nn.Linear(2, 16), tmp_path, shape=(2,)), samples((2,)))
    assert (np.abs(integer.nodes[0].multiplier) % 2**16 == 0).all()


class LastStep(nn.Module):
    """A recurrent layer whose last output alone is read, and quantized before or after that."""

    def __init__(self, layer: type[nn.GRU | nn.LSTM], *, all_steps: bool) -> None:
        super().__init__()
        self.layer, self.fc = layer(4, 6, batch_first=True), nn.Linear(6, 3)
        self.all_steps = all_steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = self.layer(through(x, INPUT))[0]
        last = through(outputs, SUM)[:, -1] if self.all_steps else through(outputs[:, -1], SUM)
        return through(self.fc(last), SCORES)


@pytest.mark.parametrize("all_steps", [False, True])
@pytest.mark.parametrize("layer", [nn.GRU, nn.LSTM])
def test_the_range_of_a_last_step_is_the_files(
    layer: type[nn.GRU | nn.LSTM], all_steps: bool, tmp_path: Path
) -> None:
    graph = graph_of(LastStep(layer, all_steps=all_steps), tmp_path, shape=(5, 4))
    recurrent, fc = graph.nodes
    assert recurrent.attributes.last
    assert graph.ranges == {
        "x": real_range(INPUT),
        recurrent.output: real_range(SUM),
        fc.output: real_range(SCORES),
    }
    made = compile_model(tmp_path / "net.pt2", name="net", options=Options())
    assert made.report["warnings"] == []


class Causal(nn.Module):
    """Convolutions along time, padded on the left alone; quantized after the activation."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(3, 6, 3), nn.Conv1d(6, 4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.pad(through(x, INPUT), (2, 0))
        x = through(torch.relu(self.first(x)), CONVOLVED)
        return through(self.second(nn.functional.pad(x, (1, 0))), SCORES)


@pytest.mark.parametrize("stateful", [False, True])
def test_the_range_after_a_convolution_along_time_is_the_files(
    stateful: bool, tmp_path: Path
) -> None:
    path = saved(Causal(), tmp_path / "net.pt2", shape=(3, 4))
    made = compile_model(path, name="net", options=Options(stateful=stateful))
    outputs = {node.name: node.output for node in made.integer.nodes}
    found = [made.integer.quantization[name] for name in ("x", outputs["first"], outputs["second"])]
    assert found == list(map(as_quantization, (INPUT, CONVOLVED, SCORES)))
    assert made.report["warnings"] == []


class PaddedThenQuantized(nn.Module):
    """The only Q/DQ node of the input is after its padding, which becomes part of the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return through(self.conv(through(nn.functional.pad(x, (1, 1, 1, 1)), INPUT)), SCORES)


def test_the_range_of_a_padded_input_is_the_inputs(tmp_path: Path) -> None:
    graph = graph_of(PaddedThenQuantized(), tmp_path)
    (conv,) = graph.nodes
    assert graph.ranges == {"x": real_range(INPUT), conv.output: real_range(SCORES)}
