"""The cost model against the profiler: estimates are close to the cost of the compiled code."""

from __future__ import annotations

from pathlib import Path

import arm_runner
import pytest
from deepcompress.backend.emit_c import emit_c
from deepcompress.backend.kernels.weighted import shared_code_bytes
from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.plan import Plan
from deepcompress.backend.select_kernels import select_kernels
from deepcompress.profiler.engine import Request
from deepcompress.profiler.profile import profile
from model_graphs import NOWHERE
from single_layers import LAYERS, WEIGHTED_OPS, integer_layer


def planned(layer: str, encoding: str, sparsity: float, step: int, cpu: str = "cortex-m4") -> Plan:
    """A network of one layer, with random weights on a grid, a share of which is zero."""
    integer = integer_layer(layer, sparsity, step)
    return plan_memory(select_kernels(integer, encoding=encoding, cpu=cpu))


WEIGHTED = [name for name, (_, op, _) in LAYERS.items() if op in WEIGHTED_OPS]
HOW = (
    ("dense", 0.0, 1),
    ("delta", 0.8, 1),
    ("delta4", 0.8, 1),
    ("bitmap", 0.8, 1),
    ("block", 0.8, 1),
    ("codebook", 0.8, 4),
    ("huffman", 0.8, 1),
    ("huffman", 0.9, 16),
    ("huffman", 0.2, 16),
)
CASES = [(layer, *how) for layer in WEIGHTED for how in HOW]
CASES += [(layer, "auto", 0.0, 1) for layer in LAYERS if layer not in WEIGHTED]


@pytest.mark.parametrize(("layer", "encoding", "sparsity", "step"), CASES)
def test_estimates_are_within_a_third_of_the_profile(
    layer: str, encoding: str, sparsity: float, step: int, arm_tools: None, tmp_path: Path
) -> None:
    made = planned(layer, encoding, sparsity, step)
    elf = arm_runner.build(emit_c(made, provenance=NOWHERE), name="net", folder=tmp_path)
    measured = profile(elf, Request(cpu="cortex-m4"))
    cost = next(c for name, c in measured.costs.items() if name.split(".")[0] == "net_layer")
    estimated = made.steps[0]
    assert estimated.cycles == pytest.approx(cost.cycles, rel=1 / 3)
    assert estimated.code_bytes == pytest.approx(cost.code_bytes, rel=1 / 3)


@pytest.mark.parametrize("encoding", ["dense", "delta"])
@pytest.mark.parametrize("layer", [name for name, (_, op, _) in LAYERS.items() if op == "conv2d"])
def test_vector_convolutions_take_the_estimated_instructions_within_a_third(
    layer: str, encoding: str, arm_tools: None, tmp_path: Path
) -> None:
    made = planned(layer, encoding, 0.0, 1, cpu="cortex-m55")
    elf = arm_runner.build(
        emit_c(made, provenance=NOWHERE), name="net", folder=tmp_path, cpu="cortex-m55"
    )
    measured = profile(elf, Request(cpu="cortex-m55")).costs["net_layer"]
    assert made.steps[0].cycles == pytest.approx(measured.instructions, rel=1 / 3)
    assert made.steps[0].code_bytes == pytest.approx(measured.code_bytes, rel=1 / 3)


def test_the_shared_decoder_is_estimated_within_a_third(arm_tools: None, tmp_path: Path) -> None:
    made = planned("linear", "huffman", 0.9, 16)
    elf = arm_runner.build(emit_c(made, provenance=NOWHERE), name="net", folder=tmp_path)
    measured = profile(elf, Request(cpu="cortex-m4")).costs["dc_huffman_read"]
    assert shared_code_bytes("huffman") == pytest.approx(measured.code_bytes, rel=1 / 3)
