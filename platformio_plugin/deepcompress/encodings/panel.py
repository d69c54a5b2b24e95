"""Panel: one byte per weight, four output channels interleaved, as the dense kernels read them.

values  = panel*
panel   = (pair of channels)* for every two columns: two such pairs, or one in the last panel if at
          most two channels are left
pair of channels = a[k], b[k], a[k + 1], b[k + 1]

An odd number of columns or channels is padded with zeros. One SXTB16 of such a word gives the two
weights of channel a as int16, another one those of channel b; SMLAD multiplies each with two
neighbouring inputs.
"""

from __future__ import annotations

import numpy as np

from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.graph import Array

_CHANNELS = 4


def encode(weight: Int8Array) -> tuple[Array, ...]:
    rows, columns = weight.shape
    full = np.zeros(_padded((rows, columns)), np.int8)
    full[:rows, :columns] = weight
    panels = [_interleave(full[i : i + _CHANNELS]) for i in range(0, len(full), _CHANNELS)]
    meaning = "int8 weights of four output channels side by side, two columns at a time"
    return (Array("values", np.concatenate(panels), meaning),)


def decode(arrays: tuple[Array, ...], shape: tuple[int, int]) -> Int8Array:
    rows, columns = _padded(shape)
    full, position = np.zeros((rows, columns), np.int8), 0
    for i in range(0, rows, _CHANNELS):
        panel = full[i : i + _CHANNELS]
        words = arrays[0].values[position : position + panel.size]
        pairs = words.reshape(columns // 2, len(panel) // 2, 2, 2)
        panel[:] = pairs.transpose(1, 3, 0, 2).reshape(panel.shape)
        position += panel.size
    return np.ascontiguousarray(full[: shape[0], : shape[1]])


def _padded(shape: tuple[int, int]) -> tuple[int, int]:
    rows, columns = shape
    return rows + rows % 2, columns + columns % 2


def _interleave(panel: Int8Array) -> Int8Array:
    """[2 or 4 channels, columns] -> [columns / 2, pairs, 2 columns, 2 channels], flat."""
    pairs, columns = len(panel) // 2, panel.shape[1]
    words: Int8Array = panel.reshape(pairs, 2, columns // 2, 2).transpose(2, 0, 3, 1).ravel()
    return words
