"""Helpers of tests: graphs of modules, all stages up to a plan, the C against the reference."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import arm_runner
import c_runner
import numpy as np
import torch
from deepcompress.backend.c_names import input_names, output_names
from deepcompress.backend.emit_c import Provenance, emit_c
from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.plan import Plan
from deepcompress.backend.select_kernels import select_kernels
from deepcompress.data.calibration import Calibration
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.execute.int8_reference import (
    quantize_inputs,
    run,
)
from deepcompress.frontend.fx_importer import import_graph
from deepcompress.ir.arrays import frozen
from deepcompress.ir.batch_layout import in_chunks, shape_of
from deepcompress.ir.graph import (
    Graph,
    IntegerGraph,
    WeightedNode,
)
from deepcompress.ir.spec import Stage, check
from deepcompress.passes.fuse import fuse
from deepcompress.passes.quantize import quantize
from deepcompress.pipeline import verify
from deepcompress.pipeline.specification import SPECIFICATION
from deepcompress.profiler.engine import Request
from deepcompress.profiler.profile import profile
from torch import nn


def lowered(module: nn.Module, *shape: int, decompose: bool = False) -> Graph:
    """The graph of a module, after a check that it computes the same function."""
    inputs = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    program = torch.export.export(module.eval(), (inputs,))
    if decompose:
        program = program.run_decompositions()
    graph = import_graph(program, name="net")
    verify.shapes_follow(graph)
    with torch.no_grad():
        expected = module(inputs).numpy()
    np.testing.assert_allclose(forward_numpy(graph, inputs.numpy()), expected, atol=1e-5)
    return graph


def trained(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with statistics as if it had seen data; a factor may be negative."""
    random = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.normal_(0, 1, generator=random)
            layer.running_var.uniform_(0.25, 4, generator=random)
            if layer.affine:
                layer.weight.data.normal_(0, 1, generator=random)
                layer.bias.data.normal_(0, 1, generator=random)
    return module.eval()


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


# Frequencies for which a Huffman code without a limit of its length is longest.
FIBONACCI = [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 2584, 4181]


FIBONACCI += [6765, 10946]


NOWHERE = Provenance(source="random", sha256="0", options=())


def through_the_stages(
    graph: Graph,
    inputs: np.ndarray,
    encoding: str,
    optimize: str,
    step: int,
    cpu: str = "cortex-m4",
) -> Plan:
    """All stages from fusion to plan, with every check; int8 weights rounded down to steps."""
    check(graph, Stage.FLOAT, SPECIFICATION)
    graph = in_chunks(graph, len(inputs))
    fused = fuse(graph)
    check(fused, Stage.FLOAT, SPECIFICATION)
    verify.same_function(graph, fused, inputs)
    integer = quantize(fused, Calibration(inputs), narrow=optimize == "speed")
    integer = in_steps(integer, step)
    check(integer, Stage.INTEGER, SPECIFICATION)
    selected = select_kernels(integer, encoding=encoding, optimize=optimize, cpu=cpu)
    check(selected, Stage.SELECTED, SPECIFICATION)
    planned = plan_memory(selected)
    check(planned, Stage.PLANNED, SPECIFICATION)
    return planned


def in_steps(graph: IntegerGraph, step: int) -> IntegerGraph:
    """Integer weights on multiples of a step, as training to a codebook leaves them."""
    nodes = (
        replace(node, weight=frozen(node.weight // step * step))
        if isinstance(node, WeightedNode)
        else node
        for node in graph.nodes
    )
    return replace(graph, nodes=tuple(nodes))


def inputs_for(graph: Graph, seed: int) -> np.ndarray:
    """Five samples, or five chunks of a stream if the graph is stateful; see `batches.py`."""
    shape = shape_of(graph, graph.inputs)
    return np.random.default_rng(seed).standard_normal((5, *shape)).astype(np.float32)


def assert_c_equals_reference(
    graph: Graph,
    seed: int,
    encoding: str,
    optimize: str,
    step: int = 1,
    kernels: str = "portable",
) -> None:
    inputs = inputs_for(graph, seed)
    planned = through_the_stages(graph, inputs, encoding, optimize, step)
    integer = planned.integer
    quantized = quantize_inputs(inputs, integer)
    # Inputs may be outside of the calibrated range: any int8 value is allowed.
    quantized[-1] = np.random.default_rng(seed).integers(-128, 128, quantized[-1].shape)
    expected = run(integer, quantized).reshape(len(quantized), -1)
    stateful = planned.is_stateful
    golden = quantized[:1]
    texts = emit_c(planned, provenance=NOWHERE, golden_inputs=golden, test_layers=True)
    main = c_runner.main_of(input_names(integer.inputs), output_names(integer.outputs))
    before = "net_reset(arena);" if stateful else ""
    with tempfile.TemporaryDirectory() as folder:
        program = c_runner.build(
            texts, name="net", folder=Path(folder), kernels=kernels, main=main, before=before
        )
        found = c_runner.run(program, quantized, expected.shape[1])
    np.testing.assert_array_equal(found, expected)


def assert_equal_on(
    cpu: str,
    graph: Graph,
    seed: int,
    encoding: str,
    optimize: str,
    gcc: str,
    planned_for: str = "cortex-m4",
) -> None:
    """The firmware for a CPU, which its simulator runs, gives the scores of the reference.

    Args:
        planned_for: the target that the compiler was given.
    """
    planned = through_the_stages(graph, inputs_for(graph, seed), encoding, optimize, 1, planned_for)
    integer = planned.integer
    shape = shape_of(integer, integer.inputs)
    inputs = np.random.default_rng(seed).integers(-128, 128, (1, *shape)).astype(np.int8)
    with tempfile.TemporaryDirectory() as folder:
        found = simulated(planned, inputs, Path(folder), cpu, gcc.split())
    np.testing.assert_array_equal(found, run(in_chunks(integer, 1), inputs).ravel())


def simulated(
    planned: Plan, inputs: np.ndarray, folder: Path, cpu: str, flags: Iterable[str]
) -> np.ndarray:
    """Output of the firmware on a simulated core, int8."""
    texts, console = emit_c(planned, provenance=NOWHERE), io.BytesIO()
    stateful = planned.is_stateful
    elf = arm_runner.build(
        texts,
        name="net",
        folder=folder,
        cpu=cpu,
        flags=flags,
        inputs=inputs,
        outputs=output_names(planned.integer.outputs),
        before="net_reset(&arena);" if stateful else "",
    )
    profile(elf, Request(cpu=cpu, console=console))
    return np.frombuffer(console.getvalue(), np.int8)
