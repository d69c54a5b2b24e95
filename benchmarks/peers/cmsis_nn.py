"""Arm's CMSIS-NN, int8, dense: release 4.0.0, whose sources BakeNN's wheel carries, or a checkout.

The environment variable CMSIS_NN may name a checkout of its repository. Today's convolutions are
a tenth faster than those of 4.0.0, so that is what to be compared with where it can be had.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import arm_runner
from deepcompress.write import write
from measuring import BUILD, OPTIMIZE, Measured, measure_peer
from workloads import Built

from peers.layers import c_text, run_tflite, tflite_layers
from peers.wheel import Missing, bakenn_wheel

HERE = Path(__file__).resolve().parent
# Kernels of other types than int8, some of which need another compiler.
OTHERS = ("f16", "f32", "s4", "svdf", "lstm")


def measure_release(built: Built, *, cpu: str, folder: Path) -> Measured:
    return _measure("release", _vendored() / "cmsis_nn", built, cpu, folder)


def measure_checkout(built: Built, *, cpu: str, folder: Path) -> Measured:
    checkout = os.environ.get("CMSIS_NN")
    if checkout is None:
        raise Missing("the environment variable CMSIS_NN names no checkout")
    return _measure("checkout", Path(checkout), built, cpu, folder)


def _measure(name: str, sources: Path, built: Built, cpu: str, folder: Path) -> Measured:
    """One inference of a network; its answer is what TFLite's arithmetic says, bit for bit."""
    library = _library(name, sources, cpu)
    layers = tflite_layers(built.integer)
    write({"network.c": c_text(layers)}, folder)
    inputs = built.inputs.transpose(1, 2, 0) if built.inputs.ndim == 3 else built.inputs
    expected = run_tflite(layers, inputs)
    measured = measure_peer(
        [folder / "network.c", HERE / "cmsis_nn.c", library],
        inputs,
        expected.size,
        cpu=cpu,
        folder=folder,
        flags=(f"-I{HERE}", *_includes(sources)),
    )
    if measured.output != expected.tobytes():
        raise AssertionError(f"CMSIS-NN does not answer as TFLite's arithmetic does: {folder}")
    return measured


@functools.cache
def _library(name: str, sources: Path, cpu: str) -> Path:
    files = [
        file
        for part in ("Convolution", "FullyConnected", "NNSupport", "Pooling")
        for file in sorted((sources / "Source" / f"{part}Functions").glob("*.c"))
        if not any(other in file.name for other in OTHERS)
    ]
    folder = BUILD / "cmsis_nn" / name / cpu
    return arm_runner.archive(files, folder=folder, cpu=cpu, flags=(OPTIMIZE, *_includes(sources)))


def _includes(sources: Path) -> tuple[str, str]:
    return f"-I{sources / 'Include'}", f"-I{_vendored() / 'cmsis_core' / 'Include'}"


def _vendored() -> Path:
    return bakenn_wheel() / "bakenn" / "backend" / "cmsis_nn" / "vendor"
