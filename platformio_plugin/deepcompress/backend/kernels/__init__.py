"""All kernels, one module per family of operators. Each row of `KERNELS` is one C function."""

from __future__ import annotations

from deepcompress.backend.kernels import (
    conv2d,
    conv_transpose2d,
    elementwise,
    linear,
    moves,
    normalization,
    pooling,
    recurrent,
)
from deepcompress.backend.kernels.kernel import Kernel

_FAMILIES = (
    conv2d,
    conv_transpose2d,
    linear,
    recurrent,
    pooling,
    elementwise,
    moves,
    normalization,
)

KERNELS: dict[str, Kernel] = {
    kernel.name: kernel for family in _FAMILIES for kernel in family.KERNELS
}
