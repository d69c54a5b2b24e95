"""The text of one small network at every stage, line by line."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.select_kernels import select_kernels
from deepcompress.data.calibration import Calibration
from deepcompress.ir.arrays import frozen
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ir.text import text
from deepcompress.ops.clamp import Limits
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.flatten import Flatten
from deepcompress.ops.linear import Linear
from deepcompress.passes.fuse import fuse
from deepcompress.passes.quantize import quantize
from deepcompress.pipeline import text_of_plan  # noqa: F401, registers the texts of plans


def network() -> Graph:
    """A convolution, ReLU, flatten, and a linear layer; every number is exact in binary."""

    def values(*shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        return frozen(((np.arange(count) % 7 - 3) / 4).astype(np.float32).reshape(shape))

    shapes = {"x": (1, 4, 4), "a": (2, 2, 2), "b": (2, 2, 2), "c": (8,), "y": (3,)}
    nodes = (
        Node(
            "conv",
            "conv2d",
            ("x",),
            "a",
            Conv2d(1, 2, (3, 3)),
            {"weight": values(2, 1, 3, 3), "bias": values(2)},
        ),
        Node("relu", "clamp", ("a",), "b", Limits(0.0, np.inf), {}),
        Node("flatten", "flatten", ("b",), "c", Flatten((8,)), {}),
        Node(
            "fc",
            "linear",
            ("c",),
            "y",
            Linear(8, 3),
            {"weight": values(3, 8), "bias": values(3)},
        ),
    )
    tensors = {name: Tensor(name, shape) for name, shape in shapes.items()}
    return Graph("net", tensors, nodes, ("x",), ("y",), ranges={"y": (-4.0, 4.0)})


FLOAT = (
    "float graph net\n"
    "%x = input : [1,4,4]\n"
    "%a = conv2d(%x) in_channels=1 out_channels=2 kernel=(3, 3) weight=float32[2,1,3,3]:502a6"
    "aea bias=float32[2]:a333e4dd : [2,2,2]  # conv\n"
    "%b = clamp(%a) minimum=0.0 maximum=inf : [2,2,2]  # relu\n"
    "%c = flatten(%b) shape=(8) : [8]  # flatten\n"
    "%y = linear(%c) in_features=8 out_features=3 weight=float32[3,8]:25a9d016 bias=float32[3"
    "]:f77f5786 : [3] range=-4.0..4.0  # fc\n"
    "return %y\n"
)
FUSED = (
    "float graph net\n"
    "%x = input : [1,4,4]\n"
    "%b = conv2d(%x) in_channels=1 out_channels=2 kernel=(3, 3) weight=float32[2,1,3,3]:502a6"
    "aea bias=float32[2]:a333e4dd clamp=0.0..inf : [2,2,2]  # conv\n"
    "%y = linear(%b) in_features=8 out_features=3 weight=float32[3,8]:25a9d016 bias=float32[3"
    "]:f77f5786 : [3] range=-4.0..4.0  # fc\n"
    "return %y\n"
)
INTEGER = (
    "integer graph net\n"
    "%x = input : int8[1,4,4] scale=0.007598039228469133 zp=4\n"
    "%b = conv2d(%x) in_channels=1 out_channels=2 kernel=(3, 3) weight=int8[2,9]:1029a634 bia"
    "s=int32[2]:d8d4d506 multiplier=int32[2]:ea1fcd93 shift=32 : int8[2,2,2] scale=0.00134803"
    "92517521977 zp=-128  # conv\n"
    "%y = linear(%b) in_features=8 out_features=3 weight=int8[3,8]:7fa51ef4 bias=int32[3]:479"
    "5d568 multiplier=int32[3]:4338b033 shift=32 : int8[3] scale=0.0313725508749485 zp=0  # f"
    "c\n"
    "return %y\n"
)
SELECTED = (
    "cpu cortex-m4, optimize balanced\n"
    "selected graph net\n"
    "%x = input : int8[1,4,4] scale=0.007598039228469133 zp=4\n"
    "%b = conv2d(%x) in_channels=1 out_channels=2 kernel=(3, 3) weight=int8[2,9]:1029a634 bia"
    "s=int32[2]:d8d4d506 multiplier=int32[2]:ea1fcd93 shift=32 kernel=conv2d_taps_c encoding="
    "dense weight_bytes=18 constant_bytes=6 zero_point=0 macs=60 cycles=1028 code_bytes=400 :"
    " int8[2,2,2] scale=0.0013480392517521977 zp=-128  # conv\n"
    "%y = linear(%b) in_features=8 out_features=3 weight=int8[3,8]:7fa51ef4 bias=int32[3]:479"
    "5d568 multiplier=int32[3]:4338b033 shift=32 kernel=linear_dense_c encoding=dense weight_"
    "bytes=24 constant_bytes=8 zero_point=0 macs=24 cycles=258 code_bytes=112 : int8[3] scale"
    "=0.0313725508749485 zp=0  # fc\n"
    "return %y\n"
)
PLANNED = (
    "cpu cortex-m4, arena 60 B, stack 200 B\n"
    "planned graph net\n"
    "%x = input : int8[1,4,4] scale=0.007598039228469133 zp=4 @36\n"
    "%b = conv2d(%x) in_channels=1 out_channels=2 kernel=(3, 3) weight=int8[2,9]:1029a634 bia"
    "s=int32[2]:d8d4d506 multiplier=int32[2]:ea1fcd93 shift=32 kernel=conv2d_taps_c encoding="
    "dense weight_bytes=18 constant_bytes=6 zero_point=0 macs=60 cycles=1028 code_bytes=400 s"
    "cratch=0+36 : int8[2,2,2] scale=0.0013480392517521977 zp=-128 @52  # conv\n"
    "%y = linear(%b) in_features=8 out_features=3 weight=int8[3,8]:7fa51ef4 bias=int32[3]:479"
    "5d568 multiplier=int32[3]:4338b033 shift=32 kernel=linear_dense_c encoding=dense weight_"
    "bytes=24 constant_bytes=8 zero_point=0 macs=24 cycles=258 code_bytes=112 : int8[3] scale"
    "=0.0313725508749485 zp=0 @0  # fc\n"
    "return %y\n"
)


def test_every_stage_has_one_line_per_node() -> None:
    inputs = (np.arange(32, dtype=np.float32).reshape(2, 1, 4, 4) - 16) / 16
    graph = network()
    assert text(graph) == FLOAT
    fused = fuse(graph)
    assert text(fused) == FUSED
    integer = quantize(fused, Calibration(inputs))
    assert text(integer) == INTEGER
    selected = select_kernels(integer, encoding="dense", cpu="cortex-m4")
    assert masked(text(selected)) == masked(SELECTED)
    assert masked(text(plan_memory(selected))) == masked(PLANNED)


def masked(lines: str) -> str:
    """The text without estimates and addresses, which other tests are about."""
    return re.sub(r"(cycles=|code_bytes=|scratch=\d+\+|scratch=|@|arena )\d+", r"\1N", lines)


def test_a_changed_weight_changes_the_text() -> None:
    graph = network()
    conv = graph.nodes[0]
    weight = conv.parameters["weight"].copy()
    weight[0, 0, 0, 0] += 1
    changed = replace(conv, parameters={**conv.parameters, "weight": frozen(weight)})
    other = replace(graph, nodes=(changed, *graph.nodes[1:]))
    differing = [
        (one, two)
        for one, two in zip(text(graph).splitlines(), text(other).splitlines(), strict=True)
        if one != two
    ]
    assert len(differing) == 1 and differing[0][0].startswith("%a = conv2d(%x)")


def test_an_object_that_is_not_part_of_a_graph_has_no_text() -> None:
    with pytest.raises(TypeError, match="int has no text form"):
        text(5)
