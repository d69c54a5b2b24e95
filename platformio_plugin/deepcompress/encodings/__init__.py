"""The encodings of weights in flash, one file each.

Each module has two functions: `encode` a matrix, and `decode` it without loss. Its C reader is
include/deepcompress/encodings/<name>.h.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from deepcompress import options
from deepcompress.encodings.refusal import Refusal
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.graph import Array


class Encoding(Protocol):
    """What a module of this package provides."""

    def encode(self, weight: Int8Array) -> tuple[Array, ...] | Refusal:
        """The C arrays of an int8 matrix [output channels, weights per channel].

        Each is named like its field of `dc_weights`. A `Refusal` if the encoding cannot
        represent the matrix.
        """

    def decode(self, arrays: tuple[Array, ...], shape: tuple[int, int]) -> Int8Array:
        """The matrix that was encoded, int8 [rows, columns]."""


ENCODINGS: dict[str, Encoding] = {
    name: cast("Encoding", import_module(f"{__name__}.{name}")) for name in options.ENCODINGS
}
