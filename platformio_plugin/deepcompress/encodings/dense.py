"""Dense: one byte per weight, output channel by output channel."""

from __future__ import annotations

from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.graph import Array


def encode(weight: Int8Array) -> tuple[Array, ...]:
    return (Array("values", weight.ravel(), "int8 weights, output channel by output channel"),)


def decode(arrays: tuple[Array, ...], shape: tuple[int, int]) -> Int8Array:
    return arrays[0].values.reshape(shape)
