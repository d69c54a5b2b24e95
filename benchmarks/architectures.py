"""Common networks for microcontrollers in PyTorch, and their building blocks.

Weights are random but similar to trained ones: He initialization, and batch-norms with random
factors and statistics measured on data (`settle`). Only LeNet-5 is trained: it is the example's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "lenet5_mnist"

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def settle(network: nn.Module, inputs: Tensor) -> nn.Module:
    """The network in eval mode, with random weights and batch-norm statistics of `inputs`."""
    for module in network.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, NORMS):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            module.momentum = None  # the mean over all batches
    network.train()
    with torch.no_grad():
        for batch in inputs.split(32):
            network(batch)
    for module in network.modules():
        if isinstance(module, NORMS):
            module.momentum = 0.1  # torch's default, for training
    return network.eval()


# --- blocks


def conv(inputs: int, outputs: int, kernel: int, **options: int) -> nn.Sequential:
    """Convolution, batch-norm, ReLU6: a single layer after fusing."""
    padding = kernel // 2
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False, **options)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6())


def conv1d(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """One-dimensional convolution, batch-norm, ReLU, and pooling to half the length."""
    convolution = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm1d(outputs), nn.ReLU(), nn.MaxPool1d(2))


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A MobileNet block: a depthwise and a pointwise convolution."""
    return nn.Sequential(
        conv(inputs, inputs, 3, groups=inputs, stride=stride), conv(inputs, outputs, 1)
    )


def dense(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU())


def head(channels: int, classes: int = 10) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)


class Residual(nn.Module):
    """A ResNet block; its shortcut is a 1x1 convolution if the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(inputs, outputs, 3, stride=stride),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        changes = stride > 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class Excited(nn.Module):
    """Squeeze and excitation: multiplies each channel by a function of all channels' means."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class Inverted(nn.Module):
    """A MobileNetV2 block; in a V3 block, squeeze and excitation precede the projection."""

    def __init__(
        self, inputs: int, outputs: int, *, stride: int = 1, times: int = 3, excited: bool = False
    ) -> None:
        super().__init__()
        wide = times * inputs
        self.body = nn.Sequential(
            conv(inputs, wide, 1) if times > 1 else nn.Identity(),
            conv(wide, wide, 3, groups=wide, stride=stride),
            Excited(wide, inputs) if excited else nn.Identity(),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.adds else self.body(x)


class Shuffled(nn.Module):
    """A ShuffleNetV2 block: half of the channels bypass it, then all are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            conv(half, half, 1), conv(half, half, 3, groups=half), conv(half, half, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, dim=1)
        joined = torch.cat([kept, self.branch(changed)], 1)
        return nn.functional.channel_shuffle(joined, 2)


class UNet(nn.Module):
    """A U-Net: encoder, decoder, and skip connections by concatenation.

    Args:
        channels: of the input, of each level from the top, and of the output.
        up: creates a module that doubles height and width, from its input and output channels.
    """

    def __init__(
        self, *channels: int, up: Callable[[int, int], nn.Module] | None = None, thick: int = 1
    ) -> None:
        super().__init__()
        up = up or (lambda before, after: nn.ConvTranspose2d(before, after, 2, 2))
        levels = list(pairwise(channels[:-1]))
        self.down = nn.ModuleList(self._level(*pair, thick) for pair in levels)
        self.up = nn.ModuleList(up(wide, narrow) for narrow, wide in reversed(levels[1:]))
        self.join = nn.ModuleList(
            self._level(2 * narrow, narrow, thick) for narrow, _ in reversed(levels[1:])
        )
        self.last = nn.Conv2d(channels[1], channels[-1], 1)

    @staticmethod
    def _level(inputs: int, outputs: int, thick: int) -> nn.Sequential:
        return nn.Sequential(*(conv(outputs if i else inputs, outputs, 3) for i in range(thick)))

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for level in self.down[:-1]:
            kept.append(level(x))
            x = nn.functional.max_pool2d(kept[-1], 2)
        x = self.down[-1](x)
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([kept.pop(), up(x)], 1))
        return self.last(x)


class Recurrent(nn.Module):
    """A GRU over a sequence, [time, features], and a classifier of its last state."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.gru = nn.GRU(features, hidden, batch_first=True)
        self.classify = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.gru(x)[0][:, -1])


# --- networks


def lenet5() -> nn.Module:
    """The trained network of the example: 32x32 digits."""
    sys.path.insert(0, str(EXAMPLE))
    import model

    return model.load(EXAMPLE / "models" / "lenet5.pt")


def cifar10() -> nn.Module:
    """CMSIS-NN's example, also in the paper: 3-32-16-32 channels, 5x5, overlapping pools."""
    widths = [(3, 32), (32, 16), (16, 32)]
    layers = [
        layer
        for pair in widths
        for layer in (nn.Conv2d(*pair, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True))
    ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 4 * 4, 10))


def ds_cnn() -> nn.Module:
    """Keyword spotting of MLPerf Tiny: 49 times 10 coefficients, 12 words."""
    return nn.Sequential(
        nn.ZeroPad2d((1, 1, 4, 5)),  # TensorFlow's SAME
        nn.Conv2d(1, 64, (10, 4), 2, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        *(separable(64, 64) for _ in range(4)),
        *head(64, 12),
    )


def mobilenet_v1() -> nn.Module:
    """Person detection of MLPerf Tiny: MobileNetV1 with a width of 0.25; 96x96."""
    pairs = [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2)]
    pairs += [(128, 128, 1)] * 5 + [(128, 256, 2), (256, 256, 1)]
    return nn.Sequential(
        conv(3, 8, 3, stride=2), *(separable(*pair) for pair in pairs), *head(256, 2)
    )


def mobilenet_v2() -> nn.Module:
    """Inverted residuals with an expansion of six, a small MobileNetV2; 64x64."""
    blocks = [(8, 12, 2), (12, 12, 1), (12, 24, 2), (24, 24, 1), (24, 48, 2), (48, 48, 1)]
    return nn.Sequential(
        conv(3, 8, 3, stride=2),
        Inverted(8, 8, times=1),
        *(Inverted(before, after, stride=stride, times=6) for before, after, stride in blocks),
        conv(48, 128, 1),
        *head(128),
    )


def resnet8() -> nn.Module:
    """Image classification of MLPerf Tiny; 32x32."""
    blocks = (Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2))
    return nn.Sequential(conv(3, 16, 3), *blocks, *head(64))


def auto_encoder() -> nn.Module:
    """Anomaly detection of MLPerf Tiny: 640 spectral values, a bottleneck of 8."""
    widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128]
    layers = (dense(*pair) for pair in pairwise(widths))
    return nn.Sequential(*layers, nn.Linear(128, 640))


def activity() -> nn.Module:
    """Convolutions over 128 samples of 3 axes; six activities."""
    layers = (conv1d(3, 16, 5), conv1d(16, 32, 5), conv1d(32, 64, 3))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 6))


def unet() -> nn.Module:
    """Three levels with two convolutions each; two classes per pixel; 48x48."""
    return UNet(3, 8, 16, 32, 2, thick=2)


def gru() -> nn.Module:
    """A digit read line by line: 28 times 28 pixels."""
    return Recurrent(28, 64, 10)
