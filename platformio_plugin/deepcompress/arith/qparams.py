"""From real numbers to the scale, and the zero point, by which they become int8."""

from __future__ import annotations

import numpy as np

from deepcompress.ir.graph import Clamp, Quantization

Range = tuple[float, float]

LARGEST_WEIGHT = 127
# Magnitudes of weights that add up to this give products with any int8 whose sum fits int16.
NARROW_SUM = (2**15 - 1) // 128
# What narrow weights may lose: noise power to signal power, 24 dB.
_NARROW_NOISE = 2.0**-8
# How far from a multiple of the scale, in scales, weights of a grid may lie: float32's own errors
# are up to 1e-5, and rounding to int8 moves other weights by up to 0.5.
_GRID_TOLERANCE = 1e-3
# The probability that a random weight does, and that with which a layer is not taken for random.
_ON_GRID = 2 * _GRID_TOLERANCE
_CERTAIN = 1e-8


def affine(low: float, high: float, *, finest: float = 0.0) -> Quantization:
    """256 steps from low to high; zero is one of them. No step is finer than `finest`."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, finest, float(np.finfo(np.float32).tiny))
    zero_point = int(np.clip(round(-128 - low / scale), -128, 127))
    return Quantization(float(np.float32(scale)), zero_point)


def clamp_int8(clamp: Clamp, by: Quantization) -> tuple[int, int]:
    """The limits of an activation function as int8 values."""

    def nearest(real: float) -> int:
        return int(np.clip(np.round(real / by.scale) + by.zero_point, -128, 127))

    return nearest(clamp.minimum), nearest(clamp.maximum)


def find_grids(weight: np.ndarray, least: np.ndarray) -> np.ndarray | None:
    """Of weight [rows, k] the scale of each row, where all lie on grids already, or None.

    One for all rows if there is one. Else the weights were quantized row by row: each has its own,
    by up to 128, and together they are too many to be there by chance. A row without weights takes
    the widest. None is finer than `least` [rows]. See `find_grid`.
    """
    grid = find_grid(weight, float(least.max()))
    if grid is not None:
        return np.full(len(weight), grid)
    grids, chance = np.zeros(len(weight)), 1.0
    for i, row in enumerate(weight):
        found = find_grid(row, float(least[i]), LARGEST_WEIGHT + 1)
        if found is None and row.any():
            return None
        grids[i] = found or 0.0
        chance *= min(1.0, LARGEST_WEIGHT * _ON_GRID ** (len(np.unique(np.abs(row[row != 0]))) - 1))
    return np.where(grids > 0, grids, grids.max()) if chance < _CERTAIN else None


def find_grid(
    weight: np.ndarray, least: float = 0.0, largest: int = LARGEST_WEIGHT
) -> float | None:
    """The scale of which all weights are multiples by up to `largest`, or None.

    It is the finest, but not below `least`. Weights of a shared codebook, of few bits or of
    quantization-aware training have one. A random weight lies near enough to a multiple with a
    probability of 2e-3, so that weights of d magnitudes pass by chance, with one of the 127 scales
    tried, with 127 * 2e-3**(d - 1): 2e-9 for five. Fewer may pass by chance, and lose less by it
    than by rounding to int8.
    """
    magnitudes = np.unique(np.abs(weight[weight != 0]))
    if len(magnitudes) == 0:
        return None
    smallest, greatest = float(magnitudes[0]), float(magnitudes[-1])
    finest = max(least, greatest / (largest + _GRID_TOLERANCE))
    for steps in range(int(smallest / finest), 0, -1):
        multiples = magnitudes * (steps / smallest)
        if np.abs(multiples - np.round(multiples)).max() <= _GRID_TOLERANCE:
            return greatest / round(multiples[-1])
    return None


def weight_scale(weight: np.ndarray, least: np.ndarray) -> np.ndarray:
    """One a row of weight [rows, k], the finest that holds its weights, but not below `least`.

    A row without weights takes the widest scale of the others, so that it asks for no finer shift.
    """
    scale = np.abs(weight).max(axis=1) / LARGEST_WEIGHT
    widest = scale.max() if scale.max() > 0 else 1.0
    return np.maximum(np.where(scale > 0, scale, widest), least)


def narrow_bound(weight: np.ndarray) -> np.ndarray:
    """Of weight [rows, k] the finest scales with which sums of each row's products fit int16, if
    it lies on grids; else rounding may ask for a little more."""
    return np.abs(weight).sum(axis=1) / (NARROW_SUM + 0.5)


def narrow_scale(weight: np.ndarray) -> np.ndarray:
    """Scales of which the sums of each row's products fit int16; zeros where that loses too much.

    A coarser scale makes no integer weight larger, so the bound holds for all above these, too.
    A row that was trained on a grid of few values keeps it.
    """
    scale = np.maximum(np.abs(weight).sum(axis=1) / NARROW_SUM, np.finfo(np.float32).tiny)
    for i, (row, finest) in enumerate(zip(weight, narrow_bound(weight), strict=True)):
        scale[i] = find_grid(row, finest) or scale[i]
    while True:
        rounded = np.round(weight / scale[:, None])
        over = np.abs(rounded).sum(axis=1) > NARROW_SUM
        if not over.any():
            break
        scale[over] *= 1.01
    noise = np.square(weight - rounded * scale[:, None]).sum()
    return scale if noise <= _NARROW_NOISE * np.square(weight).sum() else np.zeros(len(weight))
