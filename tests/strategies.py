"""Random networks of every operator, weight and option, for hypothesis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from deepcompress.graph import Graph, Node, Tensor
from deepcompress.ops import OPERATORS
from deepcompress.ops.clamp import Limits
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.flatten import Flatten
from deepcompress.ops.linear import Linear
from deepcompress.ops.max_pool2d import MaxPool2d
from hypothesis import strategies as st


@dataclass
class _Builder:
    """A graph as it grows, layer behind layer."""

    draw: st.DrawFn
    random: np.random.Generator
    tensors: dict[str, Tensor]
    nodes: list[Node]
    last: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensors[self.last].shape

    def add(self, op: str, attributes: object, **parameters: np.ndarray) -> None:
        name = f"{op}{len(self.nodes)}"
        shape = OPERATORS[op].output_shape(attributes, parameters, [self.shape])
        self.tensors[name] = Tensor(name, shape)
        self.nodes.append(Node(name, op, (self.last,), name, attributes, parameters))
        self.last = name

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def weights(self, *shape: int) -> np.ndarray:
        """Normal weights of a random scale and sparsity; a row may be all zero."""
        weight = self.random.standard_normal(shape) * 10.0 ** self.random.uniform(-2, 1)
        weight[self.random.random(shape) < self.draw(st.sampled_from([0, 0.5, 0.9, 1.0]))] = 0
        return weight.astype(np.float32)

    def bias(self, size: int) -> np.ndarray:
        scale = self.draw(st.sampled_from([0.0, 1.0, 1e3]))
        return (self.random.standard_normal(size) * scale).astype(np.float32)

    def conv2d(self) -> None:
        channels, height, width = self.shape
        groups = self.draw(st.sampled_from([g for g in (1, 2, 3, channels) if channels % g == 0]))
        out_channels = groups * self.integer(1, 3)
        padding = (
            tuple(self.integer(0, 2) for _ in range(4)) if self.draw(st.booleans()) else (0,) * 4
        )
        room = (height + padding[0] + padding[2], width + padding[1] + padding[3])
        kernel = (self.integer(1, min(5, room[0])), self.integer(1, min(5, room[1])))
        dilation = tuple(
            self.integer(1, 2) if (k - 1) * 2 < r else 1 for k, r in zip(kernel, room, strict=True)
        )
        attributes = Conv2d(
            in_channels=channels,
            out_channels=out_channels,
            kernel=kernel,
            stride=(self.integer(1, 3), self.integer(1, 3)),
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
        weight = self.weights(out_channels, channels // groups, *kernel)
        self.add("conv2d", attributes, weight=weight, bias=self.bias(out_channels))

    def linear(self) -> None:
        size = self.tensors[self.last].size
        self.add("flatten", Flatten((size,)))
        features = self.integer(1, 12)
        self.add(
            "linear",
            Linear(size, features),
            weight=self.weights(features, size),
            bias=self.bias(features),
        )

    def max_pool2d(self) -> None:
        _, height, width = self.shape
        kernel = (self.integer(1, min(3, height)), self.integer(1, min(3, width)))
        padding = tuple(self.integer(0, k // 2) for k in kernel)
        self.add("max_pool2d", MaxPool2d(kernel, (self.integer(1, 3), self.integer(1, 3)), padding))

    def clamp(self) -> None:
        limits = st.sampled_from([(0.0, np.inf), (0.0, 6.0), (-1.0, 1.0), (-np.inf, 0.5)])
        self.add("clamp", Limits(*self.draw(limits)))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """A chain of one to six layers on an image, or, after a Linear, on a vector."""
    shape = tuple(draw(st.integers(1, high)) for high in (6, 14, 14))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    build = _Builder(draw, random, {"x": Tensor("x", shape)}, [], "x")
    for _ in range(draw(st.integers(1, 6))):
        image = len(build.shape) == 3
        kinds = (
            ["conv2d", "conv2d", "max_pool2d", "clamp", "linear"] if image else ["linear", "clamp"]
        )
        getattr(build, draw(st.sampled_from(kinds)))()
    return Graph("net", build.tensors, tuple(build.nodes), ("x",), (build.last,))


@st.composite
def sparse_matrices(draw: st.DrawFn) -> np.ndarray:
    """int8 [rows, columns], from empty rows to full ones, with gaps longer than a byte can say."""
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 1500))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    keep = random.random((rows, columns)) < draw(st.sampled_from([0, 0.001, 0.01, 0.2, 1]))
    return (random.integers(-127, 128, (rows, columns)) * keep).astype(np.int8)
