"""Networks of one layer, for tests of kernels: every operator, and shapes at the edges."""

from __future__ import annotations

import numpy as np
from deepcompress.data.calibration import Calibration
from deepcompress.ir.graph import Graph, IntegerGraph, Node, Tensor
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
from deepcompress.ops.rearrange import Rearrange
from deepcompress.ops.recurrent import Recurrent
from deepcompress.ops.scale_shift import ScaleShift
from deepcompress.ops.softmax import Softmax
from deepcompress.ops.upsample_bilinear2d import UpsampleBilinear2d
from deepcompress.passes.fuse import fuse
from deepcompress.passes.magnitude_prune import magnitude_prune
from deepcompress.passes.quantize import quantize
from model_graphs import in_steps

POOL = MaxPool2d((2, 2), (2, 2))
SAME = (1, 1, 1, 1)
UP = ConvTranspose2d(8, 8, (4, 4), stride=(2, 2), padding=(1, 1))
LAYERS = {
    "5x5 pooled": ((6, 14, 14), "conv2d", Conv2d(6, 16, (5, 5), pool=POOL)),
    "5x5 pooled, one channel": ((1, 32, 32), "conv2d", Conv2d(1, 6, (5, 5), pool=POOL)),
    "3x3 padded": ((8, 16, 16), "conv2d", Conv2d(8, 8, (3, 3), padding=SAME)),
    "3x3 padded, pooled": ((8, 12, 12), "conv2d", Conv2d(8, 8, (3, 3), padding=SAME, pool=POOL)),
    "1x1": ((32, 8, 8), "conv2d", Conv2d(32, 16, (1, 1))),
    "3x3 stride 2": ((8, 17, 17), "conv2d", Conv2d(8, 8, (3, 3), stride=(2, 2))),
    "transposed 4x4": ((8, 8, 8), "conv_transpose2d", UP),
    "gru": ((20, 16), "gru", Recurrent(16, 32, 20)),
    "lstm": ((20, 16), "lstm", Recurrent(16, 32, 20)),
    "linear": ((200,), "linear", Linear(200, 50)),
    "linear on rows": ((20, 64), "linear_rows", LinearRows(64, 32, (20,))),
    "max pooling": ((8, 16, 16), "max_pool2d", MaxPool2d((2, 2), (2, 2))),
    "clamp": ((8, 16, 16), "clamp", Limits(0.0, 6.0)),
    "lookup": ((8, 16, 16), "lookup", Lookup("silu")),
    "layer norm": ((20, 64), "layer_norm", LayerNorm((64,), 1e-5)),
    "prelu": ((8, 16, 16), "prelu", PReLU(8)),
    "softmax": ((10,), "softmax", Softmax(0)),
    "softmax of many": ((8, 100), "softmax", Softmax(1)),
    "batch norm": ((8, 16, 16), "scale_shift", ScaleShift("BatchNorm", 8, 2048)),
    "add": ((8, 16, 16), "add", Add(1.0, 0.3, ((8, 16, 16),) * 2)),
    "multiply": ((8, 16, 16), "mul", Mul(((8, 16, 16),) * 2)),
    "average pooling": ((8, 16, 16), "avg_pool2d", AvgPool2d((16, 16), (2, 2), (2, 2))),
    "adaptive pooling": (
        (8, 16, 16),
        "adaptive_pool2d",
        AdaptivePool2d("mean", (16, 16), (3, 3)),
    ),
    "global pooling": ((64, 8, 8), "mean", Mean((1, 2), 64, (64, 8, 8), (64,))),
    "channels last": (
        (8, 16, 16),
        "rearrange",
        Rearrange("permute", 2048, 0, ((256, 1), (8, 256)), (16, 16, 8)),
    ),
    "concat of columns": ((8, 16, 16), "concat", Concat(2, False, 128, (16, 16))),
    "literal": ((8, 16, 16), "literal", Literal((8, 16, 16))),
    "reflection": ((8, 16, 16), "pad", Pad(((0, 0), (1, 1), (1, 1)), "reflect")),
    "upsample": ((8, 16, 16), "upsample_bilinear2d", UpsampleBilinear2d()),
}
# Shapes at the edges of what kernels accept: strides, dilation, groups, tiles that do not fit.
EDGES = {
    "depthwise": ((4, 10, 9), "conv2d", Conv2d(4, 4, (3, 3), padding=SAME, groups=4)),
    "grouped": ((6, 6, 13), "conv2d", Conv2d(6, 6, (3, 3), groups=3)),
    "stride 3": ((3, 14, 14), "conv2d", Conv2d(3, 4, (3, 3), stride=(3, 3))),
    "stride 2": ((3, 13, 13), "conv2d", Conv2d(3, 5, (3, 3), stride=(2, 2))),
    "pooled by 3": ((3, 11, 11), "conv2d", Conv2d(3, 4, (3, 3), pool=MaxPool2d((3, 3), (2, 2)))),
    "pooled by 2": ((2, 12, 14), "conv2d", Conv2d(2, 3, (3, 3), pool=POOL)),
    "dilated": ((2, 11, 11), "conv2d", Conv2d(2, 5, (3, 3), dilation=(2, 2), padding=(2,) * 4)),
    "one output": ((9, 3, 3), "conv2d", Conv2d(9, 3, (3, 3))),
    "pointwise": ((7, 5, 5), "conv2d", Conv2d(7, 6, (1, 1))),
    "one row": ((3, 1, 40), "conv2d", Conv2d(3, 5, (1, 7), padding=(0, 3, 0, 3))),
    "asymmetric": ((1, 19, 10), "conv2d", Conv2d(1, 6, (10, 4), (2, 2), (4, 1, 5, 1))),
    "transposed, grouped": (
        (4, 5, 5),
        "conv_transpose2d",
        ConvTranspose2d(4, 4, (3, 3), stride=(2, 2), groups=2),
    ),
    "five features": ((33,), "linear", Linear(33, 5)),
    "two features": ((7,), "linear", Linear(7, 2)),
    "rows of five": ((3, 10), "linear_rows", LinearRows(10, 5, (3,))),
    "short gru": ((3, 5), "gru", Recurrent(5, 3, 3)),
    "short lstm": ((3, 5), "lstm", Recurrent(5, 3, 3, last=True)),
    "flatten": ((4, 6), "flatten", Flatten((24,))),
    "history": ((3, 5), "history", History(2, chunks=4)),
}
# Operators with two inputs; here both inputs are the same tensor.
PAIRS = ("add", "mul", "concat")


WEIGHTED_OPS = ("conv2d", "conv_transpose2d", "gru", "linear", "linear_rows", "lstm")


def integer_layer(
    layer: str, sparsity: float = 0.0, step: int = 1, *, narrow: bool = False
) -> IntegerGraph:
    """A network of one layer, with random weights on a grid, a share of which is zero.

    Args:
        layer: of `LAYERS` or `EDGES`.
        narrow: whether sums of products fit int16 if coarser weights allow it.
    """
    shape, op, attributes = (LAYERS | EDGES)[layer]
    sources = ("x", "x") if op in PAIRS else ("x",)
    random = np.random.default_rng(0)
    parameters = {}
    if op in ("conv2d", "conv_transpose2d"):
        size = (attributes.out_channels, attributes.in_channels // attributes.groups)
        parameters["weight"] = random.standard_normal((*size, *attributes.kernel))
    if op in ("linear", "linear_rows"):
        parameters["weight"] = random.standard_normal(
            (attributes.out_features, attributes.in_features)
        )
    if op == "layer_norm":
        parameters["gain"], parameters["bias"] = random.standard_normal((2, *attributes.shape))
    if op == "literal":
        parameters["value"] = random.standard_normal((1, *attributes.shape))
    if op == "prelu":
        parameters["slope"] = random.standard_normal(attributes.slopes)
    if op in ("gru", "lstm"):
        rows = attributes.hidden * {"gru": 3, "lstm": 4}[op]
        columns = attributes.features + attributes.hidden
        parameters["weight"] = random.standard_normal((rows, columns)) / 8
        parameters["hidden_bias"] = random.standard_normal(attributes.hidden)
    if "weight" in parameters:
        parameters["bias"] = random.standard_normal(len(parameters["weight"]))
    if op == "scale_shift":
        parameters["scale"], parameters["shift"] = random.standard_normal((2, attributes.channels))
    arrays = {name: array.astype(np.float32) for name, array in parameters.items()}
    output = OPERATORS[op].output_shape(attributes, [shape] * len(sources))
    node = Node("layer", op, sources, "y", attributes, arrays)
    graph = Graph(
        "net", {"x": Tensor("x", shape), "y": Tensor("y", output)}, (node,), ("x",), ("y",)
    )
    if "weight" in parameters:
        graph = magnitude_prune(graph, sparsity=sparsity)
    inputs = Calibration(random.standard_normal((4, *shape)).astype(np.float32))
    return in_steps(quantize(fuse(graph), inputs, narrow=narrow), step)
