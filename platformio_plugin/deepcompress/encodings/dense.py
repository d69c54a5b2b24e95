"""Dense: every weight a byte, output channel by output channel."""

from __future__ import annotations

import numpy as np

from deepcompress.ir.graph import Array


def encode(weight: np.ndarray) -> tuple[Array, ...]:
    return (Array("values", weight.ravel(), "int8 weights, output channel by output channel"),)


def decode(arrays: tuple[Array, ...], shape: tuple[int, int]) -> np.ndarray:
    return arrays[0].values.reshape(shape)
