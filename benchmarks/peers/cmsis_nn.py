"""Arm's CMSIS-NN, int8, dense: release 4.0.0, whose sources are in BakeNN's wheel, or a checkout.

The environment variable CMSIS_NN may name a checkout of its repository. The current convolutions
are 10% faster than those of 4.0.0 on a Cortex-M4, and slower on M0+ and M3.
"""

from __future__ import annotations

import os
from pathlib import Path

from measuring import Measured
from workloads import Built

from peers.kernel_library import HERE, KernelLibrary, measure_library
from peers.wheel import Missing, bakenn_wheel

FOLDERS = ("Convolution", "FullyConnected", "NNSupport", "Pooling")
# Kernels for types other than int8, some of which need another compiler.
OTHERS = ("f16", "f32", "s4", "svdf", "lstm")


def measure_release(built: Built, *, cpu: str, folder: Path) -> Measured:
    library = _library("cmsis_nn_release", _vendored() / "cmsis_nn")
    return measure_library(library, built, cpu=cpu, folder=folder)


def measure_checkout(built: Built, *, cpu: str, folder: Path) -> Measured:
    checkout = os.environ.get("CMSIS_NN")
    if checkout is None:
        raise Missing("the environment variable CMSIS_NN names no checkout")
    library = _library("cmsis_nn_checkout", Path(checkout).resolve())
    return measure_library(library, built, cpu=cpu, folder=folder)


def _library(name: str, root: Path) -> KernelLibrary:
    files = (
        file for part in FOLDERS for file in (root / "Source" / f"{part}Functions").glob("*.c")
    )
    sources = sorted(file for file in files if not any(other in file.name for other in OTHERS))
    includes = (root / "Include", _vendored() / "cmsis_core" / "Include")
    flags = tuple(f"-I{include}" for include in includes)
    return KernelLibrary(name, HERE / "cmsis_nn.c", tuple(sources), flags)


def _vendored() -> Path:
    return bakenn_wheel() / "bakenn" / "backend" / "cmsis_nn" / "vendor"
