"""What happened: a table for a person, a JSON (schema below, stable) for a program.

    {"schema": 1, "name", "version", "source", "cpu",
     "layers": [{"name", "function", "describe", "input_shape", "output_shape", "weights",
                 "nonzeros", "encoding", "flash_bytes", "code_bytes", "macs", "dense_macs",
                 "cycles"}],
     "parameters": {"count", "float_bytes", "nonzeros"},
     "flash": {"weights_bytes", "code_bytes", "golden_bytes", "total_bytes", "limit_bytes"},
     "ram": {"arena_bytes", "stack_bytes", "total_bytes", "limit_bytes"},
     "cycles", "accuracy": null | {"samples", "float_percent", "int8_percent", "agreement_percent"},
     "warnings": [str]}

Cycles and code bytes are estimates (`cost.py`); weights, arena and accuracy are exact.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepcompress import __version__
from deepcompress.cost import MODEL_CODE_BYTES
from deepcompress.emit import all_arrays, c_identifier, layer_arrays
from deepcompress.encode import stored_weights
from deepcompress.graph import Plan, Step
from deepcompress.ops import OPERATORS
from deepcompress.options import Target

SCHEMA = 1


@dataclass(frozen=True)
class Accuracy:
    """Percent of samples: right in float, right in int8, and where both say the same class."""

    samples: int
    float_percent: float | None
    int8_percent: float | None
    agreement_percent: float


def report(
    plan: Plan,
    *,
    source: str,
    target: Target,
    accuracy: Accuracy | None,
    golden_bytes: int = 0,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """The report as a JSON value."""
    layers = [_layer(plan, step) for step in plan.steps]
    parameters = sum(_parameters(step) for step in plan.steps)
    return {
        "schema": SCHEMA,
        "name": plan.encoded.integer.name,
        "version": __version__,
        "source": source,
        "cpu": plan.cpu,
        "layers": layers,
        "parameters": {
            "count": parameters,
            "float_bytes": 4 * parameters,
            "nonzeros": sum(layer["nonzeros"] for layer in layers),
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
    """Weights, biases and multipliers of all layers."""
    return sum(array.values.nbytes for array in all_arrays(plan))


def code_bytes(plan: Plan) -> int:
    """Estimated code of the layers and of what calls them."""
    return MODEL_CODE_BYTES + sum(step.code_bytes for step in plan.steps)


def flash_bytes(plan: Plan) -> int:
    """What the model takes of the board's flash, without golden vectors."""
    return weights_bytes(plan) + code_bytes(plan)


def _parameters(step: Step) -> int:
    return step.node.weight.size + step.node.bias.size if step.node.weight is not None else 0


def _layer(plan: Plan, step: Step) -> dict[str, Any]:
    graph, node = plan.encoded.integer, step.node
    weight = plan.encoded.weights.get(node.name)
    output = graph.tensors[node.output].shape
    size = node.weight.size if weight else 0
    return {
        "name": node.name,
        "function": f"{graph.name}_{c_identifier(node.name, prefix='layer_')}",
        "describe": OPERATORS[node.op].describe(node.attributes),
        "input_shape": list(graph.tensors[node.inputs[0]].shape),
        "output_shape": list(output),
        "weights": size,
        "nonzeros": stored_weights(node, "delta") if weight else 0,
        "encoding": weight.encoding if weight else None,
        "flash_bytes": sum(array.values.nbytes for array in layer_arrays(plan, step)),
        "code_bytes": step.code_bytes,
        "macs": step.macs,
        "dense_macs": OPERATORS[node.op].macs(node.attributes, size, output),
        "cycles": step.cycles,
    }


def table(facts: dict[str, Any]) -> str:
    """The report as a person reads it."""
    rows = [
        [
            layer["name"],
            layer["describe"],
            "x".join(map(str, layer["output_shape"])),
            f"{layer['nonzeros']:,} of {layer['weights']:,}" if layer["weights"] else "",
            layer["encoding"] or "",
            f"{layer['flash_bytes']:,}" if layer["weights"] else "",
            f"{layer['cycles']:,}",
        ]
        for layer in facts["layers"]
    ]
    heads = ["layer", "", "output", "non-zeros", "encoding", "flash B", "cycles est."]
    return "\n".join([*columns([heads, *rows], right=(3, 5, 6)), "", *_totals(facts)])


def columns(rows: list[list[str]], *, right: tuple[int, ...]) -> list[str]:
    """Rows of text as aligned lines, a rule under the first."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], "-" * max(len(line) for line in lines), *lines[1:]]


def _totals(facts: dict[str, Any]) -> list[str]:
    flash, ram, parameters = facts["flash"], facts["ram"], facts["parameters"]
    ratio = parameters["float_bytes"] / max(1, flash["weights_bytes"])
    golden = f" + golden {flash['golden_bytes']:,}" if flash["golden_bytes"] else ""
    lines = [
        f"flash     {flash['total_bytes']:,} B = weights {flash['weights_bytes']:,} + code about "
        f"{flash['code_bytes']:,}{golden}{_share(flash)}",
        f"          weights {ratio:.1f}x smaller than {parameters['float_bytes']:,} B of float",
        f"RAM       {ram['total_bytes']:,} B = arena {ram['arena_bytes']:,} + stack about "
        f"{ram['stack_bytes']:,}{_share(ram)}",
        f"cycles    about {facts['cycles']:,} on {facts['cpu']}{_time(facts)}",
    ]
    warnings = [
        textwrap.fill(f"warning   {warning}", 100, subsequent_indent=" " * 10)
        for warning in facts["warnings"]
    ]
    return [*lines, *_accuracy_lines(facts["accuracy"]), *warnings]


def _share(memory: dict[str, Any]) -> str:
    limit = memory["limit_bytes"]
    return f"; {100 * memory['total_bytes'] / limit:.1f}% of the board's {limit:,}" if limit else ""


def _time(facts: dict[str, Any]) -> str:
    clock = facts["clock_hz"]
    return f", {1e3 * facts['cycles'] / clock:.1f} ms at {clock / 1e6:g} MHz" if clock else ""


def _accuracy_lines(accuracy: dict[str, Any] | None) -> list[str]:
    if accuracy is None:
        return []
    samples = f"on {accuracy['samples']:,} calibration samples"
    if accuracy["int8_percent"] is None:
        return [f"agreement {accuracy['agreement_percent']:.1f}% same class as float, {samples}"]
    int8, given = accuracy["int8_percent"], accuracy["float_percent"]
    return [f"accuracy  {int8:.2f}% int8, {given:.2f}% float as given, {samples}"]


def measure_accuracy(
    float_scores: np.ndarray, int8_scores: np.ndarray, labels: np.ndarray | None
) -> Accuracy:
    """Top-1 of scores [samples, classes]; the first of equal scores wins, as on the device."""
    by_float = float_scores.reshape(len(float_scores), -1).argmax(axis=1)
    by_int8 = int8_scores.reshape(len(int8_scores), -1).argmax(axis=1)
    return Accuracy(
        samples=len(by_float),
        float_percent=None if labels is None else 100 * float(np.mean(by_float == labels)),
        int8_percent=None if labels is None else 100 * float(np.mean(by_int8 == labels)),
        agreement_percent=100 * float(np.mean(by_float == by_int8)),
    )
