"""Compiles a candidate network in memory, to measure what training and search need to know.

This is the only module of the package that calls the compiler's pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from deepcompress.data.calibration import Calibration
from deepcompress.data.training_data import Samples
from deepcompress.execute.int8_reference import quantize_inputs, run
from deepcompress.ir.graph import Graph, IntegerGraph, WeightedNode
from deepcompress.options import Options
from deepcompress.passes.remove_dead_channels import remove_dead_channels
from deepcompress.pipeline.graph_to_plan import gains_by_narrow, graph_to_plan
from deepcompress.report.summary import flash_bytes, percent, top1, weights_bytes
from deepcompress.training.config import Outcome


@dataclass(frozen=True)
class CompiledLayer:
    """Estimated cycles, non-zero weights and output channels of a layer with weights."""

    cycles: int
    nonzeros: int
    rows: int


@dataclass(frozen=True)
class Compiled:
    """A compiled candidate.

    Attributes:
        integer: the int8 network.
        layers: those with weights, by name.
        cycles_without_weights: of all other layers.
        parameter_bytes, flash_bytes: as in `Outcome`.
    """

    integer: IntegerGraph
    layers: Mapping[str, CompiledLayer]
    cycles_without_weights: int
    parameter_bytes: int
    flash_bytes: int

    @property
    def cycles(self) -> int:
        """Of one inference, estimated."""
        return self.cycles_without_weights + sum(layer.cycles for layer in self.layers.values())

    @property
    def nonzeros(self) -> int:
        """Weights that are not zero."""
        return sum(layer.nonzeros for layer in self.layers.values())


def compile_candidate(graph: Graph, calibration: Calibration, options: Options) -> Compiled:
    """The graph compiled with the options; their sparsity is pruned in one shot before."""
    _, plan = graph_to_plan(graph, calibration, options)
    layers, without_weights = {}, 0
    for step in plan.steps:
        if isinstance(step.node, WeightedNode):
            weight = step.node.weight
            nonzeros = int(np.count_nonzero(weight))
            layers[step.node.name] = CompiledLayer(step.cycles, nonzeros, len(weight))
        else:
            without_weights += step.cycles
    return Compiled(plan.integer, layers, without_weights, weights_bytes(plan), flash_bytes(plan))


def assess(graph: Graph, data: Samples, calibration: Calibration, options: Options) -> Outcome:
    """The outcome of a graph whose weights are final: compiled, and run on validation samples."""
    compiled = compile_candidate(
        remove_dead_channels(graph), calibration, replace(options, sparsity=None)
    )
    inputs, labels = data.validation
    outputs = run(compiled.integer, quantize_inputs(inputs, compiled.integer))
    return Outcome(
        accuracy=percent(top1(outputs) == labels),
        parameter_bytes=compiled.parameter_bytes,
        flash_bytes=compiled.flash_bytes,
        cycles=compiled.cycles,
        nonzeros=compiled.nonzeros,
    )


def has_narrow_sums(options: Options) -> bool:
    """Whether kernels of the options' CPU are faster if a convolution's sums fit int16."""
    return gains_by_narrow(options)
