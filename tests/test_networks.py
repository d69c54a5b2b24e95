"""Whole networks of the kinds people have, small: exact in C, near to float, little work wasted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from chains import assert_c_equals
from deepcompress.calibration import Calibration
from deepcompress.encode import encode
from deepcompress.fold import fold
from deepcompress.forward import forward_numpy
from deepcompress.graph import Graph, Plan
from deepcompress.plan import plan
from deepcompress.quantize import quantize
from deepcompress.reference import dequantize, quantize_float, run
from test_cpus import assert_equal_on
from test_lower import lowered
from torch import nn


def conv(inputs: int, outputs: int, kernel: int, **options: int) -> nn.Sequential:
    """Convolution, batch-norm, ReLU6: one layer once it is folded."""
    padding = kernel // 2
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False, **options)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6())


class Residual(nn.Module):
    """The block of a ResNet; its shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(inputs, outputs, 3, stride=stride),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        changes = stride > 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if changes else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class Inverted(nn.Module):
    """The block of a MobileNetV2, with the squeeze and excitation of a V3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 3 * channels
        self.expand, self.depthwise = conv(channels, wide, 1), conv(wide, wide, 3, groups=wide)
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(wide, channels, 1),
            nn.ReLU(),
            nn.Conv2d(channels, wide, 1),
            nn.Hardsigmoid(),
        )
        self.project = nn.Sequential(nn.Conv2d(wide, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.depthwise(self.expand(x))
        return x + self.project(y * self.squeeze(y))


class UNet(nn.Module):
    """Down, up by bilinear upsampling, and what went down is read again beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.top, self.bottom = conv(1, 4, 3), conv(4, 8, 3)
        self.pool = nn.MaxPool2d(2)
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(8, 4, 3, padding=1)
        )
        self.last = nn.Sequential(conv(8, 4, 3), nn.Conv2d(4, 2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        top = self.top(x)
        up = self.up(self.bottom(self.pool(top)))
        return self.last(torch.cat([top, up], 1))


class Shuffled(nn.Module):
    """The block of a ShuffleNetV2: half of the channels goes by, then all are mixed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            conv(half, half, 1), conv(half, half, 3, groups=half), conv(half, half, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept, changed = x.chunk(2, dim=1)
        joined = torch.cat([kept, self.branch(changed)], 1)
        return nn.functional.channel_shuffle(joined, 2)


def head(channels: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)


NETWORKS = {
    "ResNet": lambda: nn.Sequential(
        conv(3, 8, 3), Residual(8, 8, 1), Residual(8, 16, 2), Residual(16, 16, 2), *head(16)
    ),
    "MobileNet": lambda: nn.Sequential(
        conv(3, 8, 3, stride=2),
        *(conv(8, 8, 3, groups=8), conv(8, 16, 1)),
        *(conv(16, 16, 3, groups=16, stride=2), conv(16, 32, 1)),
        *head(32),
    ),
    "inverted residuals": lambda: nn.Sequential(conv(3, 8, 3), Inverted(8), Inverted(8), *head(8)),
    "U-Net": UNet,
    "ShuffleNet": lambda: nn.Sequential(conv(3, 8, 3), Shuffled(8), Shuffled(8), *head(8)),
    "older, of average pooling": lambda: nn.Sequential(
        nn.ReflectionPad2d(1),
        *(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(3, 2, ceil_mode=True)),
        *(nn.Flatten(), nn.LazyLinear(10)),
    ),
}
SHAPE = (3, 16, 16)


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
    """Of the int8 outputs against float, in dB, on inputs that calibration has not seen."""
    random = np.random.default_rng(0)
    seen, fresh = random.standard_normal((2, 64, *shape)).astype(np.float32)
    integer = quantize(graph, Calibration(seen))
    before, after = (integer.quantization[name] for name in (*integer.inputs, *integer.outputs))
    found = dequantize(run(integer, quantize_float(fresh, before)), after)
    expected = forward_numpy(graph, fresh)
    noise = np.square(found - expected).mean()
    return float(10 * np.log10(expected.var() / noise))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_exact_in_c_and_near_to_float(name: str) -> None:
    module, shape = trained(name)
    graph = fold(assert_c_equals(module, *shape))
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
    graph = fold(lowered(module, *shape))
    inputs = np.random.default_rng(0).standard_normal((8, *shape)).astype(np.float32)
    encoded = encode(quantize(graph, Calibration(inputs)), cpu="cortex-m4")
    return plan(encoded, cpu="cortex-m4")


def test_what_a_network_joins_and_adds_takes_no_memory_of_its_own() -> None:
    made = planned("U-Net")
    assert "concat" not in [step.node.op for step in made.steps]
    residual = planned("ResNet")
    sums = [step for step in residual.steps if step.node.op == "add"]
    assert all(step.output in step.inputs for step in sums)
