"""Workloads of the speed benchmark: the paper's LeNet-5, and layers of MLPerf Tiny's networks."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from deepcompress.backend.emit_c import Provenance, emit_c
from deepcompress.compile import integer_inputs, open_model
from deepcompress.data.calibration import Calibration
from deepcompress.execute.int8_reference import run
from deepcompress.ir.graph import Clamp, Graph, IntegerGraph, Node, Tensor, WeightedNode
from deepcompress.ops import OPERATORS
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.linear import Linear
from deepcompress.options import Options, Target, parse
from deepcompress.passes.fuse import fuse
from deepcompress.pipeline.graph_to_plan import graph_to_plan

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "lenet5_mnist"
MODELS = EXAMPLE / "models"
NAME = "net"  # the name of every network in C
LENET = "LeNet-5"
SAME = (1, 1, 1, 1)

# Layers of ResNet-8, DS-CNN, MobileNetV1 0.25 and the auto-encoder, each with its input.
SHAPES = {
    "1x1 64->64 on 25x5": ((64, 25, 5), Conv2d(64, 64, (1, 1))),
    "3x3 16->16 on 32x32": ((16, 32, 32), Conv2d(16, 16, (3, 3), padding=SAME)),
    "3x3 64->64 on 8x8": ((64, 8, 8), Conv2d(64, 64, (3, 3), padding=SAME)),
    "3x3 3->16 on 32x32": ((3, 32, 32), Conv2d(3, 16, (3, 3), padding=SAME)),
    "depthwise 3x3 64 on 25x5": ((64, 25, 5), Conv2d(64, 64, (3, 3), padding=SAME, groups=64)),
    "depthwise 3x3 8 on 48x48": ((8, 48, 48), Conv2d(8, 8, (3, 3), padding=SAME, groups=8)),
    "fully connected 640->100": ((640,), Linear(640, 100)),
    "10x4 1->64 on 49x10 stride 2": (
        (1, 49, 10),
        Conv2d(1, 64, (10, 4), stride=(2, 2), padding=(4, 1, 5, 1)),  # TensorFlow's SAME
    ),
}


@dataclass(frozen=True)
class Workload:
    """A fused float network, and calibration inputs; the first is the input of the inference."""

    name: str
    graph: Graph
    calibration: Calibration


@dataclass(frozen=True)
class Built:
    """A compiled workload.

    Attributes:
        pruned: the float network that was quantized.
        sample: float32 [1, *input shape], the input of the inference.
        inputs, outputs: the same in int8, and the reference's outputs; without the batch axis.
        encoding: of the weights; of each layer if they differ.
        macs: multiplications of the dense network.
    """

    pruned: Graph
    integer: IntegerGraph
    texts: dict[str, str]
    sample: np.ndarray
    inputs: np.ndarray
    outputs: np.ndarray
    encoding: str
    macs: int


def layer(shape: str) -> Workload:
    """One layer of `SHAPES` with ReLU; weights, bias and inputs are normally distributed."""
    size, attributes = SHAPES[shape]
    random = np.random.default_rng(0)
    if isinstance(attributes, Linear):
        op, weights = "linear", (attributes.out_features, attributes.in_features)
    else:
        op, channels = "conv2d", attributes.in_channels // attributes.groups
        weights = (attributes.out_channels, channels, *attributes.kernel)
    arrays = {
        "weight": random.standard_normal(weights).astype(np.float32),
        "bias": random.standard_normal(weights[0]).astype(np.float32),
    }
    output = OPERATORS[op].output_shape(attributes, [size])
    node = Node("layer", op, ("x",), "y", attributes, arrays, Clamp(minimum=0.0))
    tensors = {"x": Tensor("x", size), "y": Tensor("y", output)}
    graph = Graph(NAME, tensors, (node,), ("x",), ("y",))
    inputs = random.standard_normal((4, *size)).astype(np.float32)
    return Workload(shape, fuse(graph), Calibration(inputs))


@functools.cache
def lenet5(model: str = "lenet5.pt") -> Workload:
    """One of the example's LeNet-5 models, with a digit of its calibration data."""
    sys.path.insert(0, str(EXAMPLE))
    from evaluate import compiler_options

    wanted = ("calibration", "input_mean", "input_std")
    texts = {name: text for name, text in compiler_options().items() if name in wanted}
    options = parse(texts, where="benchmarks/workloads.py")
    opened = open_model(MODELS / model, name=NAME, options=options)
    return Workload(LENET, opened.graph, opened.calibration)


def compiled(
    workload: Workload, *, sparsity: float | None, cpu: str, encoding: str = "auto"
) -> Built:
    """Compiles a workload with `optimize = speed`; each layer is pruned by magnitude."""
    options = Options(
        sparsity=sparsity, encoding=encoding, optimize="speed", target=Target(cpu=cpu)
    )
    pruned, planned = graph_to_plan(workload.graph, workload.calibration, options)
    integer = planned.integer
    sample = first(workload.calibration)
    inputs = integer_inputs(integer, sample)
    encodings = [weight.encoding for weight in planned.selected.weights.values()]
    return Built(
        pruned,
        integer,
        emit_c(planned, provenance=Provenance(workload.name, "-", ())),
        sample.inputs,
        inputs[0],
        run(integer, inputs)[0],
        ", ".join(encodings if len(set(encodings)) > 1 else encodings[:1]),
        dense_macs(integer),
    )


def first(calibration: Calibration) -> Calibration:
    """Only its first sample."""
    images = None if calibration.images is None else calibration.images[:1]
    return replace(calibration, inputs=calibration.inputs[:1], images=images, labels=None)


def dense_macs(integer: IntegerGraph) -> int:
    """Multiplications of one inference, including those with zeros and with padding."""
    return sum(
        OPERATORS[node.op].macs(
            node.attributes, node.weight.size, integer.tensors[node.output].shape
        )
        for node in integer.nodes
        if isinstance(node, WeightedNode)
    )
