"""Generated files of two runs, which a kill may mix, do not compile together."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from deepcompress.backend.atomic_write import atomic_write
from deepcompress.backend.emit_c import emit_c
from deepcompress.backend.plan import Plan
from deepcompress.backend.provenance import Provenance
from deepcompress.backend.runtime_sources import runtime_sources
from deepcompress.data.calibration import Calibration
from deepcompress.ir.graph import Graph, Node, Tensor
from deepcompress.ops.linear import Linear
from deepcompress.options import Options
from deepcompress.pipeline.graph_to_plan import graph_to_plan

FILES = ("net.h", "net.hpp", "net_weights.h", "net.c")
ORIGIN = Provenance("net.pt", "0123456789abcdef", ())


def planned(seed: int) -> Plan:
    random = np.random.default_rng(seed)
    weight = random.standard_normal((4, 4)).astype(np.float32)
    parameters = {"weight": weight, "bias": np.zeros(4, np.float32)}
    node = Node("fc", "linear", ("x",), "y", Linear(4, 4), parameters)
    tensors = {name: Tensor(name, (4,)) for name in "xy"}
    graph = Graph("net", tensors, (node,), ("x",), ("y",))
    inputs = random.standard_normal((4, 4)).astype(np.float32)
    return graph_to_plan(graph, Calibration(inputs), Options())[1]


def compiled(texts: dict[str, str], folder: Path) -> str:
    """What the C and the C++ compiler print."""
    shutil.rmtree(folder, ignore_errors=True)
    atomic_write({**texts, **runtime_sources(), "main.cpp": '#include "net.hpp"\n'}, folder)
    commands = (["cc", "-std=c99", "net.c"], ["c++", "-std=c++11", "main.cpp"])
    ran = [
        subprocess.run([*c, "-Wall", "-fsyntax-only"], cwd=folder, capture_output=True, text=True)
        for c in commands
    ]
    return "".join(done.stderr for done in ran)


@pytest.mark.parametrize("other", FILES)
def test_a_file_of_another_run_does_not_compile(tmp_path: Path, other: str) -> None:
    one, two = (emit_c(planned(seed), provenance=ORIGIN) for seed in (0, 1))
    assert set(one) == set(FILES)
    mixed = {**one, other: two[other]}
    assert compiled(one, tmp_path / "one") == ""
    assert "net.h are of different runs of deepcompress" in compiled(mixed, tmp_path / "mixed")


def test_the_identifier_depends_on_the_code_and_not_on_the_model_file() -> None:
    plan = planned(0)
    one = emit_c(plan, provenance=ORIGIN)["net.c"]
    other = replace(ORIGIN, sha256="f" * 16)
    assert emit_c(plan, provenance=other)["net.c"] == one
