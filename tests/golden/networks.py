"""The networks of the golden files: every operator, every encoding, in a few hundred weights each.

The files must not differ between machines, although another CPU adds floats in another order, so
that what calibration measures may differ in the last bit. Each network excludes that in one of two
ways. An `exact` one has weights and inputs of few bits, and at most three layers with weights, so
that every sum fits the 24 bits of a float and is exact in any order: its ranges are measured. In
all others a `Range` after each layer states scale and zero point in the file, as quantization-aware
training does; measured ranges are then ignored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from deepcompress.encodings import ENCODINGS
from golden.cases import GOALS
from torch import Tensor, nn
from torch.nn import functional

_SAMPLES = 32
_PIECES = 4  # of each stream


@dataclass(frozen=True)
class Network:
    """One network and how it is compiled.

    Attributes:
        build: makes the module; its weights are replaced.
        shapes: of each input, without the batch, in the order of `forward`.
        options: fields of the compiler's `Options`.
        exact: whether all float sums are exact; then it is calibrated on inputs of few bits.
        zeros: share of weights that are zero.
        images: calibrate on labelled images of bytes, of one channel.
        goals: values of `optimize`.
    """

    name: str
    build: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = False
    zeros: float = 0.0
    images: bool = False
    goals: tuple[str, ...] = GOALS


class Range(nn.Module):
    """States the scale and zero point of a tensor, taken from the first values; changes no value.

    The scale has three bits, so that it does not depend on the last bit of a value.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.zero_point = 0.0, 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.scale:
            low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
            self.scale = _few_bits((high - low) / 255)
            self.zero_point = max(-128, round(-128 - low / self.scale))
            return x
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, -128, 127)


def _few_bits(value: float) -> float:
    """The next greater number of three bits."""
    mantissa, exponent = math.frexp(value)
    return math.ldexp(math.ceil(mantissa * 8), exponent - 3)


@dataclass(frozen=True)
class Made:
    """A network with its weights and ranges, ready for torch.export, and calibration arrays."""

    module: nn.Module
    calibration: Mapping[str, np.ndarray]


def make(network: Network) -> Made:
    """The network and its data, the same on each machine."""
    random = np.random.default_rng(list(network.name.encode()))
    module = network.build().eval()
    bytes_or_floats = _images if network.images else _floats
    inputs = [bytes_or_floats(random, shape) for shape in network.shapes]
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.from_numpy(_weights(random, parameter.shape, network)))
        scores = module(*(torch.from_numpy(_real(x, network)) for x in inputs))
    if network.images:  # a label is what the float network answers
        return Made(module, {"inputs": inputs[0], "labels": scores.argmax(1).numpy()})
    if not network.exact:
        return Made(module, {})
    pieces = (-1, _PIECES) if network.options.get("stateful") else (-1,)
    return Made(module, {"inputs": inputs[0].reshape(*pieces, *network.shapes[0])})


def _weights(random: np.random.Generator, shape: tuple[int, ...], network: Network) -> np.ndarray:
    """More small weights than large ones, as after training; 4 bits and a sign if exact, else 7."""
    most = 8 if network.exact else 64
    numbers = random.integers(-most + 1, most, (2, *shape)).sum(axis=0)
    if len(shape) > 1:
        numbers[random.random(shape) < network.zeros] = 0
    fan_in = math.prod(shape[1:])
    scale = 1 / (2 * most) if network.exact else 2.0 ** -round(math.log2(most * fan_in**0.5))
    return (numbers * scale).astype(np.float32)


def _floats(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Multiples of 1/4 from -2 to 2, float32 [samples, *shape]."""
    return (random.integers(-8, 9, (_SAMPLES, *shape)) / 4).astype(np.float32)


def _images(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return random.integers(0, 256, (_SAMPLES, *shape), dtype=np.uint8)


def _real(x: np.ndarray, network: Network) -> np.ndarray:
    """Inputs as the float network takes them."""
    if not network.images:
        return x
    (mean,), (std,) = network.options["input_mean"], network.options["input_std"]
    return ((x / 255 - mean) / std).astype(np.float32)


# --- the modules


def _ranged(*layers: nn.Module) -> nn.Sequential:
    """The layers with a Range at the input and after each; a ReLU shares its layer's Range."""
    ranged: list[nn.Module] = [Range()]
    for layer, after in zip(layers, (*layers[1:], None), strict=True):
        views = (nn.Flatten, nn.Unflatten, nn.PixelShuffle)
        ranged.append(layer)
        if not isinstance(after, (nn.ReLU, nn.ReLU6)) and not isinstance(layer, views):
            ranged.append(Range())
    return nn.Sequential(*ranged)


class _Add(nn.Module):
    """A residual block: x + layers(x)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.range = nn.Sequential(*layers), Range()

    def forward(self, x: Tensor) -> Tensor:
        return self.range(torch.relu(x + self.layers(x)))


class _Excite(nn.Module):
    """Squeeze and excitation: a factor for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeeze = nn.Conv2d(channels, 3, 1), nn.ReLU(), Range()
        self.gate = nn.Sequential(*squeeze, nn.Conv2d(3, channels, 1), Range())
        self.mean, self.factor, self.product = Range(), Range(), Range()

    def forward(self, x: Tensor) -> Tensor:
        mean = self.mean(x.mean((2, 3), keepdim=True))
        return self.product(x * self.factor(torch.sigmoid(self.gate(mean))))


class _Branches(nn.Module):
    """Branches joined along the channels in a scale; those that have it are not copied."""

    def __init__(self, scale: Range, *branches: nn.Module) -> None:
        super().__init__()
        self.branches, self.range = nn.ModuleList(branches), scale

    def forward(self, x: Tensor) -> Tensor:
        return self.range(torch.cat([branch(x) for branch in self.branches], dim=1))


class _Token(nn.Module):
    """A learned row before the others."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, features))
        self.range = Range()

    def forward(self, x: Tensor) -> Tensor:
        return self.range(torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1))


class _Rows(nn.Module):
    """A block of a transformer without its attention, and a softmax over each row."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        wide = nn.Linear(features, 12), Range(), nn.GELU(), Range()
        self.up = nn.Sequential(*wide)
        self.down = nn.Sequential(nn.Linear(12, features), Range())
        self.normed, self.added, self.weights = Range(), Range(), Range()

    def forward(self, x: Tensor) -> Tensor:
        x = self.added(x + self.down(self.up(self.normed(self.norm(x)))))
        return self.weights(torch.softmax(x, dim=-1))


class _Recurrent(nn.Module):
    """A recurrent layer on [steps, features], and a layer on each of its outputs."""

    def __init__(self, layer: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, head
        self.given, self.state, self.scores = Range(), Range(), Range()

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.head(self.state(self.layer(self.given(x))[0])))


class _Stream(nn.Module):
    """Causal convolutions along time."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(3, 6, 3), nn.Conv1d(6, 4, 2, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(functional.pad(x, (2, 0))))
        return self.second(functional.pad(x, (2, 0)))


class _Towers(nn.Module):
    """Two inputs, an image and a row of numbers; two outputs, scores and a map of their origin."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc, self.head = nn.Conv2d(1, 4, 3), nn.Linear(5, 4), nn.Linear(4, 3)
        self.ranges = nn.ModuleList(Range() for _ in range(7))

    def forward(self, image: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.ranges[0](torch.relu(self.conv(self.ranges[1](image))))
        moved = self.ranges[2](self.fc(self.ranges[3](motion))).unflatten(1, (4, 1, 1))
        both = self.ranges[4](seen + moved)
        return self.ranges[5](self.head(self.ranges[6](both.mean((2, 3))))), both


class _Moves(nn.Module):
    """An input that is clamped, concatenated along its rows, and also returned unchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, (2, 4), padding=(1, 0), stride=(1, 2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        joined = torch.cat([x, x.clamp(-1.0, 1.0)], dim=3)
        return self.conv(joined), torch.flatten(x, 1)


class _Tied(nn.Module):
    """One convolution twice, and two linear layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.wide, self.again = nn.Conv2d(2, 2, 3, padding=1), *_same_linears(18)
        self.ranges = nn.ModuleList(Range() for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.ranges[1](torch.relu(self.conv(self.ranges[0](x))))
        x = self.ranges[2](torch.relu(self.conv(x)))
        x = self.ranges[3](torch.relu(self.wide(torch.flatten(x, 1))))
        return self.ranges[4](self.again(x))


def _same_linears(features: int) -> tuple[nn.Linear, nn.Linear]:
    one, other = nn.Linear(features, features), nn.Linear(features, features)
    other.weight = one.weight
    return one, other


class _Shift(nn.Module):
    """A factor and a summand per channel that cannot be fused into a layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


def _convolutions() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(2, 6, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(6, 6, 3, stride=2), nn.ReLU()),
        nn.Conv2d(6, 8, 1),
    )


def _depthwise() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.ReLU()),
        *(nn.Conv2d(4, 8, 1), nn.ReLU6()),
        nn.Conv2d(8, 8, 3, dilation=2, groups=2),
    )


def _lenet() -> nn.Module:
    return _ranged(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(24, 12), nn.ReLU(), nn.Linear(12, 3)),
    )


def _decoder() -> nn.Module:
    return _ranged(
        *(nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), nn.ReLU()),
        *(nn.ReflectionPad2d(1), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.PixelShuffle(2)),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    )


def _inception() -> nn.Module:
    joint, average = Range(), nn.AvgPool2d(3, 1, padding=1)
    pointwise = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), joint)
    pooled = nn.Sequential(average, Range(), nn.Conv2d(4, 3, 1), joint)
    branches = _Branches(joint, pointwise, pooled, nn.MaxPool2d(3, 1, padding=1))
    return _ranged(
        *(nn.Conv2d(2, 4, 3, stride=2), nn.ReLU(), branches),
        *(nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(99, 5)),
    )


def _activations() -> nn.Module:
    return _ranged(
        *(nn.PReLU(4), nn.Conv2d(4, 4, 1), nn.Hardswish(), _Shift(4), nn.Hardtanh()),
        *(nn.Conv2d(4, 2, 3), nn.LeakyReLU(0.125), nn.MaxPool2d(2), nn.Tanh()),
    )


def _gru() -> nn.Module:
    return _Recurrent(nn.GRU(4, 6, batch_first=True), nn.Linear(6, 3))


def _lstm() -> nn.Module:
    return _Recurrent(nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3))


def _small() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(54, 8), nn.ReLU(), nn.Linear(8, 3)),
    )


def _encoded(encoding: str) -> Network:
    """One network per encoding; with a named encoding, the goal decides little."""
    return Network(
        *(encoding, _small, ((2, 8, 8),), {"encoding": encoding}),
        exact=True,
        zeros=0.6,
        goals=("balanced",),
    )


_IMAGES = {
    "input_mean": (0.25,),
    "input_std": (0.5,),
    "labels": ("cat", "dog", "bird"),
    "self_test": 2,
}

NETWORKS = (
    Network("convolutions", _convolutions, ((2, 9, 9),), exact=True),
    Network("depthwise", _depthwise, ((4, 8, 8),), exact=True),
    Network("lenet", _lenet, ((1, 12, 12),), _IMAGES, images=True),
    Network(
        *("pruned", lambda: _ranged(*_small()), ((2, 8, 8),)),
        {"sparsity": 0.75, "prune": "global"},
    ),
    Network(
        "residual",
        lambda: _ranged(
            *(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU()),
            *(_Add(nn.Conv2d(4, 4, 3, padding=1), Range()), _Excite(4)),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)),
        ),
        ((2, 6, 6),),
    ),
    Network("inception", _inception, ((2, 9, 9),), zeros=0.5),
    Network("decoder", _decoder, ((3, 4, 4),)),
    Network("rows", lambda: _ranged(nn.Linear(6, 8), _Token(8), _Rows(8)), ((4, 6),)),
    Network("activations", _activations, ((4, 8, 8),)),
    Network("gru", _gru, ((3, 4),), {"stateful": True}, zeros=0.5),
    Network("lstm", _lstm, ((4, 4),)),
    Network("stream", _Stream, ((3, 4),), {"stateful": True}, exact=True),
    Network(
        *("towers", _Towers, ((1, 6, 6), (5,))),
        {"self_test": 1, "self_test_layers": True},
    ),
    Network("moves", _Moves, ((2, 3, 4),), exact=True),
    Network("tied", _Tied, ((2, 3, 3),), zeros=0.7),
    *map(_encoded, ENCODINGS),
)
