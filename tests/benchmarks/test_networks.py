"""Small versions of common networks: exact in C, close to float, with little unnecessary work."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from chains import assert_c_equals
from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.plan import Plan
from deepcompress.backend.select_kernels import select_kernels
from deepcompress.compile import Compiled, compile_model
from deepcompress.data.calibration import Calibration
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.execute.int8_reference import dequantize, quantize_float, quantize_inputs, run
from deepcompress.ir.graph import Graph
from deepcompress.options import Target, parse
from deepcompress.passes.fuse import fuse
from deepcompress.passes.quantize import quantize
from model_graphs import assert_equal_on, lowered
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import architectures
import virtual
from architectures import Inverted, Residual, Shuffled, UNet, conv, head, separable
from least_ram import least_ram


def upsampled(before: int, after: int) -> nn.Module:
    """Bilinear upsampling."""
    doubled = nn.Upsample(scale_factor=2, mode="bilinear")
    return nn.Sequential(doubled, nn.Conv2d(before, after, 3, padding=1))


NETWORKS = {
    "ResNet": lambda: nn.Sequential(
        conv(3, 8, 3), Residual(8, 8, 1), Residual(8, 16, 2), Residual(16, 16, 2), *head(16)
    ),
    "MobileNet": lambda: nn.Sequential(
        conv(3, 8, 3, stride=2), separable(8, 16), separable(16, 32, stride=2), *head(32)
    ),
    "inverted residuals": lambda: nn.Sequential(
        conv(3, 8, 3), Inverted(8, 8, excited=True), Inverted(8, 8, excited=True), *head(8)
    ),
    "U-Net": lambda: UNet(1, 4, 8, 2, up=upsampled),
    "ShuffleNet": lambda: nn.Sequential(conv(3, 8, 3), Shuffled(8), Shuffled(8), *head(8)),
    "older, with average pooling": lambda: nn.Sequential(
        nn.ReflectionPad2d(1),
        *(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(3, 2, ceil_mode=True)),
        *(nn.Flatten(), nn.LazyLinear(10)),
    ),
}
SHAPE = (3, 16, 16)


# Networks of the benchmark, with the smallest inputs they accept; its other networks consist of
# the same layers.
WHOLE = {
    "cifar": (architectures.cifar10, (3, 32, 32)),
    "keywords": (architectures.ds_cnn, (1, 49, 10)),
    "mobilenet": (architectures.mobilenet_v2, (3, 32, 32)),
    "resnet": (architectures.resnet8, (3, 16, 16)),
    "activity": (architectures.activity, (3, 32)),
    "unet": (architectures.unet, (3, 16, 16)),
    "gru": (architectures.gru, (28, 28)),
}


def trained(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A network whose batch-norms have seen data, and the shape of its input."""
    torch.manual_seed(0)
    module = NETWORKS[name]()
    shape = (1, *SHAPE[1:]) if name == "U-Net" else SHAPE
    module.train()
    with torch.no_grad():
        for _ in range(30):
            module(torch.randn(16, *shape))
    return module.eval(), shape


def signal_to_noise(graph: Graph, shape: tuple[int, ...]) -> float:
    """Signal-to-noise ratio of the int8 outputs, in dB, on inputs outside the calibration data."""
    random = np.random.default_rng(0)
    seen, fresh = random.standard_normal((2, 64, *shape)).astype(np.float32)
    integer = quantize(graph, Calibration(seen))
    before, after = (integer.quantization[name] for name in (*integer.inputs, *integer.outputs))
    found = dequantize(run(integer, quantize_float(fresh, before)), after)
    expected = forward_numpy(graph, fresh)
    noise = np.square(found - expected).mean()
    return float(10 * np.log10(expected.var() / noise))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_exact_in_c_and_close_to_float(name: str) -> None:
    module, shape = trained(name)
    graph = fuse(assert_c_equals(module, *shape))
    decibels = signal_to_noise(graph, shape)
    print(f"{name}: int8 against float {decibels:.1f} dB")
    assert decibels > 25
    assert "scale_shift" not in [node.op for node in graph.nodes], "a batch-norm is not folded"


@pytest.mark.parametrize("cpu", ["cortex-m0", "cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("name", ["ResNet", "inverted residuals", "U-Net"])
def test_a_network_is_exact_on_every_core(name: str, cpu: str, arm_tools: None) -> None:
    module, shape = trained(name)
    assert_equal_on(cpu, lowered(module, *shape), 0, "auto", "balanced", "-O2")


def planned(name: str) -> Plan:
    module, shape = trained(name)
    graph = fuse(lowered(module, *shape))
    inputs = np.random.default_rng(0).standard_normal((8, *shape)).astype(np.float32)
    encoded = select_kernels(quantize(graph, Calibration(inputs)), cpu="cortex-m4")
    return plan_memory(encoded)


def test_concatenations_and_sums_take_no_memory_of_their_own() -> None:
    made = planned("U-Net")
    assert "concat" not in [step.node.op for step in made.steps]
    residual = planned("ResNet")
    sums = [step for step in residual.steps if step.node.op == "add"]
    assert all(step.output in step.inputs for step in sums)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of whole networks, with random weights."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for name, (make, shape) in WHOLE.items():
        inputs = torch.randn(8, *shape)
        network = architectures.settle(make(), inputs)
        virtual.export(network, inputs[:1].numpy(), folder / f"{name}.pt")
    return {name: folder / f"{name}.pt" for name in WHOLE}


OPTIONS = {"sparsity": "0.8"}


@pytest.fixture(scope="module")
def compiled(models: dict[str, Path]) -> dict[str, Compiled]:
    options = parse(OPTIONS, where="test_networks.py", target=Target("cortex-m4"))
    return {name: compile_model(path, name=name, options=options) for name, path in models.items()}


@pytest.mark.xdist_group("whole networks")
def test_sparse_networks_equal_the_reference_on_a_board(
    models: dict[str, Path],
    compiled: dict[str, Compiled],
    pio: Callable,
    arm_tools: None,
    tmp_path: Path,
) -> None:
    virtual.write_project(tmp_path, models, OPTIONS)
    built = pio("run", "-d", tmp_path, env={"OMP_NUM_THREADS": "1"})
    assert built.returncode == 0, built.stdout + built.stderr
    random = np.random.default_rng(0)
    inputs = {
        name: random.standard_normal((2, *shape)).astype(np.float32)
        for name, (_, shape) in WHOLE.items()
    }
    found = virtual.answers(tmp_path, compiled, inputs)
    for name, made in compiled.items():
        expected = run(made.integer, quantize_inputs(inputs[name], made.integer))
        np.testing.assert_array_equal(found[name], expected, name)


@pytest.mark.xdist_group("whole networks")
def test_a_network_takes_at_most_a_twentieth_more_ram_than_its_best_order(
    compiled: dict[str, Compiled],
) -> None:
    for name, made in compiled.items():
        least = least_ram(made.plan, scratch=True)
        assert least <= made.plan.arena_bytes <= 1.05 * least, name
