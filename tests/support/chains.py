"""From torch modules to graphs and through all stages, for tests of single operators."""

from __future__ import annotations

import c_runner
import numpy as np
from deepcompress.data.calibration import Calibration
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.execute.int8_reference import dequantize, quantize_float, run
from deepcompress.ir.graph import Graph
from deepcompress.passes.fuse import fuse
from deepcompress.passes.quantize import quantize
from model_graphs import assert_c_equals_reference, lowered
from torch import nn


def assert_c_equals(module: nn.Module, *shape: int, seed: int = 0, encoding: str = "auto") -> Graph:
    """The module, in C under sanitizers, equals the reference; its float Graph equals torch."""
    graph = lowered(module, *shape)
    # Below a step of 4, weights may have more values than a codebook.
    step = 4 if encoding == "codebook" else 1
    kernels = list(c_runner.KERNELS)[seed % len(c_runner.KERNELS)]
    assert_c_equals_reference(graph, seed, encoding, "balanced", step, kernels)
    return graph


def noise_of_int8(graph: Graph, inputs: np.ndarray) -> float:
    """Root mean square of the int8 error over the inputs, in steps of the output."""
    folded = fuse(graph)
    integer = quantize(folded, Calibration(inputs))
    before, after = (integer.quantization[name] for name in (*graph.inputs, *folded.outputs))
    found = dequantize(run(integer, quantize_float(inputs, before)), after)
    expected = forward_numpy(folded, inputs)
    return float(np.sqrt(np.square(found - expected).mean())) / after.scale
