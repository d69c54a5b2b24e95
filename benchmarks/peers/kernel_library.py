"""A library of dense int8 kernels with TFLite's arithmetic, called through layer.h."""

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
    """Attributes: `glue` implements the functions of layer.h with those of `sources`."""

    name: str
    glue: Path
    sources: tuple[Path, ...]
    flags: tuple[str, ...]


def measure_library(library: KernelLibrary, built: Built, *, cpu: str, folder: Path) -> Measured:
    """Measures one inference; its output is bit-exact with TFLite's arithmetic."""
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
