"""The bytes in the report, and the bound that they are compared with."""

from __future__ import annotations

import re

import numpy as np
import pytest
from deepcompress.backend.emit_c import Provenance, emit_c
from deepcompress.data.calibration import Calibration
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ops.linear import Linear
from deepcompress.options import Options, Target
from deepcompress.pipeline.graph_to_plan import graph_to_plan
from deepcompress.report.html import by_layer
from deepcompress.report.summary import entropy_bytes, summarize, table


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (np.zeros((4, 4)), 0),
        (np.eye(16), 16 * 16 / 8 * 0.3373),  # one in 16: 4/16 + 15/16 * log2(16/15) bits each
        (np.arange(-128, 128).reshape(2, 128), 256),
        (np.tile([0, 0, 1, 2], (8, 8)), 256 * 1.5 / 8),
    ],
)
def test_the_bound_is_the_entropy_of_every_weight_by_itself(
    weight: np.ndarray, expected: float
) -> None:
    assert entropy_bytes(weight.astype(np.int8)) == pytest.approx(expected, abs=0.1)


@pytest.fixture
def facts() -> dict:
    random = np.random.default_rng(0)
    weight = random.standard_normal((50, 400)).astype(np.float32)
    node = Node("fc", "linear", ("x",), "y", Linear(400, 50),
                {"weight": weight, "bias": np.zeros(50, np.float32)})  # fmt: skip
    tensors = {"x": Tensor("x", (400,)), "y": Tensor("y", (50,))}
    inputs = random.standard_normal((4, 400)).astype(np.float32)
    samples = Calibration(inputs, synthetic=True)  # so that the bias stays 0
    graph = Graph("net", tensors, (node,), ("x",), ("y",))
    _, plan = graph_to_plan(graph, samples, Options(sparsity=0.9, optimize="size"))
    limits = Target(flash_limit=64_000, ram_limit=16_000, clock_hz=84_000_000)
    return summarize(plan, source="net.pt", target=limits, accuracy=None)


def test_weights_and_constants_of_a_layer_add_up_to_its_flash(facts: dict) -> None:
    (layer,), parameters = facts["layers"], facts["parameters"]
    assert layer["weight_bytes"] + layer["constant_bytes"] == layer["flash_bytes"]
    assert layer["constant_bytes"] == 1 + 50  # a bias that is 0 for all, multipliers of a byte
    assert layer["entropy_bytes"] <= layer["weight_bytes"] <= 1.15 * layer["entropy_bytes"]
    assert (
        parameters["weight_bytes"] + parameters["constant_bytes"]
        == (facts["flash"]["weights_bytes"])
    )


def test_the_table_shows_each_layers_weights_next_to_their_bound(facts: dict) -> None:
    layer = facts["layers"][0]
    lines = table(facts).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].split()[-7:] == ["weight", "B", "bound", "B", "const", "B", "cycles"]
    weight, bound = f"{layer['weight_bytes']:,}", f"{layer['entropy_bytes']:,.0f}"
    assert lines[2].split()[-4:-1] == [weight, bound, "51"]
    more = 100 * (layer["weight_bytes"] / layer["entropy_bytes"] - 1)
    assert f"they take {more:.1f}% more" in table(facts)


def test_a_small_share_of_the_board_is_not_shown_as_zero(facts: dict) -> None:
    facts["flash"]["limit_bytes"] = 128 * facts["flash"]["total_bytes"]
    facts["ram"]["limit_bytes"] = 4096 * facts["ram"]["total_bytes"]
    shares = [line for line in table(facts).splitlines() if "of the board's" in line]
    assert "; 0.8% of the board's" in shares[0]
    assert "; <0.1% of the board's" in shares[1]


def test_layers_whose_names_are_one_identifier_keep_their_own_functions() -> None:
    """`a.b` and `a_b`: the report names the functions that the C has, so a profile finds both."""
    random = np.random.default_rng(0)

    def linear(name: str, source: str, output: str) -> Node:
        weight = random.standard_normal((4, 4)).astype(np.float32)
        parameters = {"weight": weight, "bias": np.zeros(4, np.float32)}
        return Node(name, "linear", (source,), output, Linear(4, 4), parameters)

    tensors = {name: Tensor(name, (4,)) for name in "xyz"}
    nodes = (linear("a.b", "x", "y"), linear("a_b", "y", "z"))
    graph = Graph("net", tensors, nodes, ("x",), ("z",))
    inputs = random.standard_normal((4, 4)).astype(np.float32)
    _, plan = graph_to_plan(graph, Calibration(inputs), Options())
    layers = summarize(plan, source="net.pt", target=Target(), accuracy=None)["layers"]
    functions = [layer["function"] for layer in layers]
    assert functions == ["net_a_b", "net_a_b_"]
    code = emit_c(plan, provenance=Provenance("net.pt", "0", ()))["net.c"]
    for function in functions:
        assert len(re.findall(rf"^DC_LAYER.*\b{function}\(", code, re.MULTILINE)) == 1
    measured = {"net_a_b_.isra.0": {"cycles": 2}, "net_a_b": {"cycles": 1}}
    assert by_layer(measured, layers) == [{"cycles": 1}, {"cycles": 2}]
