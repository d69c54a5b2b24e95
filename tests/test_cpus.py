"""Random networks on simulated CPUs: the very instructions of each core, equal to the reference."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import arm_runner
import numpy as np
import pytest
import strategies
from deepcompress.emit import emit
from deepcompress.graph import Graph
from deepcompress.profile import profile
from deepcompress.reference import run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_random_networks import NOWHERE, inputs_for, through_the_stages

CPUS = ("cortex-m0", "cortex-m4", "cortex-m33", "cortex-m55")


@pytest.mark.parametrize("cpu", CPUS)
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    graph=strategies.graphs(),
    seed=st.integers(0, 1000),
    encoding=st.sampled_from(["auto", "dense"]),
    optimize=st.sampled_from(["speed", "balanced"]),
    gcc=st.sampled_from(["-O2", "-Os", "-O1 -fno-omit-frame-pointer", "-O0"]),
)
def test_every_core_computes_what_the_reference_does(
    cpu: str, graph: Graph, seed: int, encoding: str, optimize: str, gcc: str, arm_tools: None
) -> None:
    assert_equal_on(cpu, graph, seed, encoding, optimize, gcc)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    graph=strategies.products(),
    seed=st.integers(0, 1000),
    encoding=st.sampled_from(["auto", "dense"]),
    optimize=st.sampled_from(["speed", "size"]),
    gcc=st.sampled_from(["-O2", "-Os", "-O2 -mcpu=cortex-m55+nomve", "-O2 -mcpu=cortex-m55+nodsp"]),
)
def test_vectors_take_what_is_left_over_at_every_edge(
    graph: Graph, seed: int, encoding: str, optimize: str, gcc: str, arm_tools: None
) -> None:
    assert_equal_on("cortex-m55", graph, seed, encoding, optimize, gcc)


def assert_equal_on(
    cpu: str, graph: Graph, seed: int, encoding: str, optimize: str, gcc: str
) -> None:
    """The firmware for a CPU, which its simulator runs, gives the scores of the reference."""
    planned = through_the_stages(graph, inputs_for(graph, seed), encoding, optimize, 1)
    integer = planned.encoded.integer
    shape = integer.tensors[integer.inputs[0]].shape
    inputs = np.random.default_rng(seed).integers(-128, 128, (1, *shape)).astype(np.int8)
    console = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        texts = emit(planned, provenance=NOWHERE)
        elf = arm_runner.build(
            texts, name="net", folder=Path(folder), cpu=cpu, flags=gcc.split(), inputs=inputs
        )
        profile(elf, cpu=cpu, console=console)
    found = np.frombuffer(console.getvalue(), np.int8)
    np.testing.assert_array_equal(found, run(integer, inputs).ravel())
