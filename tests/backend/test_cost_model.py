"""The cost model against the profiler: estimates are close to the cost of the compiled code."""

from __future__ import annotations

from pathlib import Path

import arm_runner
import numpy as np
import pytest
from deepcompress.backend.emit_c import emit_c
from deepcompress.backend.kernels.weighted import shared_code_bytes
from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.plan import Plan
from deepcompress.backend.select_kernels import select_kernels
from deepcompress.data.calibration import Calibration
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ops import OPERATORS
from deepcompress.ops.adaptive_pool2d import AdaptivePool2d
from deepcompress.ops.add import Add
from deepcompress.ops.avg_pool2d import AvgPool2d
from deepcompress.ops.clamp import Limits
from deepcompress.ops.concat import Concat
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.conv_transpose2d import ConvTranspose2d
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
from deepcompress.profiler.engine import Request
from deepcompress.profiler.profile import profile
from model_graphs import NOWHERE, in_steps

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
# Operators with two inputs; here both inputs are the same tensor.
PAIRS = ("add", "mul", "concat")


def planned(layer: str, encoding: str, sparsity: float, step: int, cpu: str = "cortex-m4") -> Plan:
    """A network of one layer, with random weights on a grid, a share of which is zero."""
    shape, op, attributes = LAYERS[layer]
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
    integer = in_steps(quantize(fuse(graph), inputs), step)
    return plan_memory(select_kernels(integer, encoding=encoding, cpu=cpu))


WEIGHTED_OPS = ("conv2d", "conv_transpose2d", "gru", "linear", "linear_rows", "lstm")
WEIGHTED = [name for name, (_, op, _) in LAYERS.items() if op in WEIGHTED_OPS]
HOW = (
    ("dense", 0.0, 1),
    ("delta", 0.8, 1),
    ("delta4", 0.8, 1),
    ("bitmap", 0.8, 1),
    ("block", 0.8, 1),
    ("codebook", 0.8, 4),
    ("huffman", 0.8, 1),
    ("huffman", 0.9, 16),
    ("huffman", 0.2, 16),
)
CASES = [(layer, *how) for layer in WEIGHTED for how in HOW]
CASES += [(layer, "auto", 0.0, 1) for layer in LAYERS if layer not in WEIGHTED]


@pytest.mark.parametrize(("layer", "encoding", "sparsity", "step"), CASES)
def test_estimates_are_within_a_third_of_the_profile(
    layer: str, encoding: str, sparsity: float, step: int, arm_tools: None, tmp_path: Path
) -> None:
    made = planned(layer, encoding, sparsity, step)
    elf = arm_runner.build(emit_c(made, provenance=NOWHERE), name="net", folder=tmp_path)
    measured = profile(elf, Request(cpu="cortex-m4"))
    cost = next(c for name, c in measured.costs.items() if name.split(".")[0] == "net_layer")
    estimated = made.steps[0]
    assert estimated.cycles == pytest.approx(cost.cycles, rel=1 / 3)
    assert estimated.code_bytes == pytest.approx(cost.code_bytes, rel=1 / 3)


@pytest.mark.parametrize("encoding", ["dense", "delta"])
@pytest.mark.parametrize("layer", [name for name, (_, op, _) in LAYERS.items() if op == "conv2d"])
def test_vector_convolutions_take_the_estimated_instructions_within_a_third(
    layer: str, encoding: str, arm_tools: None, tmp_path: Path
) -> None:
    made = planned(layer, encoding, 0.0, 1, cpu="cortex-m55")
    elf = arm_runner.build(
        emit_c(made, provenance=NOWHERE), name="net", folder=tmp_path, cpu="cortex-m55"
    )
    measured = profile(elf, Request(cpu="cortex-m55")).costs["net_layer"]
    assert made.steps[0].cycles == pytest.approx(measured.instructions, rel=1 / 3)
    assert made.steps[0].code_bytes == pytest.approx(measured.code_bytes, rel=1 / 3)


def test_the_shared_decoder_is_estimated_within_a_third(arm_tools: None, tmp_path: Path) -> None:
    made = planned("linear", "huffman", 0.9, 16)
    elf = arm_runner.build(emit_c(made, provenance=NOWHERE), name="net", folder=tmp_path)
    measured = profile(elf, Request(cpu="cortex-m4")).costs["dc_huffman_read"]
    assert shared_code_bytes("huffman") == pytest.approx(measured.code_bytes, rel=1 / 3)
