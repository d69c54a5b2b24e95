"""Converts an IntegerGraph to TFLite's form, which CMSIS-NN takes; computes its outputs in numpy.

The form is a list of layers, activations [height][width][channels], and separate zero points.

Weights, scales and zero points are those of our quantization, so that both sides compute the same
network. TFLite rounds multipliers and products differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from deepcompress.backend.c_names import number_lines
from deepcompress.backend.emit_c import C_TYPES
from deepcompress.ir.graph import IntegerGraph, WeightedNode

Shape = tuple[int, int, int]  # height, width, channels


@dataclass(frozen=True)
class Layer:
    """Attributes are the fields of `layer` in layer.h; `kind` is the kernel's name after peer_.

    A linear layer has one multiplier, as required by CMSIS-NN 4; ours has one per channel.
    """

    kind: str
    input: Shape
    output: Shape
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    input_offset: int = 0
    output_offset: int = 0
    minimum: int = -128
    maximum: int = 127
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    multiplier: np.ndarray | None = None
    shift: np.ndarray | None = None


def tflite_layers(graph: IntegerGraph) -> tuple[Layer, ...]:
    """The layers of a chain of convolutions, poolings and linear layers."""
    layers: list[Layer] = []
    for node in graph.nodes:
        zero_point = graph.quantization[node.inputs[0]].zero_point
        shape = _hwc(graph.tensors[node.inputs[0]].shape)
        layers += _linear(node, shape, zero_point) if node.op == "linear" else ()
        layers += _conv2d(node, shape, zero_point) if node.op == "conv2d" else ()
    return tuple(layers)


def _hwc(shape: tuple[int, ...]) -> Shape:
    return (shape[1], shape[2], shape[0]) if len(shape) == 3 else (1, 1, shape[0])


def _linear(node: WeightedNode, shape: Shape, zero_point: int) -> list[Layer]:
    height, width, channels = shape
    weight = node.weight.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
    quantized = _quantized(node, zero_point)
    common = np.argmax(node.multiplier)
    quantized |= {key: quantized[key][common : common + 1] for key in ("multiplier", "shift")}
    output = (1, 1, len(weight))
    return [Layer("linear", shape, output, (height, width), weight=weight, **quantized)]


def _conv2d(node: WeightedNode, shape: Shape, zero_point: int) -> list[Layer]:
    a = node.attributes
    weight = node.weight.reshape(a.out_channels, -1, *a.kernel).transpose(0, 2, 3, 1)
    kind = "convolution"
    if a.groups > 1:
        kind, weight = "depthwise", weight.transpose(3, 1, 2, 0)
    output = (*a.convolved(*shape[:2]), a.out_channels)
    convolution = Layer(
        kind,
        shape,
        output,
        a.kernel,
        a.stride,
        a.padding[:2],
        weight=weight,
        **_quantized(node, zero_point),
    )
    if a.pool is None:
        return [convolution]
    pooled = (*a.pool.pooled(*output[:2]), a.out_channels)
    return [convolution, Layer("max_pool", output, pooled, a.pool.kernel, a.pool.stride)]


def _quantized(node: WeightedNode, zero_point: int) -> dict:
    """Our requantization, q = acc * multiplier >> shift, in TFLite's form; the bias is unfolded."""
    fraction, exponent = np.frexp(node.multiplier / 2.0**node.requantize.shift)
    weight = node.weight.reshape(len(node.weight), -1).astype(np.int64)
    return {
        "input_offset": -zero_point,
        "output_offset": node.requantize.zero_point,
        "minimum": node.requantize.minimum,
        "maximum": node.requantize.maximum,
        "bias": (node.bias + zero_point * weight.sum(axis=1)).astype(np.int32),
        "multiplier": np.minimum(np.round(fraction * 2.0**31), 2**31 - 1).astype(np.int32),
        "shift": exponent.astype(np.int32),
    }


# --- in numpy


def run_tflite(layers: Sequence[Layer], inputs: np.ndarray) -> np.ndarray:
    """The layers' outputs for int8 [height, width, channels], bit-exact with TFLite's kernels."""
    x = inputs
    for layer in layers:
        x = _pool(layer, x) if layer.kind == "max_pool" else _weighted(layer, x)
    return x


def _windows(layer: Layer, x: np.ndarray) -> np.ndarray:
    """[out height, out width, channels, kernel height, kernel width]; x is padded with zeros."""
    after = [
        (out - 1) * stride + kernel - size - before
        for out, stride, kernel, size, before in zip(
            layer.output, layer.stride, layer.kernel, layer.input, layer.padding, strict=False
        )
    ]
    around = [(p, max(a, 0)) for p, a in zip(layer.padding, after, strict=True)]
    x = np.pad(x, (*around, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, layer.kernel, axis=(0, 1))
    return windows[:: layer.stride[0], :: layer.stride[1]][: layer.output[0], : layer.output[1]]


def _pool(layer: Layer, x: np.ndarray) -> np.ndarray:
    return _windows(layer, x).max(axis=(3, 4))


def _weighted(layer: Layer, x: np.ndarray) -> np.ndarray:
    windows = _windows(layer, x.reshape(layer.input).astype(np.int64) + layer.input_offset)
    sums = "yxchw,ohwc->yxo" if layer.kind != "depthwise" else "yxchw,ohwc->yxc"
    accumulator = np.einsum(sums, windows, layer.weight.astype(np.int64)) + layer.bias
    scaled = _requantize(accumulator, layer.multiplier.astype(np.int64), layer.shift)
    return np.clip(scaled + layer.output_offset, layer.minimum, layer.maximum).astype(np.int8)


def _requantize(x: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Rounds twice: half up after the product, then half away from zero after the shift."""
    right = np.maximum(-shift, 0)
    product = ((x << np.maximum(shift, 0)) * multiplier + (1 << 30)) >> 31
    mask = (1 << right) - 1
    threshold = (mask >> 1) + (product < 0)
    return (product >> right) + ((product & mask) > threshold)


# --- in C


def c_text(layers: Sequence[Layer]) -> str:
    """network.c: peer_infer(), which calls a kernel of layer.h for each layer."""
    size = max(int(np.prod(layer.output)) for layer in layers)
    parts = ['#include "layer.h"', "", f"static int8_t even[{size}], odd[{size}];"]
    parts += [_constants(i, layer) for i, layer in enumerate(layers)]
    parts += ["const void *peer_infer(const void *input) {"]
    buffers = ["input", *(("even", "odd")[i % 2] for i in range(len(layers)))]
    for i, layer in enumerate(layers):
        parts.append(f"    peer_{layer.kind}(&layer_{i}, {buffers[i]}, {buffers[i + 1]});")
    return "\n".join([*parts, f"    return {buffers[-1]};", "}", ""])


def _constants(index: int, layer: Layer) -> str:
    arrays = {
        name: (f"{name}_{index}", values)
        for name in ("weight", "bias", "multiplier", "shift")
        if (values := getattr(layer, name)) is not None
    }
    texts = [
        f"static const {C_TYPES[values.dtype]} {name}[] = {{\n{_lines(values)}\n}};"
        for name, values in arrays.values()
    ]
    fields = {
        name: f"{{{', '.join(map(str, getattr(layer, name)))}}}"
        for name in ("input", "output", "kernel", "stride", "padding")
    }
    numbers = ("input_offset", "output_offset", "minimum", "maximum")
    fields |= {name: str(getattr(layer, name)) for name in numbers}
    fields |= {name: array for name, (array, _) in arrays.items()}
    body = ",\n".join(f"    .{name} = {value}" for name, value in fields.items())
    return "\n".join([*texts, f"static const layer layer_{index} = {{\n{body}}};"])


def _lines(values: np.ndarray) -> str:
    return "\n".join(number_lines(values))
