"""A library of int8 kernels in TFLite's arithmetic, dense, behind the calls of layer.h."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import arm_runner
from deepcompress.backend.atomic_write import atomic_write
from measuring import BUILD, OPTIMIZE, Measured, measure_peer
from workloads import Built

from peers.layers import c_text, run_tflite, tflite_layers

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class KernelLibrary:
    """Attributes: `glue` has the functions of layer.h, by what `sources` have."""

    name: str
    glue: Path
    sources: tuple[Path, ...]
    flags: tuple[str, ...]


def measure_library(library: KernelLibrary, built: Built, *, cpu: str, folder: Path) -> Measured:
    """One inference of a network; its answer is what TFLite's arithmetic says, bit for bit."""
    layers = tflite_layers(built.integer)
    atomic_write({"network.c": c_text(layers)}, folder)
    inputs = built.inputs.transpose(1, 2, 0) if built.inputs.ndim == 3 else built.inputs
    expected = run_tflite(layers, inputs)
    measured = measure_peer(
        [folder / "network.c", library.glue, _archive(library, cpu)],
        inputs,
        expected.size,
        cpu=cpu,
        folder=folder,
        flags=(f"-I{HERE}", *library.flags),
    )
    if measured.output != expected.tobytes():
        raise AssertionError(f"{library.name} answers otherwise than TFLite does: {folder}")
    return measured


@functools.cache
def _archive(library: KernelLibrary, cpu: str) -> Path:
    folder = BUILD / "libraries" / library.name / cpu
    flags = (OPTIMIZE, *library.flags)
    return arm_runner.archive(library.sources, folder=folder, cpu=cpu, flags=flags)
