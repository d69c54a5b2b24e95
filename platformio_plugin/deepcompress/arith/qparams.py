"""Quantization parameters: the scale and zero point that map real numbers to int8."""

from __future__ import annotations

import numpy as np

from deepcompress.ir.arrays import Float64Array, FloatArray
from deepcompress.ir.graph import Clamp, Quantization

Range = tuple[float, float]

LARGEST_WEIGHT = 127
# A row of weights whose magnitudes add up to this has sums of products with any int8 inputs that
# fit int16 ("narrow sums").
NARROW_SUM = (2**15 - 1) // 128
# Largest noise-to-signal power ratio that weights with narrow sums may have: -24 dB.
_NARROW_NOISE = 2.0**-8
# Largest distance of a weight on a grid from a multiple of the scale, in units of the scale.
# float32's own errors are up to 1e-5; an arbitrary weight is up to 0.5 away.
_GRID_TOLERANCE = 1e-3
# Probability that an arbitrary weight is that near to a multiple.
_CHANCE_ON_GRID = 2 * _GRID_TOLERANCE
# Below this probability of coincidence, a layer's weights are taken to be on grids.
_CHANCE_LIMIT = 1e-8


def affine(low: float, high: float, *, finest: float = 0.0) -> Quantization:
    """The quantization whose 256 steps cover [low, high] and contain zero exactly.

    Args:
        finest: lower limit of the scale.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, finest, float(np.finfo(np.float32).tiny))
    zero_point = int(np.clip(round(-128 - low / scale), -128, 127))
    return Quantization(float(np.float32(scale)), zero_point)


def clamp_int8(clamp: Clamp, by: Quantization) -> tuple[int, int]:
    """The limits of an activation function as int8 values."""

    def nearest(real: float) -> int:
        return int(np.clip(np.round(real / by.scale) + by.zero_point, -128, 127))

    return nearest(clamp.minimum), nearest(clamp.maximum)


def find_grids(weight: FloatArray, finest: FloatArray) -> FloatArray | None:
    """The scale of each row if all rows are on grids already, else None. See `find_grid`.

    If one grid holds all weights, every row has its scale. Otherwise the weights were quantized
    per row: each row has its own grid of up to 128 steps, and all of them together are too many
    weights to be on grids by chance. Rows without weights have the largest scale.

    Args:
        weight: float [rows, columns].
        finest: float [rows], lower limits of the scales.

    Returns:
        float64 [rows], or None.
    """
    grid = find_grid(weight, float(finest.max()))
    if grid is not None:
        return np.full(len(weight), grid)
    grids, chance = np.zeros(len(weight)), 1.0
    for i, row in enumerate(weight):
        row_grid = find_grid(row, float(finest[i]), LARGEST_WEIGHT + 1)
        if row_grid is None and row.any():
            return None
        grids[i] = row_grid or 0.0
        values = len(np.unique(np.abs(row[row != 0])))
        chance *= min(1.0, LARGEST_WEIGHT * _CHANCE_ON_GRID ** (values - 1))
    return np.where(grids > 0, grids, grids.max()) if chance < _CHANCE_LIMIT else None


def find_grid(
    weight: FloatArray, finest: float = 0.0, largest: int = LARGEST_WEIGHT
) -> float | None:
    """The smallest scale of which all weights are multiples by up to `largest`, or None.

    Weights from a shared codebook, of few bits, or of quantization-aware training have one. An
    arbitrary weight is near a multiple with a probability of 2e-3. So weights of d different
    magnitudes are on one of the 127 grids tried by chance with a probability of
    127 * 2e-3**(d - 1): 2e-9 for d = 5. Fewer magnitudes may be on a grid by chance, but then they
    lose less by it than by rounding to int8.

    Args:
        weight: float, of any shape.
        finest: lower limit of the scale.
    """
    magnitudes = np.unique(np.abs(weight[weight != 0]))
    if len(magnitudes) == 0:
        return None
    smallest, greatest = float(magnitudes[0]), float(magnitudes[-1])
    finest = max(finest, greatest / (largest + _GRID_TOLERANCE))
    for steps in range(int(smallest / finest), 0, -1):
        multiples = magnitudes * (steps / smallest)
        if np.abs(multiples - np.round(multiples)).max() <= _GRID_TOLERANCE:
            return greatest / round(float(multiples[-1]))
    return None


def weight_scale(weight: FloatArray, finest: FloatArray) -> Float64Array:
    """The smallest scale per row with which its weights fit int8, but not below `finest`.

    A row without weights has the largest scale of the others, so that it needs no larger shift.

    Args:
        weight: float [rows, columns].
        finest: float [rows].
    """
    scale = np.abs(weight).max(axis=1) / LARGEST_WEIGHT
    widest = scale.max() if scale.max() > 0 else 1.0
    limited: Float64Array = np.maximum(np.where(scale > 0, scale, widest), finest)
    return limited


def narrow_bound(weight: FloatArray) -> FloatArray:
    """The smallest scale per row with which sums of its products can fit int16.

    It is enough if the weights are on grids; otherwise rounding may require a little more.

    Args:
        weight: float [rows, columns].
    """
    bound: FloatArray = np.abs(weight).sum(axis=1) / (NARROW_SUM + 0.5)
    return bound


def narrow_scale(weight: FloatArray) -> Float64Array:
    """A scale per row with which sums of its products fit int16; zeros if that loses too much.

    A larger scale makes no integer weight larger, so sums also fit with all larger scales. A row
    that was trained on a grid of few values keeps its grid.

    Args:
        weight: float [rows, columns].
    """
    scale = np.maximum(np.abs(weight).sum(axis=1) / NARROW_SUM, np.finfo(np.float32).tiny)
    for i, (row, finest) in enumerate(zip(weight, narrow_bound(weight), strict=True)):
        scale[i] = find_grid(row, float(finest)) or scale[i]
    while True:
        rounded = np.round(weight / scale[:, None])
        too_large = np.abs(rounded).sum(axis=1) > NARROW_SUM
        if not too_large.any():
            break
        scale[too_large] *= 1.01
    noise = np.square(weight - rounded * scale[:, None]).sum()
    if noise > _NARROW_NOISE * np.square(weight).sum():
        return np.zeros(len(weight))
    narrow: Float64Array = scale
    return narrow
