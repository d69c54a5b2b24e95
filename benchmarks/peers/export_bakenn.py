"""Exports LeNet-5 with BakeNN, in a separate process with BakeNN's wheel on its path:

    python export_bakenn.py lenet5.pt sample.npy FOLDER portable|cmsis_nn

The sample is float32 [1, 1, 32, 32]. Writes the network's C to FOLDER/net, the quantized
sample to FOLDER/inputs.npy, and the outputs of BakeNN's reference to FOLDER/expected.npy.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import bakenn
import mnist
import model
import numpy as np
import torch

CALIBRATION = Path(mnist.__file__).parent / "data" / "calibration.npz"
SAMPLES = 64


def main(path: str, sample_path: str, folder_path: str, kernels: str) -> None:
    folder = Path(folder_path)
    shutil.rmtree(folder / "net", ignore_errors=True)
    with np.load(CALIBRATION) as content:
        images = torch.from_numpy(mnist.normalise(content["inputs"][:SAMPLES]))
    options = bakenn.CBackendOptions(target=bakenn.CORTEX_M4)
    if kernels == "cmsis_nn":
        priority = bakenn.KernelPolicy.STATIC_PRIORITY
        options = bakenn.CBackendOptions(
            kernel_policy=priority, enable_cmsis_nn=True, target=bakenn.CORTEX_M4
        )
    compiled = bakenn.compile_torch_ptq(
        model.load(Path(path)),
        images[:1],
        list(images.split(1)),
        folder / "net",
        name="net",
        target="cortex-m4",
        backend_options=options,
    )
    sample = np.load(sample_path).transpose(0, 2, 3, 1)
    inputs = bakenn.quantize_input(compiled.plan, sample)
    np.save(folder / "inputs.npy", inputs)
    np.save(folder / "expected.npy", bakenn.run_reference(compiled.plan, inputs))


if __name__ == "__main__":
    main(*sys.argv[1:])
