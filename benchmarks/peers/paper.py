"""The paper's sparse int8 loops (arXiv 2103.15972), re-implemented: delta code, float sums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from deepcompress.backend.atomic_write import atomic_write
from deepcompress.backend.c_names import c_float, number_lines
from deepcompress.backend.emit_c import C_TYPES
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.execute.int8_reference import dequantize
from deepcompress.ir.graph import Node, Quantization
from measuring import Measured, measure_peer
from workloads import Built

HERE = Path(__file__).resolve().parent
FARTHEST = 255
TOLERATED = 0.1  # of the largest score: weights have one scale per layer, and rounding is downwards


def measure(built: Built, *, cpu: str, folder: Path) -> Measured:
    """Measures one inference of LeNet-5; its scores are close to those of the float network."""
    atomic_write({"network.c": c_text(built)}, folder)
    outputs = forward_numpy(built.pruned, built.sample)[0]
    measured = measure_peer(
        [folder / "network.c", HERE / "paper.c"],
        built.inputs,
        outputs.size,
        cpu=cpu,
        folder=folder,
        flags=[f"-I{HERE}"],
    )
    by = built.integer.quantization[built.integer.outputs[0]]
    scores = dequantize(np.frombuffer(measured.output, np.int8), by)
    if np.abs(scores - outputs).max() > TOLERATED * np.abs(outputs).max():
        raise AssertionError(f"the paper's loops answer {scores} instead of {outputs}: {folder}")
    return measured


def c_text(built: Built) -> str:
    """network.c: one table per layer, and peer_infer()."""
    graph, scales = built.pruned, built.integer.quantization
    size = max(tensor.size for tensor in graph.tensors.values())
    parts = ['#include "paper.h"', "", f"static int8_t even[{size}], odd[{size}];"]
    calls, buffers = [], ["input", *("even" if i % 2 == 0 else "odd" for i in range(9))]
    for i, node in enumerate(graph.nodes):
        before, after = scales[node.inputs[0]], scales[node.output]
        parts += [_weights(i, node)]
        if node.op == "conv2d":
            kind, function, fields = "convolution", "convolve", _convolution(node, built)
        else:
            kind, function, fields = "linear", "connect", _linear(node)
        fields += [_braces(before), _braces(after), f"weights_{i}"]
        parts.append(f"static const paper_{kind} layer_{i} = {{{', '.join(fields)}}};")
        calls.append(f"    paper_{function}(&layer_{i}, {buffers[i]}, {buffers[i + 1]});")
    parts += ["const void *peer_infer(const void *input) {", *calls]
    return "\n".join([*parts, f"    return {buffers[len(calls)]};", "}", ""])


def _convolution(node: Node, built: Built) -> list[str]:
    a, tensors = node.attributes, built.pruned.tensors
    in_size, out_size = (tensors[name].shape[1] for name in (node.inputs[0], node.output))
    numbers = (a.in_channels, in_size, a.out_channels, out_size, a.kernel[0], a.pool.kernel[0])
    return list(map(str, numbers))


def _linear(node: Node) -> list[str]:
    relu = int(node.clamp.minimum == 0.0)
    return [str(node.attributes.in_features), str(node.attributes.out_features), str(relu)]


def _braces(by: Quantization) -> str:
    return f"{{{c_float(by.scale)}, {by.zero_point}}}"


def _weights(index: int, node: Node) -> str:
    weight = node.parameters["weight"]
    scale = float(np.abs(weight).max()) / 127
    delta, value = delta_coded(np.round(weight / scale).astype(np.int8).ravel())
    bias = ", ".join(c_float(float(b)) for b in node.parameters["bias"])
    arrays = (("delta", delta), ("value", value))
    return "\n".join(
        [
            *(
                f"static const {C_TYPES[array.dtype]} {name}_{index}[] = {{\n"
                + "\n".join(number_lines(array))
                + "\n};"
                for name, array in arrays
            ),
            f"static const float bias_{index}[] = {{{bias}}};",
            f"#define weights_{index} {{delta_{index}, value_{index}, bias_{index}, "
            f"{c_float(scale)}}}",
        ]
    )


def delta_coded(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint8 distances and int8 values of the non-zero weights. A distance that does not fit in a
    byte is split by values of 0; so is the distance after the last weight."""
    deltas, values, place = [], [], 0
    for at in [*np.flatnonzero(weights), len(weights)]:
        steps, rest = divmod(int(at) - place, FARTHEST)
        deltas += [FARTHEST] * steps + [rest]
        values += [0] * steps + [int(weights[at]) if at < len(weights) else 0]
        place = int(at)
    return np.array(deltas, np.uint8), np.array(values, np.int8)
