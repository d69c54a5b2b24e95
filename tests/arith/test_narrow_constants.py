"""Biases and multipliers in the smallest dtype: lossless, and read correctly by the C."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import c_runner
import numpy as np
import pytest
import strategies
from deepcompress import target
from deepcompress.arith.narrow_constants import in_smallest_dtype, may_unfold, unfolded_bias, widen
from deepcompress.backend.emit_c import emit_c
from deepcompress.backend.kernels.weighted import WeightedKernel
from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.plan import SelectedGraph, Selection
from deepcompress.backend.select_kernels import kernels_for, select_kernels
from deepcompress.data.calibration import Calibration
from deepcompress.execute.int8_reference import quantize_float, run
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ops.conv2d import Conv2d
from deepcompress.ops.linear import Linear
from deepcompress.passes.fuse import fuse
from deepcompress.passes.quantize import quantize
from deepcompress.pipeline import verify
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_graphs import NOWHERE, inputs_for

INT32 = st.integers(-(2**31), 2**31 - 1)


@given(st.lists(INT32, min_size=1), st.integers(0, 31))
def test_narrow_constants_have_the_same_values(values: list[int], shift: int) -> None:
    constants = np.array([value >> shift << shift for value in values], np.int32)
    np.testing.assert_array_equal(widen(in_smallest_dtype(constants), len(constants)), constants)


@pytest.mark.parametrize(
    ("values", "stored", "dtype", "shift"),
    [
        ([0, 0, 0], [0], np.int8, 0),
        ([-128 << 9, 127 << 9], [-128, 127], np.int8, 9),
        ([128, 1], [128, 1], np.int16, 0),
        ([32768, -1], [32768, -1], np.int32, 0),
        ([3 << 28, 3 << 28], [3], np.int8, 28),
    ],
)
def test_constants_are_reduced_by_common_zeros_then_width_then_repetition(
    values: list[int], stored: list[int], dtype: type, shift: int
) -> None:
    found = in_smallest_dtype(np.array(values, np.int64))
    assert (found.stored.tolist(), found.stored.dtype, found.shift) == (stored, dtype, shift)


def unfolded(selected: SelectedGraph) -> SelectedGraph:
    """The graph with the zero point subtracted in the kernel of every layer that allows it."""

    def of(selection: Selection) -> Selection:
        layer, weight, cpu = selection.layer, selection.weight, target.find(selected.cpu)
        zero_point = layer.quantization[0].zero_point
        if weight is None or not may_unfold(layer.node, zero_point):
            return selection
        kernels = [
            kernel
            for kernel in kernels_for(layer, weight.encoding, cpu)
            if isinstance(kernel, WeightedKernel)
            and kernel.accepts_bias(weight.encoding, cpu, folded=False)
        ]
        bias = in_smallest_dtype(unfolded_bias(layer.node, zero_point))
        weight = replace(weight, bias=bias, zero_point=zero_point)
        return replace(selection, kernel=kernels[0], weight=weight) if kernels else selection

    selections = {name: of(selection) for name, selection in selected.selections.items()}
    return replace(selected, selections=selections)


def assert_both_forms_are_the_reference(graph: Graph, seed: int, encoding: str) -> None:
    inputs = inputs_for(graph, seed)
    integer = quantize(fuse(graph), Calibration(inputs))
    quantized = quantize_float(inputs, integer.quantization["x"])
    quantized[-1] = np.random.default_rng(seed).integers(-128, 128, quantized[-1].shape)
    expected = run(integer, quantized).reshape(len(quantized), -1)
    folded = select_kernels(integer, encoding=encoding, optimize="speed", cpu="cortex-m4")
    for form in (folded, unfolded(folded)):
        verify.encodings_are_lossless(form)
        texts = emit_c(plan_memory(form), provenance=NOWHERE)
        with tempfile.TemporaryDirectory() as folder:
            program = c_runner.build(texts, name="net", folder=Path(folder))
            found = c_runner.run(program, quantized, expected.shape[1])
        np.testing.assert_array_equal(found, expected)


SPARSE = ("delta", "delta4", "bitmap", "huffman")


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.graphs(), st.integers(0, 1000), st.sampled_from(SPARSE))
def test_the_zero_point_may_be_in_the_bias_or_subtracted_in_the_kernel(
    graph: Graph, seed: int, encoding: str
) -> None:
    assert_both_forms_are_the_reference(graph, seed, encoding)


def test_padding_is_the_zero_point_in_both_forms() -> None:
    random = np.random.default_rng(0)
    attributes = Conv2d(2, 3, (3, 3), padding=(1, 2, 0, 1))
    weight = {
        "weight": random.standard_normal((3, 2, 3, 3)).astype(np.float32),
        "bias": random.standard_normal(3).astype(np.float32),
    }
    tensors = {"x": Tensor("x", (2, 6, 6)), "y": Tensor("y", (3, 5, 7))}
    node = Node("conv", "conv2d", ("x",), "y", attributes, weight)
    assert_both_forms_are_the_reference(Graph("net", tensors, (node,), ("x",), ("y",)), 0, "delta")


def test_size_subtracts_the_zero_point_in_the_kernel_and_speed_folds_it_into_the_bias() -> None:
    weight = np.random.default_rng(0).standard_normal((64, 40)).astype(np.float32)
    tensors = {"x": Tensor("x", (40,)), "y": Tensor("y", (64,))}
    parameters = {"weight": weight, "bias": np.full(64, 0.1, np.float32)}
    node = Node("fc", "linear", ("x",), "y", Linear(40, 64), parameters)
    graph = Graph("net", tensors, (node,), ("x",), ("y",))
    integer = quantize(graph, Calibration(np.abs(inputs_for(graph, 0))))

    def stored(optimize: str) -> tuple[int, int]:
        weight = select_kernels(
            integer, encoding="delta", optimize=optimize, cpu="cortex-m4"
        ).weights["fc"]
        return weight.zero_point, weight.bias.stored.nbytes

    assert stored("size") == (-128, 64)
    assert stored("speed") == (0, 128)
