"""LeNet-5 in int8 by BakeNN (PyPI), which exports C from the torch module, with its own kernels or
with calls of the CMSIS-NN that it contains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from measuring import Measured, measure_peer
from workloads import EXAMPLE, MODELS, Built

from peers.wheel import Missing, bakenn_wheel

HERE = Path(__file__).resolve().parent


def measure(built: Built, *, cpu: str, folder: Path, cmsis_nn: bool) -> Measured:
    """Measures one inference; its output is bit-exact with BakeNN's reference."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "sample.npy", built.sample)
    script = [sys.executable, HERE / "export_bakenn.py", MODELS / "lenet5.pt"]
    kernels = "cmsis_nn" if cmsis_nn else "portable"
    done = subprocess.run(
        [*script, folder / "sample.npy", folder, kernels],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (bakenn_wheel(), EXAMPLE)))},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Missing(f"BakeNN does not run here: {done.stderr.strip().splitlines()[-1]}")
    inputs, expected = (np.load(folder / f"{name}.npy") for name in ("inputs", "expected"))
    exported = folder / "net"
    measured = measure_peer(
        [HERE / "bakenn.c", *exported.rglob("*.c")],
        inputs,
        expected.size,
        cpu=cpu,
        folder=folder,
        flags=["-DBAKENN_CMSIS_NN_BUILTIN_MEMORY", f"-I{exported}"]
        + [f"-I{include}" for include in exported.rglob("Include")],
    )
    if measured.output != expected.tobytes():
        raise AssertionError(f"BakeNN's C does not answer as its reference does: {folder}")
    return measured
