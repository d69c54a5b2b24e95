"""Runs an IntegerGraph in numpy: the specification of the integer arithmetic.

The generated C is bit-exact to it, for every operator, shape, encoding and CPU.
"""

from __future__ import annotations

import numpy as np

from deepcompress.arith.requantize import saturate
from deepcompress.ir.arrays import Float32Array, FloatArray, Int8Array, UInt8Array
from deepcompress.ir.batch_layout import join, parts, split
from deepcompress.ir.graph import IntegerGraph, Quantization
from deepcompress.ops import OPERATORS


def run(graph: IntegerGraph, inputs: Int8Array) -> Int8Array:
    """The network's outputs.

    Args:
        inputs: int8 [samples, *input shape]; for several inputs see `ir/batch_layout.py`.

    Returns:
        int8 [samples, *output shape].
    """
    values = (run_all(graph, part) for part in parts(graph, inputs))
    return np.concatenate([join(graph, graph.outputs, part, np.concatenate) for part in values])


def run_all(graph: IntegerGraph, inputs: Int8Array) -> dict[str, Int8Array]:
    """The value of every tensor by its name, int8 [samples, *shape]."""
    values = split(graph, graph.inputs, inputs)
    for node in graph.nodes:
        operands = [values[name] for name in node.inputs]
        quantization = [graph.quantization[name] for name in node.inputs]
        values[node.output] = OPERATORS[node.op].integer(node, quantization, *operands)
    return values


def quantize_float(x: FloatArray, by: Quantization) -> Int8Array:
    """int8 values of float32 inputs, with the same float32 operations as `dc_quantize` in C.

    Values outside of the range, such as infinities, become the nearest int8. NaN becomes -128.

    It divides by the scale and does not multiply by its reciprocal: compilers for some CPUs
    contract a multiplication and an addition into one fused operation, which rounds differently.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # infinities and NaN are valid here
        steps = x.astype(np.float32) / np.float32(by.scale)
    low, high = np.float32(-128 - by.zero_point), np.float32(127 - by.zero_point)
    steps = np.where(steps > low, np.where(steps < high, steps, high), low)  # NaN becomes low
    quantized: Int8Array = (np.floor(steps + np.float32(0.5)) + by.zero_point).astype(np.int8)
    return quantized


def quantize_inputs(x: FloatArray, graph: IntegerGraph) -> Int8Array:
    """int8 values of float32 inputs [samples, *input shape], each with its tensor's scale."""
    quantized = {
        name: quantize_float(part, graph.quantization[name])
        for name, part in split(graph, graph.inputs, x).items()
    }
    return join(graph, graph.inputs, quantized, np.concatenate)


def quantize_bytes(x: UInt8Array, graph: IntegerGraph) -> Int8Array:
    """int8 values of raw uint8 inputs [samples, channels, ...]: (u * multiplier + offset) >> shift.

    Raises:
        ValueError: the graph was quantized without a scaling of bytes.
    """
    by = graph.byte_input
    if by is None:
        raise ValueError("this graph was quantized without a scaling for bytes")
    across = (1, -1) + (1,) * (x.ndim - 2) if len(by.multiplier) > 1 else (1,)
    scaled = x.astype(np.int32) * by.multiplier.reshape(across) + by.offset.reshape(across)
    return saturate(scaled >> by.shift, (-128, 127))


def dequantize(q: Int8Array, by: Quantization) -> Float32Array:
    """float32 values of int8 outputs."""
    real: Float32Array = (q.astype(np.float32) - by.zero_point) * np.float32(by.scale)
    return real
