"""Float networks with random weights, and inputs that fill only a part of their space."""

from __future__ import annotations

import numpy as np
from deepcompress.data.calibration import Calibration
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.ir.graph import Clamp, Graph, Node, Tensor
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.linear import Linear
from deepcompress.ops.max_pool2d import MaxPool2d

POOL = MaxPool2d((2, 2), (2, 2))


def network(outputs: int = 10, *, pool: MaxPool2d | None = POOL, seed: int = 0) -> Graph:
    """A convolution, a depthwise and a pointwise one, and a linear layer, with ReLU between."""
    random = np.random.default_rng(seed)

    def parameters(*shape: int) -> dict[str, np.ndarray]:
        weight = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        spread = np.exp(random.uniform(-1.5, 1.5, (shape[0], *[1] * (len(shape) - 1))))
        bias = 0.3 * random.standard_normal(shape[0])
        return {"weight": (weight * spread).astype(np.float32), "bias": bias.astype(np.float32)}

    relu, same = Clamp(0.0), (1, 1, 1, 1)
    size = 4 if pool else 8
    shapes = {"x": (2, 8, 8), "a": (12, size, size), "b": (12, size, size), "c": (8, size, size)}
    shapes["y"] = (outputs,)
    nodes = (
        Node("conv", "conv2d", ("x",), "a", Conv2d(2, 12, (3, 3), padding=same, pool=pool),
             parameters(12, 2, 3, 3), relu),
        Node("depthwise", "conv2d", ("a",), "b", Conv2d(12, 12, (3, 3), padding=same, groups=12),
             parameters(12, 1, 3, 3), relu),
        Node("pointwise", "conv2d", ("b",), "c", Conv2d(12, 8, (1, 1)),
             parameters(8, 12, 1, 1), relu),
        Node("fc", "linear", ("c",), "y", Linear(8 * size * size, outputs),
             parameters(outputs, 8 * size * size)),
    )  # fmt: skip
    tensors = {name: Tensor(name, shape) for name, shape in shapes.items()}
    return Graph("net", tensors, nodes, ("x",), ("y",))


def samples(count: int = 120, *, seed: int = 1) -> Calibration:
    """Smooth images: sums of a few waves."""
    random = np.random.default_rng(seed)
    at = np.arange(8)
    waves = np.stack([np.cos(np.pi * k * (at + 0.5) / 8) for k in range(4)])
    shares = random.standard_normal((count, 2, 4, 4)) / (1 + np.arange(4))
    images = np.einsum("ncij,iy,jx->ncyx", shares, waves, waves)
    return Calibration(images.astype(np.float32))


def error(graph: Graph, original: Graph, inputs: np.ndarray) -> float:
    """Squared error of the outputs, as a share of their variance."""
    wanted, found = forward_numpy(original, inputs), forward_numpy(graph, inputs)
    return float(np.square(found - wanted).mean() / wanted.var(axis=0).mean())
