"""Functions of one value: every row of the table, in C and against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from chains import assert_c_equals
from deepcompress.data.calibration import Calibration
from deepcompress.execute.int8_reference import dequantize, quantize_float, run, run_all
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ops.lookup import FUNCTIONS, Lookup, LookupOperator
from deepcompress.passes.quantize import quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from model_graphs import inputs_for, lowered
from torch import nn

ARGUMENTS = {
    "celu": {"alpha": 0.5},
    "elu": {"alpha": 1.5},
    "gelu": {"approximate": "tanh"},
    "hardshrink": {"lambd": 0.3},
    "leaky_relu": {"negative_slope": 0.1},
    "pow": {"exponent": 3},
    "softplus": {"beta": 2.0, "threshold": 5.0},
    "threshold": {"threshold": 0.1, "value": -1.0},
}
# Functions that are not defined for all inputs.
OF_POSITIVES = ("log", "log10", "log1p", "log2", "reciprocal", "rsqrt", "sqrt")


class Apply(nn.Module):
    """An aten function as a layer; its inputs are positive if the function requires it."""

    def __init__(self, function: str, **arguments: float | str) -> None:
        super().__init__()
        self.function, self.arguments = function, arguments

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.function in OF_POSITIVES:
            x = torch.nn.functional.softplus(x)
        return getattr(torch.ops.aten, self.function)(x, **self.arguments)


@settings(max_examples=40, deadline=None)
@given(
    functions=st.lists(st.sampled_from(tuple(FUNCTIONS)), min_size=1, max_size=4),
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    relu=st.booleans(),
    seed=st.integers(0, 99),
)
def test_chains_of_functions_equal_the_reference(
    functions: list[str], shape: list[int], relu: bool, seed: int
) -> None:
    layers = [Apply(name, **ARGUMENTS.get(name, {})) for name in functions]
    layers += [nn.ReLU()] * relu
    assert_c_equals(nn.Sequential(*layers), *shape, seed=seed)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_results_are_the_nearest_int8_to_what_torch_computes(function: str) -> None:
    graph = lowered(nn.Sequential(Apply(function, **ARGUMENTS.get(function, {}))), 400)
    integer = quantize(graph, Calibration(inputs_for(graph, 0)))
    node = integer.nodes[-1]
    before, after = (integer.quantization[name] for name in (*node.inputs, node.output))
    given = integer.quantization[integer.inputs[0]]
    values = run_all(integer, quantize_float(inputs_for(graph, 0), given))
    real = torch.from_numpy(dequantize(values[node.inputs[0]], before))
    expected = LookupOperator().forward(node.attributes, {}, real).numpy()
    steps = np.clip(expected / after.scale + after.zero_point, -128, 127)
    assert np.abs(values[node.output] - steps).max() <= 0.51


def test_infinity_becomes_the_largest_finite_result() -> None:
    inputs = np.array([[0.0, 0.5, 1.0]], np.float32)
    node = Node("f", "lookup", ("x",), "y", Lookup("rsqrt"), {})
    tensors = {name: Tensor(name, (3,)) for name in "xy"}
    graph = quantize(Graph("net", tensors, (node,), ("x",), ("y",)), Calibration(inputs))
    found = run(graph, quantize_float(inputs, graph.quantization["x"]))
    real = dequantize(found, graph.quantization["y"])
    greatest = graph.quantization["x"].scale ** -0.5  # 0 itself would be infinite
    np.testing.assert_allclose(real, [[greatest, 2**0.5, 1]], atol=0.05)
