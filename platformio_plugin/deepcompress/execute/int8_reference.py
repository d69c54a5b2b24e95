"""Runs an IntegerGraph in numpy: the specification of the arithmetic.

The C equals this bit for bit: every operator, shape and encoding, on every CPU.
"""

from __future__ import annotations

import numpy as np

from deepcompress.ir.batch_layout import join, parts, split
from deepcompress.ir.graph import IntegerGraph, Quantization
from deepcompress.ops import OPERATORS


def run(graph: IntegerGraph, inputs: np.ndarray) -> np.ndarray:
    """int8 [samples, *output shape] for int8 inputs [samples, *input shape]; see `batches.py`."""
    values = (run_all(graph, part) for part in parts(graph, inputs))
    return np.concatenate([join(graph, graph.outputs, part, np.concatenate) for part in values])


def run_all(graph: IntegerGraph, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor's int8 value by name, each with the batch first."""
    values = split(graph, graph.inputs, inputs)
    for node in graph.nodes:
        operands = [values[name] for name in node.inputs]
        scales = [graph.quantization[name] for name in node.inputs]
        values[node.output] = OPERATORS[node.op].integer(node, scales, *operands)
    return values


def quantize_float(x: np.ndarray, by: Quantization) -> np.ndarray:
    """int8 of float32 inputs, in the float32 operations that `dc_quantize` in C makes.

    A division and not a multiplication by the reciprocal: an addition behind a product may be
    contracted into a fused multiply-add, and would then round differently from CPU to CPU.
    """
    steps = x.astype(np.float32) / np.float32(by.scale)
    low, high = np.float32(-128 - by.zero_point), np.float32(127 - by.zero_point)
    steps = np.where(steps > low, np.where(steps < high, steps, high), low)  # NaN becomes low
    return (np.floor(steps + np.float32(0.5)) + by.zero_point).astype(np.int8)


def quantize_inputs(x: np.ndarray, graph: IntegerGraph) -> np.ndarray:
    """int8 of float32 inputs [samples, *input shape], each by the scale of its tensor."""
    parts = split(graph, graph.inputs, x)
    quantized = {
        name: quantize_float(part, graph.quantization[name]) for name, part in parts.items()
    }
    return join(graph, graph.inputs, quantized, np.concatenate)


def quantize_bytes(x: np.ndarray, graph: IntegerGraph) -> np.ndarray:
    """int8 of raw uint8 inputs [samples, channels, ...]: (u * multiplier + offset) >> shift."""
    by = graph.byte_input
    if by is None:
        raise ValueError("this graph was quantized without a scaling for bytes")
    across = (1, -1) + (1,) * (x.ndim - 2) if len(by.multiplier) > 1 else (1,)
    scaled = x.astype(np.int32) * by.multiplier.reshape(across) + by.offset.reshape(across)
    return np.clip(scaled >> by.shift, -128, 127).astype(np.int8)


def dequantize(q: np.ndarray, by: Quantization) -> np.ndarray:
    """float32 of int8 outputs."""
    return (q.astype(np.float32) - by.zero_point) * np.float32(by.scale)
