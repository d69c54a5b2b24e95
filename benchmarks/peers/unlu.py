"""LeNet-5 in float with Unlu's loops (arXiv 2007.01348): the example's build for comparison."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from deepcompress.execute.float_torch import forward_numpy
from measuring import Measured, measure_peer
from workloads import EXAMPLE, MODELS, Built

HERE = Path(__file__).resolve().parent
FLOAT = EXAMPLE / "float"
TOLERATED = 1e-3


def measure(built: Built, *, cpu: str, folder: Path) -> Measured:
    """Measures one inference; its scores are those of torch."""
    folder.mkdir(parents=True, exist_ok=True)
    header = folder / "lenet5_float_weights.h"
    script = [sys.executable, FLOAT / "weights.py", MODELS / "lenet5.pt", header]
    subprocess.run(script, check=True)
    pixels = (built.inputs.astype(np.int16) + 128).astype(np.uint8)
    outputs = forward_numpy(built.pruned, built.sample)[0]
    measured = measure_peer(
        [HERE / "unlu.c", FLOAT / "lenet5_float.c"],
        pixels,
        outputs.nbytes,
        cpu=cpu,
        folder=folder,
        flags=[f"-I{FLOAT}", f"-I{folder}"],
    )
    scores = np.frombuffer(measured.output, np.float32)
    if np.abs(scores - outputs).max() > TOLERATED:
        raise AssertionError(f"Unlu's loops answer {scores} instead of {outputs}: {folder}")
    return measured
