"""Permutations, slices, concatenation, padding, repetition; many of them need no kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from chains import assert_c_equals, noise_of_int8
from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.plan import Plan
from deepcompress.backend.select_kernels import select_kernels
from deepcompress.data.byte_scaling import ByteScaling
from deepcompress.data.calibration import Calibration
from deepcompress.errors import UserError
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.execute.int8_reference import dequantize, quantize_bytes, run
from deepcompress.frontend.fx_importer import import_graph
from deepcompress.frontend.open_graph import open_graph
from deepcompress.frontend.save_program import save_graph
from deepcompress.options import Options
from deepcompress.passes.fuse import fuse
from deepcompress.passes.quantize import quantize
from model_graphs import Call, inputs_for, lowered
from torch import nn
from torch.nn import functional as F

MOVES = {
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "transpose": lambda x: x.transpose(1, -1),
    "slice of channels": lambda x: x[:, 1:3],
    "slice with a step": lambda x: x[:, :, ::2, 1:],
    "slice from the end": lambda x: x[:, -2:, :-1],
    "one row": lambda x: x[:, :, 2],
    "narrow": lambda x: x.narrow(3, 1, 4),
    "flip of columns": lambda x: x.flip(3),
    "flip of channels and rows": lambda x: x.flip((1, -2)),
    "flip and slice": lambda x: x.flip(2)[:, :, 1:, ::2],
    "left to right": lambda x: x.flip(-1).flip(1),
    "index in reverse": lambda x: x[:, :, torch.arange(3, -1, -1)],
    "index by a list": lambda x: x[:, [2, 0, 1, 3, 3]],
    "index of rows and columns": lambda x: x[:, :, [0, 1, 2], [5, 3, 1]],
    "index with one value": lambda x: x[:, :, [2]],
    "index_select": lambda x: x.index_select(3, torch.tensor([5, 0, 0, 0, 1])),
    "gather": lambda x: x.gather(1, torch.tensor([3, 1, 0]).view(1, 3, 1, 1).expand(1, 3, 4, 6)),
    "pixel shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "channel shuffle": lambda x: F.channel_shuffle(x, 2),
    "channel shuffle by hand": lambda x: x.reshape(-1, 2, 2, 4, 6).transpose(1, 2).flatten(1, 2),
    "upsample nearest": lambda x: F.interpolate(x, scale_factor=2),
    "upsample nearest to a size": lambda x: F.interpolate(x, size=(12, 6), mode="nearest"),
    "expand": lambda x: x[:, :1].expand(-1, 3, -1, -1),
    "repeat": lambda x: x.repeat(1, 2, 1, 3),
    "constant padding": lambda x: F.pad(x, (1, 2, 0, 3), value=0.75),
    "padding of channels": lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)),
    "cropping by padding": lambda x: F.pad(x, (-1, 2, 3, -2)),
    "reflection": lambda x: F.pad(x, (2, 1, 3, 0), mode="reflect"),
    "replication": lambda x: F.pad(x, (2, 1, 0, 5), mode="replicate"),
    "circular": lambda x: F.pad(x, (2, 1, 3, 4), mode="circular"),
    "bilinear upsampling": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
}


@pytest.mark.parametrize("activation", [nn.Identity(), nn.ReLU6()], ids=["plain", "activated"])
@pytest.mark.parametrize("move", MOVES)
def test_images_are_rearranged_as_in_torch(move: str, activation: nn.Module) -> None:
    graph = assert_c_equals(nn.Sequential(Call(MOVES[move]), activation), 4, 4, 6)
    assert noise_of_int8(graph, inputs_for(graph, 0)) < 1


LINES = {
    "linear upsampling": lambda x: F.interpolate(x, scale_factor=2, mode="linear"),
    "to a size": lambda x: F.interpolate(x, size=(18,), mode="linear"),
    "as an image of one row": lambda x: F.interpolate(
        x.unsqueeze(2), scale_factor=(1, 2), mode="bilinear"
    ).squeeze(2),
    "flip": lambda x: x.flip(2),
}


@pytest.mark.parametrize("move", LINES)
def test_lines_are_rearranged_as_in_torch(move: str) -> None:
    graph = assert_c_equals(nn.Sequential(Call(LINES[move]), nn.ReLU6()), 3, 9)
    assert noise_of_int8(graph, inputs_for(graph, 0)) < 1


def test_any_linear_upsampling_can_be_written_as_the_error_says() -> None:
    matrix = F.interpolate(torch.eye(9)[None], size=13, mode="linear", align_corners=True)[0]

    class Matrix(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("matrix", matrix)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.matrix

    graph = lowered(Matrix(), 3, 9)
    inputs = inputs_for(graph, 0)
    expected = F.interpolate(torch.tensor(inputs), size=13, mode="linear", align_corners=True)
    np.testing.assert_allclose(forward_numpy(graph, inputs), expected, atol=1e-5)
    assert noise_of_int8(graph, inputs) < 1


def test_indices_without_a_pattern_are_reported_with_what_to_do() -> None:
    order = torch.randperm(97, generator=torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match=r"no regular pattern\. .*a constant matrix"):
        lowered(Call(lambda x: x[:, order]), 97)


@pytest.mark.parametrize(
    "function",
    [lambda x: x.flip(0), lambda x: x[[0]], lambda x: x.index_select(0, torch.tensor([0]))],
)
def test_samples_are_not_selected_or_reversed(function: Callable) -> None:
    with pytest.raises(UserError, match="Leave the first axis as it is"):
        lowered(Call(function), 4)


def test_a_reversal_can_be_exported_again(tmp_path: Path) -> None:
    """A saved program has as_strided and flip in its place."""
    graph = lowered(Call(lambda x: x.permute(0, 2, 1).flip(2, 1)[:, :, ::2].relu()), 4, 5)
    save_graph(graph, tmp_path / "net.pt")
    again = open_graph(tmp_path / "net.pt", Options(), name="net")
    inputs = inputs_for(graph, 0)
    np.testing.assert_array_equal(forward_numpy(again, inputs), forward_numpy(graph, inputs))


JOINS = {
    "channels": lambda x: torch.cat([x.relu(), x * 3], 1),
    "columns": lambda x: torch.cat([x.relu(), x * 3, x[:, :, :, :1]], 3),
    "the input twice": lambda x: torch.cat([x, x], 1),
    "stacked": lambda x: torch.stack([x.relu(), x * 3], 1),
    "stacked last": lambda x: torch.stack([x.relu(), x * 3], -1),
    "split and joined again": lambda x: torch.cat(list(reversed(x.split([1, 3], 1))), 1),
    "chunks summed": lambda x: sum(x.chunk(2, dim=1)),
    "chunks of a remainder": lambda x: x.chunk(4, dim=3)[-1] + x.split(4, dim=3)[-1],
    "difference of two rows": lambda x: x.unbind(2)[1] - x.unbind(2)[3],
    "a part that is constant after its activation": lambda x: torch.cat(
        [x.tanh(), x.tanh()[:, :1].relu()], 1
    ),
}


@pytest.mark.parametrize("join", JOINS)
def test_tensors_are_concatenated_and_split_as_in_torch(join: str) -> None:
    graph = assert_c_equals(Call(JOINS[join]), 4, 4, 6)
    assert noise_of_int8(graph, inputs_for(graph, 0)) < 2


def planned(module: nn.Module, *shape: int) -> Plan:
    graph = fuse(lowered(module, *shape))
    integer = quantize(graph, Calibration(inputs_for(graph, 0)))
    return plan_memory(select_kernels(integer, cpu="cortex-m4"))


class Fire(nn.Module):
    """The fire module of a SqueezeNet: the outputs of two convolutions are concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(4, 2, 1)
        self.expand1, self.expand3 = nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1(x).relu(), self.expand3(x).relu()], 1)


def test_concatenating_channels_needs_no_kernel() -> None:
    made = planned(Fire(), 4, 6, 6)
    assert [step.node.op for step in made.steps] == ["conv2d"] * 3
    assert made.steps[2].output - made.steps[1].output == 4 * 6 * 6
    graph = assert_c_equals(Fire(), 4, 6, 6)
    assert noise_of_int8(graph, inputs_for(graph, 0)) < 3


def test_splitting_channels_needs_no_kernel() -> None:
    made = planned(Call(lambda x: sum(x.relu().chunk(2, dim=1))), 4, 4, 6)
    assert [step.node.op for step in made.steps] == ["clamp", "add"]


def test_a_part_that_does_not_start_at_a_word_is_copied() -> None:
    made = planned(Call(lambda x: sum(x.relu().chunk(2, dim=1))), 2, 3, 3)
    assert [step.node.op for step in made.steps] == ["clamp", "rearrange", "add"]


def ops(module: nn.Module, *shape: int) -> list[str]:
    return [node.op for node in fuse(assert_c_equals(module, *shape)).nodes]


def test_zero_padding_is_fused_into_the_convolution_after_it() -> None:
    assert ops(nn.Sequential(nn.ZeroPad2d((0, 1, 2, 0)), nn.Conv2d(4, 2, 3)), 4, 4, 6) == ["conv2d"]
    behind_relu = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ZeroPad2d(1), nn.ReLU(), nn.Conv2d(4, 2, 3))
    assert ops(behind_relu, 4, 4, 6) == ["conv2d", "conv2d"]
    along = nn.Sequential(nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(3, 2, 3))
    assert "pad" not in ops(along, 3, 8)


def test_other_padding_than_zeros_is_not_fused() -> None:
    assert ops(nn.Sequential(nn.ConstantPad2d(1, 0.5), nn.Conv2d(4, 2, 3)), 4, 4, 6)[0] == "pad"
    module = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(4, 2, 3))
    assert ops(module, 4, 4, 6) == ["pad", "conv2d"]


def test_a_permutation_is_fused_into_a_linear_before_or_after_it() -> None:
    before = nn.Sequential(Call(lambda x: x.permute(0, 2, 3, 1).flatten(1)), nn.Linear(96, 3))
    assert ops(before, 4, 4, 6) == ["linear"]
    before = nn.Sequential(nn.Linear(5, 24), Call(lambda x: x.reshape(-1, 6, 4).transpose(1, 2)))
    assert ops(before, 5) == ["linear", "flatten"]
    part = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), Call(lambda x: x[:, 1:6:2]))
    assert ops(part, 5) == ["linear"]


def test_a_permutation_and_its_inverse_cancel() -> None:
    there_and_back = Call(lambda x: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2).relu())
    assert ops(there_and_back, 4, 4, 6) == ["clamp"]


def test_moving_an_axis_of_one_is_a_view() -> None:
    assert ops(Call(lambda x: x.permute(0, 2, 1, 3).relu()), 1, 4, 6) == ["clamp", "flatten"]


def test_concatenated_raw_bytes_are_requantized_to_a_common_scale() -> None:
    graph = fuse(lowered(Call(lambda x: torch.cat([x, x * 5, x], 1)), 1, 4, 4))
    images = np.arange(3 * 16, dtype=np.uint8).reshape(3, 1, 4, 4) * 5
    scaling = ByteScaling(np.array([1 / 255]), np.zeros(1))
    integer = quantize(graph, Calibration(scaling.real(images), None, scaling, images=images))
    assert [node.op for node in integer.nodes] == ["scale_shift", "scale_shift", "concat"]
    found = dequantize(run(integer, quantize_bytes(images, integer)), integer.quantization["cat"])
    expected = np.concatenate([images / 255, images / 51, images / 255], 1)
    assert np.abs(found - expected).max() <= 1.01 * integer.quantization["cat"].scale


REFUSED = {
    "the batch moved": (lambda x: x.permute(1, 2, 0, 3), "moves the batch"),
    "the batch moved and worked on": (lambda x: x.transpose(0, 1).flatten(1), "moves the batch"),
    "samples separated": (lambda x: x[0], "separates samples"),
    "samples joined": (lambda x: torch.cat([x, x], 0), "joins samples"),
    "cropping by reflection": (
        lambda x: F.pad(x, (-1, 0, 0, 0), mode="reflect"),
        r"negative padding.*Slice instead",
    ),
    "padding with infinity": (
        lambda x: F.pad(x, (1, 0), value=-np.inf),
        r"padding with -inf.*MaxPool2d",
    ),
    "nearest by 1.5": (lambda x: F.interpolate(x, size=(6, 9)), "not by a whole number"),
    "aligned corners": (
        lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
        "not with aligned corners",
    ),
    "bilinear by 2.1, which doubles six columns": (
        lambda x: F.interpolate(x, scale_factor=(2, 2.1), mode="bilinear"),
        "supported by 2",
    ),
    "linear by 3": (
        lambda x: F.interpolate(x[:, 0], scale_factor=3, mode="linear"),
        "supported by 2.*x @ matrix",
    ),
    "bilinear by 3": (
        lambda x: F.interpolate(x, scale_factor=3, mode="bilinear"),
        "supported by 2",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_unsupported_rearrangements_are_refused(case: str) -> None:
    function, complaint = REFUSED[case]
    with pytest.raises(UserError, match=complaint):
        lowered(Call(function), 4, 4, 6)


class Joined(nn.Module):
    """A tensor that is concatenated with a constant, such as a class token."""

    def __init__(self, constant: torch.Tensor, dim: int) -> None:
        super().__init__()
        self.constant, self.dim = nn.Parameter(constant), dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        constant = self.constant.expand(x.size(0), *self.constant.shape[1:])
        return torch.cat([constant, x.tanh()], self.dim)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_constant_is_concatenated(dim: int) -> None:
    shape = [3 if axis == dim else size for axis, size in enumerate((1, 4, 4, 6))]
    module = Joined(torch.linspace(-2, 2, int(np.prod(shape))).reshape(shape), dim)
    graph = assert_c_equals(module, 4, 4, 6)
    assert [node.op for node in graph.nodes] == ["lookup", "literal", "concat"]
    assert noise_of_int8(graph, inputs_for(graph, 0)) < 1


def test_calls_that_create_constants_are_computed_on_import() -> None:
    coordinates = Call(lambda x: torch.cat([x, torch.arange(6.0).expand(1, 1, 4, 6) / 6], 1))
    graph = assert_c_equals(nn.Sequential(coordinates, nn.Conv2d(5, 2, 3)), 4, 4, 6)
    assert [node.op for node in graph.nodes] == ["literal", "concat", "conv2d"]
    filled = Call(lambda x: torch.cat([torch.full_like(x, 0.5), x + torch.tensor([2.0])], 1))
    graph = assert_c_equals(filled, 4, 4, 6)
    assert [node.op for node in graph.nodes] == ["scale_shift", "literal", "concat"]


def test_a_constant_that_differs_between_samples_is_refused() -> None:
    class Batch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, torch.arange(6.0).reshape(2, 3)], 1)

    program = torch.export.export(Batch(), (torch.zeros(2, 3),))
    with pytest.raises(UserError, match="differs from sample to sample"):
        import_graph(program, name="net")
