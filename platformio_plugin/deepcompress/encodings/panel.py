"""Panel: every weight a byte, those of four output channels side by side, as dense kernels read.

values  = panel*
panel   = (pair of channels)* for each two columns: two such pairs, or one in the last panel if no
          more than two channels are left
pair of channels = a[k], b[k], a[k + 1], b[k + 1]

An odd column count is filled with zeros, a channel that is missing in a pair likewise.
One SXTB16 of such a word gives channel a's two weights as int16, another one channel b's, for
SMLAD to multiply with two neighbouring inputs.
"""

from __future__ import annotations

import numpy as np

from deepcompress.ir.graph import Array

_CHANNELS = 4


def encode(weight: np.ndarray) -> tuple[Array, ...]:
    padded = _padded(weight.shape)
    full = np.zeros(padded, np.int8)
    full[: weight.shape[0], : weight.shape[1]] = weight
    panels = [_interleave(full[i : i + _CHANNELS]) for i in range(0, len(full), _CHANNELS)]
    meaning = "int8 weights of four output channels side by side, two columns at a time"
    return (Array("values", np.concatenate(panels), meaning),)


def decode(arrays: tuple[Array, ...], shape: tuple[int, int]) -> np.ndarray:
    rows, columns = _padded(shape)
    full, at = np.zeros((rows, columns), np.int8), 0
    for i in range(0, rows, _CHANNELS):
        panel = full[i : i + _CHANNELS]
        words = arrays[0].values[at : at + panel.size].reshape(columns // 2, len(panel) // 2, 2, 2)
        panel[:] = words.transpose(1, 3, 0, 2).reshape(panel.shape)
        at += panel.size
    return np.ascontiguousarray(full[: shape[0], : shape[1]])


def _padded(shape: tuple[int, int]) -> tuple[int, int]:
    rows, columns = shape
    return rows + rows % 2, columns + columns % 2


def _interleave(panel: np.ndarray) -> np.ndarray:
    """[2 or 4 channels, columns] -> [columns / 2, pairs, 2 columns, 2 channels], flat."""
    pairs, columns = len(panel) // 2, panel.shape[1]
    return panel.reshape(pairs, 2, columns // 2, 2).transpose(2, 0, 3, 1).ravel()
