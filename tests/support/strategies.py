"""Random networks of every operator, weight and option, for hypothesis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from deepcompress.ir.arrays import frozen
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ops import OPERATORS
from deepcompress.ops.adaptive_pool2d import AdaptivePool2d
from deepcompress.ops.add import Add
from deepcompress.ops.avg_pool2d import AvgPool2d
from deepcompress.ops.clamp import Limits
from deepcompress.ops.concat import Concat
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.conv_transpose2d import ConvTranspose2d
from deepcompress.ops.flatten import Flatten
from deepcompress.ops.history import History
from deepcompress.ops.layer_norm import LayerNorm
from deepcompress.ops.linear import Linear
from deepcompress.ops.linear_rows import LinearRows
from deepcompress.ops.literal import Literal
from deepcompress.ops.lookup import Lookup
from deepcompress.ops.max_pool2d import MaxPool2d
from deepcompress.ops.mean import Mean
from deepcompress.ops.mul import Mul
from deepcompress.ops.pad import Pad
from deepcompress.ops.prelu import PReLU
from deepcompress.ops.rearrange import Rearrange, merged
from deepcompress.ops.recurrent import Recurrent
from deepcompress.ops.scale_shift import ScaleShift
from deepcompress.ops.softmax import Softmax
from deepcompress.ops.upsample_bilinear2d import UpsampleBilinear2d
from hypothesis import strategies as st


@dataclass
class _Builder:
    """A graph under construction, one layer after another."""

    draw: st.DrawFn
    random: np.random.Generator
    tensors: dict[str, Tensor]
    nodes: list[Node]
    last: str
    stateful: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensors[self.last].shape

    def put(
        self,
        op: str,
        attributes: object,
        inputs: tuple[str, ...] | None = None,
        **parameters: np.ndarray,
    ) -> None:
        """A layer on the last tensor, or on these."""
        name, inputs = f"{op}{len(self.nodes)}", inputs or (self.last,)
        shapes = [self.tensors[tensor].shape for tensor in inputs]
        self.tensors[name] = Tensor(name, OPERATORS[op].output_shape(attributes, shapes))
        constants = {key: frozen(array) for key, array in parameters.items()}
        self.nodes.append(Node(name, op, inputs, name, attributes, constants))
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
        padded = (height + padding[0] + padding[2], width + padding[1] + padding[3])
        kernel = (self.integer(1, min(5, padded[0])), self.integer(1, min(5, padded[1])))
        dilation = tuple(
            self.integer(1, 2) if (k - 1) * 2 < size else 1
            for k, size in zip(kernel, padded, strict=True)
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
        self.put("conv2d", attributes, weight=weight, bias=self.bias(out_channels))

    def linear(self) -> None:
        size = self.tensors[self.last].size
        self.put("flatten", Flatten((size,)))
        features = self.integer(1, 12)
        self.put(
            "linear",
            Linear(size, features),
            weight=self.weights(features, size),
            bias=self.bias(features),
        )

    def linear_rows(self) -> None:
        *rows, size = self.shape
        features = self.integer(1, 6)
        weight, bias = self.weights(features, size), self.bias(features)
        if rows:
            attributes = LinearRows(size, features, tuple(rows))
            self.put("linear_rows", attributes, weight=weight, bias=bias)

    def gru(self) -> None:
        self.recurrent("gru", 3)

    def lstm(self) -> None:
        self.recurrent("lstm", 4)

    def recurrent(self, op: str, gates: int) -> None:
        steps, hidden = self.shape[0], self.integer(1, 5)
        features = self.tensors[self.last].size // steps
        self.put("flatten", Flatten((steps, features)))
        parameters = {
            "weight": self.weights(gates * hidden, features + hidden),
            "bias": self.bias(gates * hidden),
        }
        if op == "gru":
            parameters["hidden_bias"] = self.bias(hidden)
        last, stateful = self.draw(st.booleans()), self.stateful and self.draw(st.booleans())
        self.put(op, Recurrent(features, hidden, steps, last, stateful), **parameters)

    def history(self) -> None:
        if self.stateful:
            self.put("history", History(self.integer(1, 4)))

    def lookup(self) -> None:
        self.put("lookup", self.draw(st.sampled_from(FUNCTIONS)))

    def prelu(self) -> None:
        slopes = self.draw(st.sampled_from([1, self.shape[0]]))
        slope = self.random.standard_normal(slopes).astype(np.float32)
        self.put("prelu", PReLU(slopes), slope=slope)

    def softmax(self) -> None:
        axis = self.integer(0, len(self.shape) - 1)
        self.put("softmax", Softmax(axis, log=self.draw(st.booleans())))

    def layer_norm(self) -> None:
        shape = self.shape[self.integer(0, len(self.shape) - 1) :]
        gain, bias = self.random.standard_normal((2, *shape)).astype(np.float32)
        if np.prod(shape) > 3:  # int8 inputs of fewer values may have no variance
            attributes = LayerNorm(shape, 1e-5, centered=self.draw(st.booleans()))
            self.put("layer_norm", attributes, gain=gain, bias=bias)

    def conv_transpose2d(self) -> None:
        channels = self.shape[0]
        kernel, stride = ((self.integer(1, high), self.integer(1, high)) for high in (3, 2))
        dilation = (self.integer(1, 2), self.integer(1, 2))
        groups = self.draw(st.sampled_from([1, channels]))
        attributes = ConvTranspose2d(
            in_channels=channels,
            out_channels=groups * self.integer(1, 3),
            kernel=kernel,
            stride=stride,
            padding=tuple(self.integer(0, (k - 1) // 2) for k in kernel),
            output_padding=tuple(
                self.integer(0, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True)
            ),
            dilation=dilation,
            groups=groups,
        )
        weight = self.weights(attributes.out_channels, channels // groups, *kernel)
        bias = self.bias(attributes.out_channels)
        self.put("conv_transpose2d", attributes, weight=weight, bias=bias)

    def max_pool2d(self) -> None:
        _, height, width = self.shape
        kernel = (self.integer(1, min(3, height)), self.integer(1, min(3, width)))
        padding = tuple(self.integer(0, k // 2) for k in kernel)
        stride, ceil = (self.integer(1, 3), self.integer(1, 3)), self.draw(st.booleans())
        self.put("max_pool2d", MaxPool2d(kernel, stride, padding, ceil=ceil))

    def adaptive_pool2d(self) -> None:
        size = self.shape[1:]
        pooled = tuple(self.integer(1, min(4, n)) for n in size)
        function = self.draw(st.sampled_from(["mean", "maximum"]))
        self.put("adaptive_pool2d", AdaptivePool2d(function, size, pooled))

    def scale_shift(self) -> None:
        size = self.tensors[self.last].size
        channels = self.draw(st.sampled_from([1, self.shape[0], size]))
        scale, shift = self.random.standard_normal((2, channels)).astype(np.float32)
        attributes = ScaleShift("Arithmetic", channels, size)
        self.put("scale_shift", attributes, scale=scale, shift=shift)

    def reshape(self) -> None:
        size = self.tensors[self.last].size
        channels = self.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
        height = self.draw(st.sampled_from([n for n in range(1, 5) if size // channels % n == 0]))
        self.put("flatten", Flatten((channels, height, size // channels // height)))

    def branch(self) -> None:
        """The next layers read an earlier tensor."""
        self.last = self.draw(st.sampled_from(list(self.tensors)))

    def add(self) -> None:
        inputs, shapes = self.operands()
        factors = (1.0, self.draw(st.sampled_from([1.0, -1.0, 0.25])))
        self.put("add", Add(*factors, shapes), inputs)

    def mul(self) -> None:
        inputs, shapes = self.operands()
        self.put("mul", Mul(shapes), inputs)

    def avg_pool2d(self) -> None:
        size = self.shape[1:]
        kernel = tuple(self.integer(1, min(3, n)) for n in size)
        stride = (self.integer(1, 3), self.integer(1, 3))
        padding = tuple(self.integer(0, k // 2) for k in kernel)
        counted = any(padding) and self.draw(st.booleans())
        ceil = self.draw(st.booleans())
        self.put("avg_pool2d", AvgPool2d(size, kernel, stride, padding, ceil, counted))

    def mean(self) -> None:
        axis = self.integer(0, len(self.shape) - 1)
        axes, kept = tuple(range(axis, len(self.shape))), self.shape[:axis]
        if not kept:
            return
        count = int(np.prod(self.shape[axis:]))
        divisor = self.draw(st.sampled_from([1, count]))
        self.put("mean", Mean(axes, divisor, self.shape, kept))

    def rearrange(self) -> None:
        """Some of the values in another order."""
        places = np.arange(self.tensors[self.last].size).reshape(self.shape)
        for axis, size in enumerate(self.shape):
            start, step = self.integer(0, size - 1), self.integer(1, 2)
            places = places[(slice(None),) * axis + (slice(start, None, step),)]
            if self.draw(st.booleans()):
                places = np.flip(places, axis)
        places = places.transpose(self.draw(st.permutations(range(places.ndim))))
        steps = (step // places.itemsize for step in places.strides)
        loops = merged(zip(places.shape, steps, strict=True))
        attributes = Rearrange(
            "as_strided", self.tensors[self.last].size, int(places.flat[0]), loops, places.shape
        )
        if not OPERATORS["rearrange"].changes_nothing(attributes, {}):
            self.put("rearrange", attributes)

    def concat(self) -> None:
        """The last tensor and others that differ from it along one axis at most."""
        axis, shape = self.integer(0, len(self.shape) - 1), self.shape
        fits = [
            name
            for name, t in self.tensors.items()
            if t.shape[:axis] == shape[:axis] and t.shape[axis + 1 :] == shape[axis + 1 :]
            if len(t.shape) == len(shape)
        ]
        inputs = (self.last, *self.draw(st.lists(st.sampled_from(fits), min_size=1, max_size=3)))
        rows = int(np.prod(shape[:axis], dtype=int))
        sizes = tuple(self.tensors[name].size // rows for name in inputs)
        self.put("concat", Concat(axis, False, rows, sizes), inputs)

    def pad(self) -> None:
        mode = self.draw(st.sampled_from(["constant", "reflect", "replicate", "circular"]))
        within = {"reflect": 1, "circular": 0}
        largest = [min(2, size - within.get(mode, -2)) for size in self.shape[1:]]
        around = tuple((self.integer(0, most), self.integer(0, most)) for most in largest)
        value = self.draw(st.sampled_from([0.0, -1.5])) if mode == "constant" else 0.0
        self.put("pad", Pad(((0, 0), *around), mode, value))

    def upsample_bilinear2d(self) -> None:
        if self.tensors[self.last].size < 2000:
            self.put("upsample_bilinear2d", UpsampleBilinear2d())

    def operands(self) -> tuple[tuple[str, str], tuple]:
        """The last tensor and another of its rank with which it is broadcast, maybe itself."""
        fits = [name for name, t in self.tensors.items() if _fit(t.shape, self.shape)]
        inputs = self.last, self.draw(st.sampled_from(fits))
        return inputs, tuple(self.tensors[name].shape for name in inputs)

    def literal(self) -> None:
        """As large as the last tensor, for others to be joined with."""
        value = self.random.standard_normal((1, *self.shape)).astype(np.float32)
        self.put("literal", Literal(self.shape), value=value)

    def beside_literal(self) -> None:
        before = self.last
        self.literal()
        size = self.tensors[before].size
        self.put("concat", Concat(0, False, 1, (size, size)), (before, self.last))

    def clamp(self) -> None:
        limits = st.sampled_from([(0.0, np.inf), (0.0, 6.0), (-1.0, 1.0), (-np.inf, 0.5)])
        self.put("clamp", Limits(*self.draw(limits)))


def _fit(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    alike = (a == b or 1 in (a, b) for a, b in zip(one, other, strict=False))
    return len(one) == len(other) and all(alike)


FUNCTIONS = [Lookup(name) for name in ("abs", "hardswish", "sigmoid", "silu", "tanh")]
FUNCTIONS += [Lookup("gelu", (("approximate", "tanh"),))]
FUNCTIONS += [Lookup("leaky_relu", (("negative_slope", 0.1),))]
ON_ANYTHING = ["linear", "clamp", "scale_shift", "reshape", "branch", "add", "mul"]
ON_ANYTHING += ["rearrange", "concat", "mean", "history", "beside_literal"]
ON_ANYTHING += ["linear_rows", "gru", "lstm", "lookup", "prelu", "softmax", "layer_norm"]
ON_IMAGES = ["conv2d"] * 4 + [
    "conv_transpose2d",
    "max_pool2d",
    "avg_pool2d",
    "adaptive_pool2d",
    "pad",
    "upsample_bilinear2d",
]


@st.composite
def graphs(
    draw: st.DrawFn, *, inputs: int = 1, outputs: int = 1, layers: int = 8, stateful: bool = False
) -> Graph:
    """Layers in sequence and in parallel branches.

    Args:
        inputs, outputs, layers: their largest numbers.
        stateful: whether some layers may keep state between inferences.
    """
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tensors = {name: Tensor(name, _shape(draw)) for name in "xyz"[: draw(st.integers(1, inputs))]}
    build = _Builder(draw, random, tensors, [], "x", stateful)
    for _ in range(draw(st.integers(1, layers))):
        kinds = ON_ANYTHING + (ON_IMAGES if len(build.shape) == 3 else [])
        getattr(build, draw(st.sampled_from(kinds)))()
    if build.last in "xyz":
        build.clamp()
    computed = [node.output for node in build.nodes if node.output != build.last]
    others = st.lists(st.sampled_from(computed or [build.last]), unique=True, max_size=outputs - 1)
    ends = dict.fromkeys((build.last, *draw(others)))
    return _graph(build, tuple(ends))


def _shape(draw: st.DrawFn) -> tuple[int, ...]:
    return tuple(draw(st.integers(1, high)) for high in (6, 14, 14))


@st.composite
def every_operator(draw: st.DrawFn) -> Graph:
    """A layer per operator with any options, all on the same input; each is an output."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = tuple(draw(st.integers(low, high)) for low, high in ((1, 4), (4, 7), (4, 9)))
    build, ends = _Builder(draw, random, {"x": Tensor("x", shape)}, [], "x", stateful=True), []
    for op in OPERATORS:
        build.last = "x"
        while build.last == "x":
            {"flatten": build.reshape}.get(op, getattr(build, op, None))()
        ends.append(next(node.output for node in reversed(build.nodes) if node.op == op))
    return _graph(build, tuple(ends))


def _graph(build: _Builder, outputs: tuple[str, ...]) -> Graph:
    """The graph of the nodes that these outputs depend on."""
    needed, nodes = set(outputs), []
    for node in reversed(build.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            nodes.insert(0, node)
    inputs = tuple(name for name in build.tensors if name in "xyz" and name in needed)
    tensors = {name: tensor for name, tensor in build.tensors.items() if name in needed}
    return Graph("net", tensors, tuple(nodes), inputs, outputs)


@st.composite
def products(draw: st.DrawFn) -> Graph:
    """A layer of products, some wider than a vector: a convolution, maybe pooled, or a linear."""
    shape = tuple(draw(st.integers(1, high)) for high in (24, 9, 19))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    build = _Builder(draw, random, {"x": Tensor("x", shape)}, [], "x")
    if draw(st.booleans()):
        build.linear()
    else:
        build.conv2d()
        if draw(st.booleans()):
            build.max_pool2d()
    return Graph("net", build.tensors, tuple(build.nodes), ("x",), (build.last,))


@st.composite
def sparse_matrices(draw: st.DrawFn) -> np.ndarray:
    """int8 [rows, columns], from empty rows to full ones, with gaps longer than a byte can hold."""
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 1500))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    keep = random.random((rows, columns)) < draw(st.sampled_from([0, 0.001, 0.01, 0.2, 1]))
    return (random.integers(-127, 128, (rows, columns)) * keep).astype(np.int8)
