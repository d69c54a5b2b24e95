"""Arithmetic on a layer's parameters by which fusion folds a neighbour into it.

All functions take and return parameters by name: a weight [rows, columns, ...] and a bias [rows],
or a scaling's scale and shift [channels]. They compute in float64; results are read-only float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import lcm

import numpy as np

from deepcompress.ir.arrays import AnyArray, Float32Array, Float64Array, IntArray, frozen

Parameters = Mapping[str, Float32Array]


def compose_scalings(first: Parameters, second: Parameters) -> tuple[int, dict[str, Float32Array]]:
    """Two scalings as one: its number of channels, its scale and shift."""
    channels = lcm(len(first["scale"]), len(second["scale"]))
    scale, shift, before, added = (
        _repeat(array, channels)
        for array in (second["scale"], second["shift"], first["scale"], first["shift"])
    )
    return channels, _float32(scale=scale * before, shift=scale * added + shift)


def scale_rows(layer: Parameters, scaling: Parameters) -> dict[str, Float32Array]:
    """A scaling of a layer's output as part of its weight and bias."""
    weight, bias = layer["weight"], layer["bias"]
    scale, shift = (_repeat(scaling[name], len(weight)) for name in ("scale", "shift"))
    by_row = scale.reshape(-1, *[1] * (weight.ndim - 1))
    return _float32(weight=weight * by_row, bias=bias * scale + shift)


def scale_columns(
    layer: Parameters, scaling: Parameters, *, groups: int
) -> dict[str, Float32Array]:
    """A scaling of a layer's input as part of its weight and bias.

    Args:
        groups: into how many the output channels are divided; each reads its own input channels.
    """
    weight = layer["weight"].astype(np.float64)
    rows, columns = weight.shape[:2]
    grouped = weight.reshape(groups, rows // groups, columns, -1)
    scale, shift = (
        _repeat(scaling[name], groups * columns).reshape(groups, 1, columns, 1)
        for name in ("scale", "shift")
    )
    bias = layer["bias"] + (grouped * shift).sum(axis=(2, 3)).ravel()
    return _float32(weight=(grouped * scale).reshape(weight.shape), bias=bias)


def select_rows(layer: Parameters, rows: IntArray) -> dict[str, Float32Array]:
    """These rows of every parameter, in this order."""
    return _float32(**{name: array[rows] for name, array in layer.items()})


def permute_columns(layer: Parameters, places: IntArray) -> dict[str, Float32Array]:
    """The layer for an input whose value `i` was at `places[i]` before it was permuted.

    Args:
        places: a permutation of all columns.
    """
    weight = np.empty_like(layer["weight"])
    weight[:, places] = layer["weight"]
    return {**layer, **_float32(weight=weight)}


def _repeat(array: Float32Array, channels: int) -> Float64Array:
    """Each value for as many successive channels as it covers, float64 [channels]."""
    return np.repeat(array.astype(np.float64), channels // len(array))


def _float32(**arrays: AnyArray) -> dict[str, Float32Array]:
    return {name: frozen(array.astype(np.float32)) for name, array in arrays.items()}
