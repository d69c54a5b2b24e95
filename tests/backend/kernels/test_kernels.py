"""The table of kernels is complete, and every kernel computes what the reference does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import c_runner
import kernel_runner
import pytest
from deepcompress.backend.kernels import KERNELS
from deepcompress.backend.kernels.conv2d import NEXT_LIMIT, TapsDsp
from deepcompress.backend.kernels.kernel import Kernel, Layer
from deepcompress.backend.kernels.weighted import WeightedKernel
from deepcompress.backend.select_kernels import candidates, kernels_for, select_kernels
from deepcompress.cli.docs import kernels_markdown
from deepcompress.encodings import ENCODINGS
from deepcompress.ir.graph import IntegerGraph
from deepcompress.ops import OPERATORS
from deepcompress.ops.conv2d import Conv2d
from deepcompress.target import CPUS, find
from single_layers import EDGES, LAYERS, POOL, WEIGHTED_OPS, integer_layer

SINGLE = LAYERS | EDGES
OF_OPERATOR = {op: name for name, (_, op, _) in SINGLE.items()}
# The target on which a kernel is tested, by the features that it needs.
TESTED_ON = {
    frozenset(): "generic",
    frozenset({"dsp"}): "cortex-m4",
    frozenset({"mve"}): "cortex-m55",
}


# How weights get few enough values for a codebook: in steps, or because their sums are narrow.
FEW_VALUES = {"conv2d": {"narrow": True}}


def test_every_operator_has_a_test_layer() -> None:
    assert set(OF_OPERATOR) == set(OPERATORS)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=lambda kernel: kernel.name)
def test_a_kernel_is_a_function_of_its_header(kernel: Kernel) -> None:
    folder = c_runner.INCLUDE / "deepcompress" / "kernels"
    texts = [path.read_text() for path in folder.glob(f"{kernel.header}*.h")]
    assert (folder / f"{kernel.header}.h").is_file()
    assert any(re.search(rf"\bvoid {kernel.c_name}\(", text) for text in texts)
    assert set(kernel.operators) <= set(OPERATORS)
    assert set(kernel.encodings) <= set(ENCODINGS)


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_has_a_kernel_on_every_target_in_every_encoding(operator: str) -> None:
    """Panel is the exception: an operator without panel kernels uses dense."""
    layer = single(integer_layer(OF_OPERATOR[operator]))
    encodings = ENCODINGS if operator in WEIGHTED_OPS else [None]
    for cpu in CPUS.values():
        for encoding in encodings:
            found = kernels_for(layer, encoding, cpu)
            assert found or encoding == "panel", (cpu.name, encoding)


@pytest.mark.parametrize("cpu", ["generic", "cortex-m4", "cortex-m55"])
def test_an_encoding_without_a_kernel_becomes_dense(cpu: str) -> None:
    graph = integer_layer("short gru")
    assert select_kernels(graph, encoding="panel", cpu=cpu).weights["layer"].encoding == "dense"


def single(graph: IntegerGraph) -> Layer:
    (node,) = graph.nodes
    return Layer.of(graph, node)


def cases_of(kernel: Kernel) -> Iterator[kernel_runner.Case]:
    """Layers of the kernel's operators, at the edges if there are such: each encoding once, and
    each further layer in one encoding, because decoding does not depend on the shape."""
    cpu = find(TESTED_ON[kernel.features])
    covered: set[str | None] = set()
    edges = {name for name, (_, op, _) in EDGES.items() if op in kernel.operators}
    names = edges or {name for name, (_, op, _) in LAYERS.items() if op in kernel.operators}
    encodings = kernel.encodings or (None,)
    for i, name in enumerate(sorted(names)):
        graph = integer_layer(name)
        if isinstance(kernel, WeightedKernel):
            graph = integer_layer(name, 0.7, **FEW_VALUES.get(kernel.header, {"step": 4}))
        layer = single(graph)
        accepted = [encoding for encoding in encodings if kernel.accepts(layer, encoding, cpu)]
        rotated = accepted[i % len(accepted) :] if accepted else []
        for encoding in [name for name in accepted if name not in covered] or rotated[:1]:
            covered.add(encoding)
            for selection in candidates(layer, encoding or "auto", cpu):
                if selection.kernel is kernel:
                    yield kernel_runner.Case(graph, kernel, selection.weight, cpu.name)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=lambda kernel: kernel.name)
def test_a_kernel_computes_what_the_reference_does(
    kernel: Kernel, arm_tools: None, tmp_path: Path
) -> None:
    """All variants get the same random data, and stay within their buffers and scratch."""
    cases = list(cases_of(kernel))
    assert cases
    if isinstance(kernel, WeightedKernel):
        assert {case.weight.encoding for case in cases if case.weight} == set(kernel.encodings)
    kernel_runner.assert_equal_reference(cases, tmp_path)


@pytest.mark.parametrize(("width", "rows"), [(NEXT_LIMIT - 1, 2), (NEXT_LIMIT, 0)])
def test_tiles_have_two_rows_only_within_reach_of_a_load(
    width: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost of a layer respects the kernel's limit on the distance of two rows."""
    shape = (1, 4, width), "conv2d", Conv2d(1, 1, (3, 3), pool=POOL)
    monkeypatch.setitem(EDGES, "wide", shape)
    layer = single(integer_layer("wide"))
    kernel = KERNELS["conv2d_taps_dsp8"]
    assert isinstance(kernel, TapsDsp)
    assert kernel.tile_rows(layer) == rows
    assert kernel.accepts(layer, "delta", find("cortex-m4")) == (rows > 0)


def test_the_page_of_kernels_is_up_to_date() -> None:
    page = c_runner.ROOT / "docs" / "kernels.md"
    assert page.read_text() == kernels_markdown(), "run make docs"
