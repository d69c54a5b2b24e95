"""Representative inputs, on which the ranges of the int8 network are measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepcompress.data.byte_scaling import ByteScaling, byte_scaling, real_inputs
from deepcompress.data.npz import (
    array_named,
    check_inputs,
    check_labels,
    open_arrays,
    read_arrays,
)
from deepcompress.errors import UserError
from deepcompress.ir.arrays import AnyArray, Float32Array, UInt8Array
from deepcompress.options import Options


@dataclass(frozen=True)
class Calibration:
    """Inputs with what is known about them.

    Attributes:
        inputs: float32 [samples, *input shape], as the network wants them.
        labels: int [samples], or [streams] if samples are chunks of streams, or None.
        byte_scaling: how raw bytes become inputs, or None if the model takes only numbers.
        images: uint8 [samples, *input shape], if the file holds such.
        synthetic: whether the inputs are random, because there is no data.
        kind: how a report calls the samples.
        chunks: number of consecutive samples that are one stream.
    """

    inputs: Float32Array
    labels: AnyArray | None = None
    byte_scaling: ByteScaling | None = None
    images: UInt8Array | None = None
    synthetic: bool = False
    kind: str = "calibration"
    chunks: int = 1


def read_calibration(options: Options) -> Calibration | None:
    """The calibration file of the options for a network of one input; None if none is named.

    Also None if the file has no `inputs` but several arrays: these may be one per input of a
    network, which `read_calibration_per_input` reads.

    Raises:
        UserError: the file cannot be read, or an array is not as it should be.
    """
    if options.calibration is None:
        return None
    path = Path(options.calibration)
    arrays = open_arrays(path, "calibration")
    if "inputs" not in arrays and len(set(arrays) - {"labels"}) > 1:
        return None
    scaling = byte_scaling(options)
    inputs, labels = read_arrays(arrays, path, "calibration")
    real = real_inputs(inputs, scaling, "calibration", path)
    images = inputs if inputs.dtype == np.uint8 else None
    return Calibration(real, labels, scaling, images=images)


def read_calibration_per_input(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Calibration:
    """A calibration file with one array per input, by name; samples are joined in that order.

    Args:
        shapes: of the network's inputs, without the batch.

    Raises:
        UserError: an array is missing, or has another shape than its input.
    """
    arrays, where = open_arrays(path, "calibration"), f"calibration file {path}"
    if len(shapes) == 1:
        read_arrays(arrays, path, "calibration")
    example = ", ".join(f"{name}=..." for name in shapes)
    for name, shape in shapes.items():
        array = array_named(name, arrays, where, example)
        check_inputs(array, where, name)
        if len(shapes) > 1 and array.dtype == np.uint8:
            raise UserError(
                f"`{name}` holds bytes (uint8), which cannot be scaled for several inputs",
                where,
                "Save float32 as the network wants it",
            )
        expected = (len(arrays[next(iter(shapes))]), *shape)
        if array.shape != expected:
            raise UserError(
                f"`{name}` has the shape {list(array.shape)}, the model's input wants "
                f"{list(expected)}",
                where,
                "Save the same number of samples for each input, as the training fed them",
            )
    flat = [arrays[name].reshape(len(arrays[name]), -1).astype(np.float32) for name in shapes]
    labels = arrays.get("labels")
    check_labels(labels, len(flat[0]), where)
    return Calibration(np.hstack(flat), labels)


def split_streams(calibration: Calibration, input_shape: tuple[int, ...]) -> Calibration:
    """Streams [streams, chunks, *input shape] as samples [streams * chunks, *input shape].

    Inputs of any other shape stay as they are.
    """
    streams = calibration.inputs
    if streams.ndim != len(input_shape) + 2 or calibration.images is not None:
        return calibration
    inputs = streams.reshape(-1, *streams.shape[2:])
    return replace(calibration, inputs=inputs, chunks=streams.shape[1])


def check_shape(calibration: Calibration, input_shape: tuple[int, ...], path: str | None) -> None:
    """Raises UserError unless the samples have the model's input shape."""
    shape = calibration.inputs.shape[1:]
    if shape == input_shape:
        return
    expected = f"[samples, {', '.join(map(str, input_shape))}]"
    lacks_channels = (1, *shape) == input_shape
    raise UserError(
        f"its samples have the shape {'x'.join(map(str, shape))}, the model's input is "
        f"{'x'.join(map(str, input_shape))}",
        f"calibration file {path}",
        f"It lacks the axis of channels: save `inputs[:, None]`, which is {expected}"
        if lacks_channels
        else f"Save `inputs` as {expected}, as the training fed them",
    )
