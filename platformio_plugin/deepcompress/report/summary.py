"""The report of a compiled model: JSON of a stable schema (below), and a table for the terminal.

    {"schema": 1, "name", "version", "source", "cpu",
     "layers": [{"name", "function", "describe", "input_shape", "output_shape", "weights",
                 "nonzeros", "encoding", "flash_bytes", "weight_bytes", "constant_bytes",
                 "entropy_bytes", "code_bytes", "macs", "dense_macs", "cycles"}],
     "parameters": {"count", "float_bytes", "nonzeros", "weight_bytes", "constant_bytes",
                    "entropy_bytes"},
     "flash": {"weights_bytes", "code_bytes", "golden_bytes", "total_bytes", "limit_bytes"},
     "ram": {"arena_bytes", "stack_bytes", "total_bytes", "limit_bytes"},
     "cycles", "clock_hz": null | number,
     "accuracy": null | {"kind", "samples", "float_percent", "int8_percent", "agreement_percent"},
     "warnings": [str]}

`flash_bytes` of a layer is `weight_bytes` (values, indices, codebooks) + `constant_bytes` (biases,
multipliers, tables of functions); the sum over all layers is `weights_bytes` of flash.
`entropy_bytes` is the least `weight_bytes` of a code that encodes each int8 weight, zeros included,
on its own. Cycles and code bytes are estimates of the kernels; weights, arena and accuracy are
exact. `report/html.py` makes a page of the report, to which a profile may add measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepcompress import __version__
from deepcompress.backend.c_names import layer_function
from deepcompress.backend.emit_c import all_arrays, names_in_c, shared_weights
from deepcompress.backend.plan import Plan, Step
from deepcompress.data.calibration import Calibration
from deepcompress.errors import draw_warnings
from deepcompress.ir.arrays import AnyArray, Int8Array, Int64Array
from deepcompress.ir.graph import WeightedNode
from deepcompress.ops import OPERATORS
from deepcompress.options import Target
from deepcompress.report.html import duration, share
from deepcompress.report.text_table import columns

SCHEMA = 1


@dataclass(frozen=True)
class Accuracy:
    """Percent of samples: right in float, right in int8, and with the same class in both.

    Attributes:
        kind: of the samples, "calibration" or "validation".
    """

    kind: str
    samples: int
    float_percent: float | None
    int8_percent: float | None
    agreement_percent: float


def summarize(
    plan: Plan,
    *,
    source: str,
    target: Target,
    accuracy: Accuracy | None,
    golden_bytes: int = 0,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """The report as a JSON value."""
    shared = shared_weights(plan)
    names = names_in_c(plan)
    layers = [
        _layer_row(
            step,
            function=layer_function(plan.integer.name, names[step.node.name]),
            tied=step.node.name in shared,
        )
        for step in plan.steps
    ]
    parameters = sum(_parameters(step) for step in plan.steps if step.node.name not in shared)
    return {
        "schema": SCHEMA,
        "name": plan.integer.name,
        "version": __version__,
        "source": source,
        "cpu": plan.cpu,
        "layers": layers,
        "parameters": {
            "count": parameters,
            "float_bytes": 4 * parameters,
            **{
                key: sum(layer[key] for layer in layers)
                for key in ("nonzeros", "weight_bytes", "constant_bytes", "entropy_bytes")
            },
        },
        "flash": {
            "weights_bytes": weights_bytes(plan),
            "code_bytes": code_bytes(plan),
            "golden_bytes": golden_bytes,
            "total_bytes": flash_bytes(plan) + golden_bytes,
            "limit_bytes": target.flash_limit,
        },
        "ram": {
            "arena_bytes": plan.arena_bytes,
            "stack_bytes": plan.stack_bytes,
            "total_bytes": plan.arena_bytes + plan.stack_bytes,
            "limit_bytes": target.ram_limit,
        },
        "cycles": sum(step.cycles for step in plan.steps),
        "clock_hz": target.clock_hz,
        "accuracy": vars(accuracy) if accuracy else None,
        "warnings": list(warnings),
    }


def weights_bytes(plan: Plan) -> int:
    """Bytes of the weights, biases, multipliers and tables of all layers."""
    return sum(array.values.nbytes for array in all_arrays(plan))


def code_bytes(plan: Plan) -> int:
    """Estimated bytes of the code of the layers and of the function that calls them."""
    return plan.code_bytes


def flash_bytes(plan: Plan) -> int:
    """Bytes of the board's flash that the model needs, without golden vectors."""
    return weights_bytes(plan) + code_bytes(plan)


def _parameters(step: Step) -> int:
    node = step.node
    return node.weight.size + node.bias.size if isinstance(node, WeightedNode) else 0


def _layer_row(step: Step, *, function: str, tied: bool) -> dict[str, Any]:
    """A layer of the report.

    Args:
        function: its name in C.
        tied: it reads the weights of an earlier layer, in whose row their bytes are.
    """
    node, layer, encoded = step.node, step.selection.layer, step.weight
    matrix = node.weight if isinstance(node, WeightedNode) else np.zeros((0, 0), np.int8)
    weight_bytes = encoded.weight_bytes if encoded and not tied else 0
    constant_bytes = encoded.constant_bytes if encoded else 0
    constant_bytes += sum(table.values.nbytes for table in node.tables)
    return {
        "name": node.name,
        "function": function,
        "describe": OPERATORS[node.op].describe(node.attributes),
        "input_shape": list(layer.inputs[0]),
        "output_shape": list(layer.output),
        "weights": matrix.size,
        "nonzeros": int(np.count_nonzero(matrix)),
        "encoding": encoded.encoding if encoded else None,
        "flash_bytes": weight_bytes + constant_bytes,
        "weight_bytes": weight_bytes,
        "constant_bytes": constant_bytes,
        "entropy_bytes": entropy_bytes(matrix) if encoded and not tied else 0.0,
        "code_bytes": step.code_bytes,
        "macs": step.macs,
        "dense_macs": layer.macs(matrix.size),
        "cycles": step.cycles,
    }


def entropy_bytes(weight: Int8Array) -> float:
    """Order-0 entropy of all of a layer's int8 weights, zeros included."""
    counts = np.unique(weight, return_counts=True)[1]
    bits = counts @ np.log2(weight.size / counts)
    return round(float(bits) / 8, 1)


def table(facts: dict[str, Any]) -> str:
    """The report as text for the terminal."""
    rows = [
        [
            layer["name"],
            layer["describe"],
            f"{layer['nonzeros']:,} of {layer['weights']:,}" if layer["weights"] else "",
            layer["encoding"] or "",
            f"{layer['weight_bytes']:,}" if layer["weights"] else "",
            f"{layer['entropy_bytes']:,.0f}" if layer["weights"] else "",
            f"{layer['constant_bytes']:,}" if layer["constant_bytes"] else "",
            f"{layer['cycles']:,}",
        ]
        for layer in facts["layers"]
    ]
    heads = ["layer", "", "non-zeros", "encoding", "weight B", "bound B", "const B", "cycles"]
    return "\n".join([*columns([heads, *rows], right=(2, 4, 5, 6, 7)), "", *_totals(facts)])


def _totals(facts: dict[str, Any]) -> list[str]:
    flash, ram, parameters = facts["flash"], facts["ram"], facts["parameters"]
    ratio = parameters["float_bytes"] / max(1, flash["weights_bytes"])
    golden = f" + golden {flash['golden_bytes']:,}" if flash["golden_bytes"] else ""
    lines = [
        f"flash     {flash['total_bytes']:,} B = weights {parameters['weight_bytes']:,} + "
        f"constants {parameters['constant_bytes']:,} + code about {flash['code_bytes']:,}{golden}"
        f"{_share(flash)}",
        f"          weights and constants (biases, multipliers) {ratio:.1f}x smaller than "
        f"{parameters['float_bytes']:,} B of float",
        f"bound     {parameters['entropy_bytes']:,.0f} B, the order-0 entropy of the int8 weights: "
        f"they take {_excess(parameters)}",
        f"RAM       {ram['total_bytes']:,} B = arena {ram['arena_bytes']:,} + stack about "
        f"{ram['stack_bytes']:,}{_share(ram)}",
        f"cycles    about {facts['cycles']:,} on {facts['cpu']}{duration(facts, 1)}",
    ]
    return [*lines, *_accuracy_lines(facts["accuracy"]), *draw_warnings(facts["warnings"])]


def _excess(parameters: dict[str, Any]) -> str:
    """ "7.1% more" for weights of 107.1 bytes with a bound of 100."""
    stored, bound = parameters["weight_bytes"], parameters["entropy_bytes"]
    percent_more = 100 * (stored / bound - 1) if bound else 0.0
    return f"{abs(percent_more):.1f}% {'more' if percent_more >= 0 else 'less'}"


def _share(memory: dict[str, Any]) -> str:
    return f"; {said}" if (said := share(memory)) else ""


def _accuracy_lines(accuracy: dict[str, Any] | None) -> list[str]:
    if accuracy is None:
        return []
    samples = f"on {accuracy['samples']:,} {accuracy['kind']} samples"
    if accuracy["int8_percent"] is None:
        return [f"agreement {accuracy['agreement_percent']:.1f}% same class as float, {samples}"]
    int8, original = accuracy["int8_percent"], accuracy["float_percent"]
    return [f"accuracy  {int8:.2f}% int8, {original:.2f}% float as given, {samples}"]


def measure_accuracy(
    float_scores: AnyArray, int8_scores: AnyArray, calibration: Calibration
) -> Accuracy:
    """Top-1 accuracy of scores [samples, classes]; of equal scores the first wins, as in C.

    Only the last chunk of each stream counts.
    """
    labels, last = calibration.labels, slice(calibration.chunks - 1, None, calibration.chunks)
    by_float, by_int8 = top1(float_scores[last]), top1(int8_scores[last])
    return Accuracy(
        kind=calibration.kind,
        samples=len(by_float),
        float_percent=None if labels is None else percent(by_float == labels),
        int8_percent=None if labels is None else percent(by_int8 == labels),
        agreement_percent=percent(by_float == by_int8),
    )


def top1(scores: AnyArray) -> Int64Array:
    """The class with the highest score of each sample, int64 [samples]."""
    best: Int64Array = scores.reshape(len(scores), -1).argmax(axis=1)
    return best


def percent(right: AnyArray) -> float:
    return 100 * float(np.mean(right))
