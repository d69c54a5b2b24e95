"""Representative inputs: what the `.npz` holds, checked, and how raw bytes become inputs."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepcompress.errors import UserError, did_you_mean
from deepcompress.options import Options

SYNTHETIC_SAMPLES = 64
# Of images scaled to 0..1 no mean or std is above 1, and no network wants its inputs far from 0:
# what is more than this was of bytes.
_LARGEST_MEAN, _LARGEST_STD = 4, 2
_ROUNDING = 0.01  # steps of a byte that a float input may be beyond the first and the last


@dataclass(frozen=True)
class ByteScaling:
    """real = scale * (u - zero), float64, one of each for all channels or one a channel."""

    scale: np.ndarray
    zero: np.ndarray

    def real(self, images: np.ndarray) -> np.ndarray:
        """float32 model inputs of uint8 images [samples, channels, ...]."""
        across = (1, -1) + (1,) * (images.ndim - 2) if len(self.scale) > 1 else (1,)
        return ((images - self.zero.reshape(across)) * self.scale.reshape(across)).astype(
            np.float32
        )


@dataclass(frozen=True)
class Calibration:
    """What quantization observes.

    Attributes:
        inputs: float32 [samples, *input shape], as the network wants them.
        labels: int64 [samples], or None; where streams come in pieces, one a stream.
        byte_scaling: how raw bytes become inputs, or None where the model takes numbers only.
        images: the uint8 inputs, where the file holds such.
        synthetic: True where there is no data and the inputs are random.
        kind: what a report calls the samples.
        pieces: how many samples, one behind the other, are those of one stream.
    """

    inputs: np.ndarray
    labels: np.ndarray | None = None
    byte_scaling: ByteScaling | None = None
    images: np.ndarray | None = None
    synthetic: bool = False
    kind: str = "calibration"
    pieces: int = 1


def byte_scaling(options: Options) -> ByteScaling | None:
    """From the mean and std of the training, which are of images scaled to 0..1."""
    if options.input_mean is None and options.input_std is None:
        return None
    where = "options input_mean and input_std"
    if options.input_mean is None or options.input_std is None:
        given, lacks = ("mean", "std") if options.input_std is None else ("std", "mean")
        raise UserError(
            f"input_{given} is set, input_{lacks} is not",
            where,
            "Set both to what the training subtracted and divided by; where it did not, "
            "say input_mean = 0 or input_std = 1",
        )
    std = np.array(options.input_std, np.float64)
    mean = np.array(options.input_mean, np.float64)
    if (
        (std <= 0).any()
        or not np.isfinite([*mean, *std]).all()
        or len(mean) > 1 < len(std) != len(mean)
    ):
        raise UserError(
            f"mean {_listed(mean)} and std {_listed(std)} do not make a scaling",
            where,
            "Give one number or one a channel for each, every std above 0",
        )
    if (abs(mean) > _LARGEST_MEAN).any() or (std > _LARGEST_STD).any():
        raise UserError(
            f"mean {_listed(mean)} and std {_listed(std)} are those of images of 0..255, but "
            "images are scaled to 0..1 first",
            where,
            f"Divide both by 255: input_mean = {_listed(mean / 255)} and "
            f"input_std = {_listed(std / 255)}",
        )
    mean, std = np.broadcast_arrays(mean, std)
    return ByteScaling(scale=1 / (255 * std), zero=255 * mean)


def scaling_doubt(calibration: Calibration) -> str | None:
    """A warning where float inputs are not what bytes become by mean and std, or None."""
    scaling, inputs = calibration.byte_scaling, calibration.inputs
    if scaling is None or calibration.images is not None:
        return None
    by_channel = np.moveaxis(inputs, 1, -1).reshape(-1, inputs.shape[1])
    as_bytes = by_channel / scaling.scale + scaling.zero
    outside = np.mean((as_bytes < -_ROUNDING) | (as_bytes > 255 + _ROUNDING))
    lowest, highest = inputs.min(), inputs.max()
    low, high = (-scaling.zero * scaling.scale).min(), ((255 - scaling.zero) * scaling.scale).max()
    unscaled = low < lowest >= 0 and highest <= 1 < high  # every pixel brighter than the mean
    if not outside and not unscaled:
        return None
    lie = f"{100 * outside:.2g}% of its values lie outside" if outside else "they lie inside"
    return (
        f"the calibration's float inputs run from {lowest:.3g} to {highest:.3g}; with input_mean "
        f"and input_std, bytes become {low:.3g} to {high:.3g}, and {lie}. Are the inputs still "
        "0..1 or 0..255, or normalised by other numbers? Save them as the network wants them, or "
        "the images as uint8"
    )


def _listed(numbers: np.ndarray) -> str:
    return ",".join(f"{number:.4g}" for number in numbers)


def read_calibration(options: Options) -> Calibration | None:
    """The calibration file of the options, or None where none is named. Raises UserError.

    None too where it has no `inputs` but several arrays, which may be those of a network of as many
    inputs: `read_several` knows.
    """
    if options.calibration is None:
        return None
    path = Path(options.calibration)
    arrays = open_arrays(path, "calibration")
    if "inputs" not in arrays and len(set(arrays) - {"labels"}) > 1:
        return None
    scaling = byte_scaling(options)
    inputs, labels = read_arrays(arrays, path, "calibration")
    if inputs.dtype != np.uint8:
        return Calibration(inputs.astype(np.float32), labels, scaling)
    real = real_inputs(inputs, scaling, "calibration", path)
    return Calibration(real, labels, scaling, images=inputs)


def read_several(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Calibration:
    """A calibration file with an array for each input, by name, which are joined in that order.

    Raises:
        UserError: what is missing, or has another shape.
    """
    arrays, where = open_arrays(path, "calibration"), f"calibration file {path}"
    if len(shapes) == 1:
        read_arrays(arrays, path, "calibration")
    for name, shape in shapes.items():
        if name not in arrays:
            raise UserError(
                f"it has no array `{name}`{did_you_mean(name, arrays)}; it has {_keys(arrays)}",
                where,
                f"Save it with numpy.savez(path, {', '.join(f'{name}=...' for name in shapes)})",
            )
        _check_inputs(arrays[name], where, name)
        if len(shapes) > 1 and arrays[name].dtype == np.uint8:
            raise UserError(
                f"`{name}` holds bytes (uint8), whose scaling cannot be told for several inputs",
                where,
                "Save float32 as the network wants it",
            )
        samples = (len(arrays[next(iter(shapes))]), *shape)
        if arrays[name].shape != samples:
            raise UserError(
                f"`{name}` has the shape {list(arrays[name].shape)}, the model's input wants "
                f"{list(samples)}",
                where,
                "Save as many samples of each input, as the training fed them",
            )
    joined = [arrays[name].reshape(len(arrays[name]), -1).astype(np.float32) for name in shapes]
    labels = arrays.get("labels")
    _check_labels(labels, len(joined[0]), where)
    return Calibration(np.hstack(joined), labels)


def read_arrays(
    arrays: dict[str, np.ndarray], path: Path, option: str, *, prefix: str = ""
) -> tuple[np.ndarray, np.ndarray | None]:
    """The checked arrays `inputs`, float or uint8, and `labels`, if there are, of an .npz.

    Args:
        option: which names the file, for errors.
        prefix: of the arrays' names.
    """
    name = f"{prefix}inputs"
    if name not in arrays:
        raise UserError(
            f"it has no array `{name}`{did_you_mean(name, arrays)}; it has {_keys(arrays)}",
            f"{option} file {path}",
            f"Save it with numpy.savez(path, {prefix}inputs=..., {prefix}labels=...)",
        )
    inputs, labels = arrays[name], arrays.get(f"{prefix}labels")
    _check_inputs(inputs, f"{option} file {path}")
    _check_labels(labels, len(inputs), f"{option} file {path}")
    return inputs, labels


def real_inputs(
    inputs: np.ndarray, scaling: ByteScaling | None, option: str, path: Path
) -> np.ndarray:
    """float32 as the network wants them, of float or uint8 inputs [samples, ...].

    Args:
        option: which names the file, for errors.

    Raises:
        UserError: bytes, and not said what they stand for.
    """
    if inputs.dtype != np.uint8:
        return inputs.astype(np.float32)
    if scaling is None:
        raise UserError(
            "it holds bytes (uint8), but input_mean and input_std are not set, so that nothing "
            "says which numbers the network wants for them",
            f"{option} file {path}",
            "Set both to what the training subtracted and divided by, on images scaled to 0..1; "
            "if the network really was fed 0..255: input_mean = 0 and input_std = 0.00392157",
        )
    _check_channels(scaling, inputs.shape[1:], path)
    return scaling.real(inputs)


def synthetic_calibration(options: Options, input_shape: tuple[int, ...]) -> Calibration:
    """Random inputs for when there is no data: bytes 0..255 or standard normal numbers."""
    random = np.random.default_rng(0)
    shape = (SYNTHETIC_SAMPLES, *input_shape)
    scaling = byte_scaling(options)
    if scaling is None:
        return Calibration(random.standard_normal(shape).astype(np.float32), synthetic=True)
    _check_channels(scaling, input_shape, "the model")
    images = random.integers(0, 256, shape, dtype=np.uint8)
    return Calibration(scaling.real(images), None, scaling, images=images, synthetic=True)


def pieces_of_streams(calibration: Calibration, input_shape: tuple[int, ...]) -> Calibration:
    """Streams [streams, pieces, *input shape] as the samples they consist of; else as it is."""
    streams = calibration.inputs
    if streams.ndim != len(input_shape) + 2 or calibration.images is not None:
        return calibration
    inputs = streams.reshape(-1, *streams.shape[2:])
    return replace(calibration, inputs=inputs, pieces=streams.shape[1])


def check_shape(calibration: Calibration, input_shape: tuple[int, ...], path: str | None) -> None:
    """Raises UserError where the samples do not have the model's input shape."""
    found = calibration.inputs.shape[1:]
    if found == input_shape:
        return
    wanted = f"[samples, {', '.join(map(str, input_shape))}]"
    lacks_channels = (1, *found) == input_shape
    raise UserError(
        f"its samples have the shape {'x'.join(map(str, found))}, the model's input is "
        f"{'x'.join(map(str, input_shape))}",
        f"calibration file {path}",
        f"It lacks the axis of channels: save `inputs[:, None]`, which is {wanted}"
        if lacks_channels
        else f"Save `inputs` as {wanted}, as the training fed them",
    )


def open_arrays(path: Path, option: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz; those of a plain .npy are `inputs`. Raises UserError."""
    if not path.is_file():
        neighbours = [p.name for p in path.parent.glob("*.npz")] if path.parent.is_dir() else []
        raise UserError(
            f"there is no such file{did_you_mean(path.name, neighbours)}",
            f"{option} file {path}",
            f"Name an .npz in the option {option}, relative to the project",
        )
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"inputs": loaded}
        return {key: loaded[key] for key in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"it cannot be read as an .npz of plain arrays ({str(error).splitlines()[0]})",
            f"{option} file {path}",
            "Save it with numpy.savez(path, inputs=..., labels=...)",
        ) from None


def _keys(arrays: dict[str, np.ndarray]) -> str:
    return ", ".join(f"{key} {list(array.shape)}" for key, array in arrays.items()) or "nothing"


def _check_inputs(inputs: np.ndarray, where: str, name: str = "inputs") -> None:
    if inputs.ndim < 2 or len(inputs) == 0:
        raise UserError(
            f"`{name}` has the shape {list(inputs.shape)}, which holds no samples",
            where,
            "Save [samples, channels, height, width]; a hundred samples are enough",
        )
    if inputs.dtype != np.uint8 and inputs.dtype.kind != "f":
        raise UserError(
            f"`{name}` is {inputs.dtype}",
            where,
            "Save float32 as the network wants it, or uint8 images",
        )
    if inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
        bad = np.argwhere(~np.isfinite(inputs))[0]
        raise UserError(
            f"`{name}` holds NaN or infinity, first in sample {bad[0]}",
            where,
            "Remove these samples: the ranges of the int8 network are measured on this data",
        )


def _check_labels(labels: np.ndarray | None, samples: int, where: str) -> None:
    if labels is None:
        return
    if labels.shape != (samples,) or labels.dtype.kind not in "iu":
        raise UserError(
            f"`labels` is {labels.dtype} {list(labels.shape)} for {samples} inputs",
            where,
            "Save one whole number an input: the index of its class",
        )
    if labels.min() < 0:
        raise UserError(
            f"`labels` holds {labels.min()}, first in sample {np.argmax(labels < 0)}",
            where,
            "A label is the index of an output, the first is 0",
        )


def _check_channels(scaling: ByteScaling, shape: tuple[int, ...], where: Path | str) -> None:
    if len(scaling.scale) not in (1, shape[0]):
        raise UserError(
            f"input_mean or input_std has {len(scaling.scale)} numbers for {shape[0]} channels",
            f"{where}",
            "Give one number, or one a channel",
        )
