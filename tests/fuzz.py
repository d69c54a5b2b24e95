"""Fuzzing: compares the generated C of random networks, under sanitizers, with the reference.

    make fuzz                       # ten minutes
    make fuzz SECONDS=60 SEED=7     # one minute, from another seed on

Branches, concatenations, several inputs and outputs, odd shapes, streams, every encoding. If the
outputs differ, the smallest such network is printed, and the seed that reproduces it.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))

import c_runner
import hypothesis
import strategies
from deepcompress.encodings import ENCODINGS
from deepcompress.ir.graph import Graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_graphs import assert_c_equals_reference

# Networks per seed: a failure is reproduced in less than a minute.
NETWORKS = 40


@settings(
    max_examples=NETWORKS, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(
    graph=strategies.graphs(inputs=3, outputs=3, layers=12, stateful=True),
    seed=st.integers(0, 1000),
    encoding=st.sampled_from(["auto", *ENCODINGS]),
    optimize=st.sampled_from(["size", "speed", "balanced"]),
    step=st.sampled_from([1, 4, 32]),
    kernels=st.sampled_from(list(c_runner.KERNELS)),
)
def fuzz(graph: Graph, seed: int, encoding: str, optimize: str, step: int, kernels: str) -> None:
    step = max(4, step) if encoding == "codebook" else step
    assert_c_equals_reference(graph, seed, encoding, optimize, step, kernels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args()
    start, seed = time.monotonic(), parsed.seed
    while (spent := time.monotonic() - start) < parsed.seconds:
        print(f"{spent:4.0f} s: networks of seed {seed}", flush=True)
        try:
            hypothesis.seed(seed)(fuzz)()
        except BaseException:
            print(f"\nFound by seed {seed}. Again: make fuzz SECONDS=1 SEED={seed}\n", flush=True)
            raise
        seed += 1
    print(f"{NETWORKS * (seed - parsed.seed)} networks in {spent:.0f} s: none differs")


if __name__ == "__main__":
    main()
