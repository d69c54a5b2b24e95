"""Random networks on simulated CPUs: the instructions of each core give the reference's results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import arm_runner
import c_runner
import numpy as np
import pytest
import strategies
from deepcompress.backend.atomic_write import atomic_write
from deepcompress.backend.emit_c import emit_c
from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.plan import SelectedGraph
from deepcompress.backend.select_kernels import select_kernels
from deepcompress.data.calibration import Calibration
from deepcompress.execute.int8_reference import run
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ops import OPERATORS
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.max_pool2d import MaxPool2d
from deepcompress.passes.quantize import quantize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_graphs import NOWHERE, assert_equal_on, inputs_for, simulated

CPUS = ("cortex-m0", "cortex-m4", "cortex-m33", "cortex-m55")


# Few weights per channel, so that their sums of products fit int16 (tiles of 16).
NARROW = {
    "pooled": ((1, 20, 30), Conv2d(1, 3, (5, 5), pool=MaxPool2d((2, 2), (2, 2)))),
    "padded": ((2, 9, 13), Conv2d(2, 4, (3, 3), padding=(1, 1, 1, 1))),
    "pointwise": ((5, 7, 9), Conv2d(5, 3, (1, 1))),
    "depthwise": ((4, 10, 21), Conv2d(4, 4, (3, 3), padding=(1, 1, 1, 1), groups=4)),
    "grouped": ((4, 3, 8), Conv2d(4, 4, (1, 1), padding=(0, 2, 0, 0), groups=2)),
}


@pytest.mark.parametrize("shape", NARROW)
def test_narrow_sums_are_exact_in_their_instructions(
    shape: str, arm_tools: None, tmp_path: Path
) -> None:
    selected = narrow_convolution(shape)
    integer = selected.integer
    assert selected.selections["conv"].kernel.name == "conv2d_taps_dsp16"
    (x,) = integer.inputs
    inputs = np.random.default_rng(0).integers(-128, 128, (1, *integer.tensors[x].shape))
    inputs = inputs.astype(np.int8)
    found = simulated(plan_memory(selected), inputs, tmp_path, "cortex-m4", ("-O2",))
    np.testing.assert_array_equal(found, run(integer, inputs).ravel())


@pytest.mark.parametrize(
    "flags",
    [
        "-Os",
        "-Og",
        "-O0",
        "-Os -fno-omit-frame-pointer",
        "-O2 -fno-omit-frame-pointer -fPIC -msingle-pic-base -ffixed-r9",
    ],
)
@pytest.mark.parametrize("encoding", ["delta", "panel"])
def test_the_compiler_finds_registers_for_every_step(
    encoding: str, flags: str, arm_tools: None, tmp_path: Path
) -> None:
    for shape in ("pooled", "grouped"):
        # With optimize="size", the flags also apply to the layer's function.
        selected = replace(narrow_convolution(shape, encoding), optimize="size")
        atomic_write(emit_c(plan_memory(selected), provenance=NOWHERE), tmp_path)
        including = (f"-I{c_runner.INCLUDE}", *flags.split())
        arm_runner.archive([tmp_path / "net.c"], folder=tmp_path, cpu="cortex-m4", flags=including)


def narrow_convolution(shape: str, encoding: str = "delta") -> SelectedGraph:
    size, conv = NARROW[shape]
    random = np.random.default_rng(0)
    weight = random.standard_normal(
        (conv.out_channels, conv.in_channels // conv.groups, *conv.kernel)
    )
    bias = random.standard_normal(len(weight))
    parameters = {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
    output = OPERATORS["conv2d"].output_shape(conv, [size])
    node = Node("conv", "conv2d", ("x",), "y", conv, parameters)
    tensors = {"x": Tensor("x", size), "y": Tensor("y", output)}
    graph = Graph("net", tensors, (node,), ("x",), ("y",))
    integer = quantize(graph, Calibration(inputs_for(graph, 0)), narrow=True)
    return select_kernels(integer, encoding=encoding, optimize="speed", cpu="cortex-m4")


@pytest.mark.parametrize("cpu", CPUS)
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    graph=strategies.graphs(),
    seed=st.integers(0, 1000),
    encoding=st.sampled_from(["auto", "dense"]),
    optimize=st.sampled_from(["speed", "balanced"]),
    gcc=st.sampled_from(["-O2", "-Os", "-O1 -fno-omit-frame-pointer", "-Og", "-O0"]),
    other_target=st.booleans(),
)
def test_every_core_computes_what_the_reference_does(
    cpu: str,
    graph: Graph,
    seed: int,
    encoding: str,
    optimize: str,
    gcc: str,
    other_target: bool,
    arm_tools: None,
) -> None:
    planned_for = "cortex-m4" if other_target else cpu
    assert_equal_on(cpu, graph, seed, encoding, optimize, gcc, planned_for)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    graph=strategies.products(),
    seed=st.integers(0, 1000),
    encoding=st.sampled_from(["auto", "dense"]),
    optimize=st.sampled_from(["speed", "size"]),
    gcc=st.sampled_from(["-O2", "-Os", "-O2 -mcpu=cortex-m55+nomve", "-O2 -mcpu=cortex-m55+nodsp"]),
)
def test_vector_kernels_compute_the_remainder_at_every_edge(
    graph: Graph, seed: int, encoding: str, optimize: str, gcc: str, arm_tools: None
) -> None:
    assert_equal_on("cortex-m55", graph, seed, encoding, optimize, gcc, "cortex-m55")
