"""Espressif's ESP-NN, int8, dense: its generic C for any CPU, from BakeNN's wheel."""

from __future__ import annotations

from pathlib import Path

from measuring import Measured
from workloads import Built

from peers.kernel_library import HERE, KernelLibrary, measure_library
from peers.wheel import bakenn_wheel

KERNELS = (
    "convolution/esp_nn_conv_ansi.c",
    "convolution/esp_nn_conv_opt.c",
    "convolution/esp_nn_depthwise_conv_ansi.c",
    "convolution/esp_nn_depthwise_conv_opt.c",
    "fully_connected/esp_nn_fully_connected_ansi.c",
    "pooling/esp_nn_max_pool_ansi.c",
)


def measure(built: Built, *, cpu: str, folder: Path) -> Measured:
    root = bakenn_wheel() / "bakenn" / "backend" / "esp_nn" / "vendor" / "esp_nn"
    sources = tuple(root / "src" / kernel for kernel in KERNELS)
    flags = (f"-I{root / 'include'}", f"-I{root / 'src' / 'common'}", "-DCONFIG_NN_OPTIMIZED")
    library = KernelLibrary("esp_nn", HERE / "esp_nn.c", sources, flags)
    return measure_library(library, built, cpu=cpu, folder=folder)
