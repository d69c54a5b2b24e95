"""Every operator with all its options: bit-exact in C on every core, and close to float."""

from __future__ import annotations

from dataclasses import replace

import c_runner
import numpy as np
import pytest
import strategies
from deepcompress.data.calibration import Calibration
from deepcompress.encodings import ENCODINGS
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.execute.int8_reference import dequantize, quantize_inputs, run
from deepcompress.ir.batch_layout import in_chunks, split
from deepcompress.ir.graph import Graph
from deepcompress.ops.recurrent import RECURRENT
from deepcompress.passes.fuse import fuse
from deepcompress.passes.quantize import quantize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_graphs import assert_c_equals_reference, assert_equal_on, inputs_for

# Drawing a layer of each operator takes many random choices.
PATIENT = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


@settings(max_examples=3, suppress_health_check=PATIENT)
@given(
    graph=strategies.every_operator(),
    seed=st.integers(0, 1000),
    encoding=st.sampled_from(["auto", *ENCODINGS]),
    kernels=st.sampled_from(list(c_runner.KERNELS)),
)
def test_every_operator_is_exact_under_sanitizers(
    graph: Graph, seed: int, encoding: str, kernels: str
) -> None:
    step = 4 if encoding == "codebook" else 1
    assert_c_equals_reference(graph, seed, encoding, "balanced", step, kernels)


@pytest.mark.parametrize("cpu", ["cortex-m0", "cortex-m4", "cortex-m55"])
@settings(max_examples=2, suppress_health_check=PATIENT)
@given(
    graph=strategies.every_operator(),
    seed=st.integers(0, 1000),
    gcc=st.sampled_from(["-O2", "-Os"]),
)
def test_every_operator_is_exact_on_every_core(
    cpu: str, graph: Graph, seed: int, gcc: str, arm_tools: None
) -> None:
    assert_equal_on(cpu, graph, seed, "auto", "balanced", gcc)


def tamed(graph: Graph) -> Graph:
    """The graph with recurrent layers that do not amplify a small error from step to step."""
    nodes = tuple(
        replace(node, parameters={k: np.clip(v, -0.3, 0.3) for k, v in node.parameters.items()})
        if node.op in RECURRENT
        else node
        for node in graph.nodes
    )
    return replace(graph, nodes=nodes)


@settings(max_examples=20, derandomize=True, suppress_health_check=PATIENT)
@given(graph=strategies.every_operator(), seed=st.integers(0, 1000))
def test_every_operator_is_close_to_float(graph: Graph, seed: int) -> None:
    """Finds errors that C and the reference have in common, by a comparison with torch.

    In addition to the error of rounded weights, a layer's error is one step of its output, or of
    its input if the input has few steps.
    """
    inputs = inputs_for(graph, seed)
    folded = fuse(in_chunks(tamed(graph), len(inputs)))
    integer = quantize(folded, Calibration(inputs))
    given = quantize_inputs(inputs, integer)
    found = split(integer, integer.outputs, run(integer, given))
    before = integer.quantization["x"]
    expected = split(folded, folded.outputs, forward_numpy(folded, dequantize(given, before)))
    for node in graph.nodes:
        if node.output not in found:
            continue
        by, wanted = integer.quantization[node.output], expected[node.output]
        noise = np.square(dequantize(found[node.output], by) - wanted).mean()
        steps = before.scale**2 + by.scale**2
        assert noise <= 0.02 * np.square(wanted).mean() + steps, node
