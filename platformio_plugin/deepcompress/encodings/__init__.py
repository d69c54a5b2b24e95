"""The encodings of weights in flash, one file each.

An encoding's module states: `encode` a matrix, `decode` it again without loss. Its C reader is
include/deepcompress/encodings/<name>.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from deepcompress.encodings import bitmap, block, codebook, delta, delta4, dense, huffman, panel

if TYPE_CHECKING:
    import numpy as np

    from deepcompress.ir.graph import Array


class Encoding(Protocol):
    def encode(self, weight: np.ndarray) -> tuple[Array, ...] | None:
        """C arrays of an int8 matrix [output channels, weights of one], each named as its field
        of `dc_weights`; None where the encoding cannot hold this matrix."""

    def decode(self, arrays: tuple[Array, ...], shape: tuple[int, int]) -> np.ndarray:
        """The matrix again, int8 [rows, columns]."""


ENCODINGS: dict[str, Encoding] = {
    "dense": dense,
    "panel": panel,
    "delta": delta,
    "delta4": delta4,
    "bitmap": bitmap,
    "block": block,
    "codebook": codebook,
    "huffman": huffman,
}
