"""How raw bytes become inputs of the network: the mean and std that the training used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepcompress.errors import UserError, setting
from deepcompress.ir.arrays import AnyArray, Float32Array, Float64Array
from deepcompress.options import Options

# Images scaled to 0..1 have no mean or std above 1, and no network's inputs are far from 0.
# Larger values are those of images of 0..255.
_LARGEST_MEAN, _LARGEST_STD = 4, 2


@dataclass(frozen=True)
class ByteScaling:
    """real = scale * (u - zero), float64: one scale and zero in all, or one per channel."""

    scale: Float64Array
    zero: Float64Array

    def real(self, images: AnyArray) -> Float32Array:
        """float32 model inputs of uint8 images [samples, channels, ...]."""
        across = (1, -1) + (1,) * (images.ndim - 2) if len(self.scale) > 1 else (1,)
        real = (images - self.zero.reshape(across)) * self.scale.reshape(across)
        return np.asarray(real, np.float32)


def byte_scaling(options: Options) -> ByteScaling | None:
    """The scaling of the options `input_mean` and `input_std`, or None if neither is set.

    Both are of images scaled to 0..1, as training frameworks define them.

    Raises:
        UserError: only one of them is set, or they do not make a scaling.
    """
    if options.input_mean is None and options.input_std is None:
        return None
    where = f"options {setting('input_mean')} and {setting('input_std')}"
    if options.input_mean is None or options.input_std is None:
        names = ("input_mean", "input_std")
        present, missing = names if options.input_std is None else names[::-1]
        raise UserError(
            f"{setting(present)} is set, {setting(missing)} is not",
            where,
            "Set both to what the training subtracted and divided by; where it did not, "
            f"say {setting('input_mean', 0)} or {setting('input_std', 1)}",
        )
    std = np.array(options.input_std, np.float64)
    mean = np.array(options.input_mean, np.float64)
    if not _are_usable(mean, std):
        raise UserError(
            f"mean {_listed(mean)} and std {_listed(std)} do not make a scaling",
            where,
            "Give one number or one per channel for each, every std above 0",
        )
    if (abs(mean) > _LARGEST_MEAN).any() or (std > _LARGEST_STD).any():
        raise UserError(
            f"mean {_listed(mean)} and std {_listed(std)} are those of images of 0..255, but "
            "images are scaled to 0..1 first",
            where,
            f"Divide both by 255: {setting('input_mean', _listed(mean / 255))} and "
            f"{setting('input_std', _listed(std / 255))}",
        )
    mean, std = np.broadcast_arrays(mean, std)
    return ByteScaling(scale=1 / (255 * std), zero=255 * mean)


def _are_usable(mean: Float64Array, std: Float64Array) -> bool:
    are_finite = bool(np.isfinite([*mean, *std]).all())
    have_one_length = len(mean) == 1 or len(std) == 1 or len(mean) == len(std)
    return are_finite and have_one_length and not (std <= 0).any()


def _listed(numbers: Float64Array) -> str:
    return ",".join(f"{number:.4g}" for number in numbers)


def real_inputs(
    inputs: AnyArray, scaling: ByteScaling | None, option: str, path: Path
) -> Float32Array:
    """float32 [samples, ...] as the network wants them, of float or uint8 inputs.

    Args:
        option: that names the file, for errors.

    Raises:
        UserError: the inputs are bytes, and there is no scaling or one for other channels.
    """
    if inputs.dtype != np.uint8:
        return inputs.astype(np.float32)
    if scaling is None:
        raise UserError(
            f"it holds bytes (uint8), but {setting('input_mean')} and {setting('input_std')} are "
            "not set, so that nothing says which numbers the network wants for them",
            f"{option} file {path}",
            "Set both to what the training subtracted and divided by, on images scaled to 0..1; "
            f"if the network really was fed 0..255: {setting('input_mean', 0)} and "
            f"{setting('input_std', 0.00392157)}",
        )
    check_channels(scaling, inputs.shape[1:], path)
    return scaling.real(inputs)


def check_channels(scaling: ByteScaling, shape: tuple[int, ...], where: Path | str) -> None:
    """Raises UserError unless a scaling fits inputs [channels, ...] of this shape."""
    if len(scaling.scale) not in (1, shape[0]):
        raise UserError(
            f"{setting('input_mean')} or {setting('input_std')} has {len(scaling.scale)} numbers "
            f"for {shape[0]} channels",
            f"{where}",
            "Give one number, or one per channel",
        )
