"""From a Plan to C text. Numbers arrive in the templates ready; fixed C is never generated."""

from __future__ import annotations

import functools
import hashlib
import zlib
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from deepcompress import __version__
from deepcompress.backend.c_names import (
    brackets,
    c_float,
    c_offset,
    input_names,
    layer_function,
    layer_names,
    number_lines,
    output_names,
)
from deepcompress.backend.kernels.c_struct import initializers
from deepcompress.backend.plan import Plan, Step
from deepcompress.backend.provenance import Provenance
from deepcompress.escape import c_string, c_text, comment
from deepcompress.execute.int8_reference import run, run_all
from deepcompress.ir.batch_layout import in_chunks
from deepcompress.ir.graph import Array, Constants, WeightedNode
from deepcompress.model_name import class_name
from deepcompress.ops import OPERATORS

_BUILD_ID = "@BUILD_ID@"  # stands for it until all files are rendered

C_TYPES = {
    np.dtype(np.int8): "int8_t",
    np.dtype(np.uint8): "uint8_t",
    np.dtype(np.int16): "int16_t",
    np.dtype(np.uint16): "uint16_t",
    np.dtype(np.int32): "int32_t",
    np.dtype(np.uint32): "uint32_t",
}


def emit_c(
    plan: Plan,
    *,
    provenance: Provenance,
    labels: tuple[str, ...] = (),
    golden_inputs: np.ndarray | None = None,
    test_layers: bool = False,
) -> dict[str, str]:
    """The generated files of one model: file name -> text.

    Args:
        labels: names of the classes, as many as outputs, or none.
        golden_inputs: int8 [vectors, *input shape] to keep in flash for the self test.
        test_layers: whether the self test compares the output of each layer as well.
    """
    golden = _golden(plan, golden_inputs, test_layers=test_layers)
    facts = _facts(plan, provenance, labels, golden)
    name = plan.integer.name
    templates = {
        f"{name}.h": "model.h.j2",
        f"{name}.hpp": "model.hpp.j2",
        f"{name}_weights.h": "weights.h.j2",
        f"{name}.c": "model.c.j2",
    }
    environment = _environment()
    texts = {file: environment.get_template(t).render(facts) for file, t in templates.items()}
    return _with_build_id(texts, provenance)


def _with_build_id(texts: dict[str, str], provenance: Provenance) -> dict[str, str]:
    """The files with an identifier of all their texts, by which they refuse those of another run.

    Other model files may give the same code, so the checksum of the model file does not count.
    """
    content = "\0".join(texts.values()).replace(provenance.sha256, "")
    build_id = f"0x{hashlib.sha256(content.encode()).hexdigest()[:8]}"
    return {file: text.replace(_BUILD_ID, build_id) for file, text in texts.items()}


@functools.cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("deepcompress.backend"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        finalize=c_text,  # of each expression, so that no template can write a text as it is
    )
    environment.filters["comment"] = comment
    environment.filters["c_string"] = c_string
    return environment


def _facts(
    plan: Plan, provenance: Provenance, labels: tuple[str, ...], golden: dict[str, Any] | None
) -> dict[str, Any]:
    graph = plan.integer
    return {
        "version": __version__,
        "provenance": provenance,
        "build_id": _BUILD_ID,
        "name": graph.name,
        "NAME": graph.name.upper(),
        "Name": class_name(graph.name),
        "inputs": _ends(plan, graph.inputs, input_names(graph.inputs)),
        "outputs": _ends(plan, graph.outputs, output_names(graph.outputs)),
        "byte_input": _byte_input(plan),
        "arena_bytes": plan.arena_bytes,
        "arena_words": -(-plan.arena_bytes // 4),
        "layers": _layers(plan),
        "DC_LAYER": "DC_SMALL_LAYER" if plan.selected.optimize == "size" else "DC_LAYER",
        "kept": _kept(plan),
        "kernel_headers": sorted({step.kernel.header for step in plan.steps}),
        "labels": labels,
        "golden": golden,
        "weight_bytes": sum(array.values.nbytes for array in all_arrays(plan)),
    }


def _ends(plan: Plan, tensors: tuple[str, ...], names: list[str]) -> list[dict[str, Any]]:
    """What the templates need of the network's inputs or outputs. `offset` counts the values before
    this one's, of one sample."""
    graph, ends, offset = plan.integer, [], 0
    read = {plan.locations[tensor].root for step in plan.steps for tensor in step.node.inputs}
    for tensor, name in zip(tensors, names, strict=True):
        by, size = graph.quantization[tensor], graph.tensors[tensor].size
        ends.append(
            {
                "name": name,
                "NAME": name.upper(),
                "tensor": tensor,
                "shape": graph.tensors[tensor].shape,
                "size": size,
                "offset": offset,
                "scale": c_float(by.scale),
                "zero_point": by.zero_point,
                "minus_zero_point": c_offset(by.zero_point),
                "address": plan.addresses[tensor],
                "used": tensor in read,
            }
        )
        offset += size
    return ends


def layer_arrays(step: Step) -> list[Array]:
    """All constant arrays of a layer: weights, bias, multipliers, tables."""
    return [*_weight_arrays(step), *step.node.tables]


def _weight_arrays(step: Step) -> list[Array]:
    weight = step.weight
    if weight is None:
        return []
    bias = "without the input's zero point" if weight.zero_point else "zero point folded in"
    return [
        *weight.arrays,
        Array("bias", weight.bias.stored, bias + _shifted(weight.bias)),
        Array(
            "multiplier",
            weight.multiplier.stored,
            "of requantization" + _shifted(weight.multiplier),
        ),
    ]


def _shifted(constants: Constants) -> str:
    one = "; one for all channels" if constants.shared else ""
    return one + (f"; shifted right by {constants.shift}" if constants.shift else "")


def all_arrays(plan: Plan) -> list[Array]:
    """All arrays in flash; an array that layers share is included once."""
    shared = shared_weights(plan)
    arrays = []
    for step in plan.steps:
        read = step.weight.arrays if step.weight and step.node.name in shared else ()
        arrays += layer_arrays(step)[len(read) :]
    return arrays


def shared_weights(plan: Plan) -> dict[str, str]:
    """Layer name -> the layer before it whose encoded weights are the same, which it reads."""
    first: dict[Hashable, str] = {}
    shared = {}
    for step in plan.steps:
        weight = step.weight
        if weight is not None:
            arrays = ((a.name, a.values.dtype, a.values.tobytes()) for a in weight.arrays)
            owner = first.setdefault((weight.encoding, *arrays), step.node.name)
            if owner != step.node.name:
                shared[step.node.name] = owner
    return shared


def names_in_c(plan: Plan) -> dict[str, str]:
    """The name of each layer in C by its name in the network: for code, report and profile."""
    arrays = {step.node.name: [array.name for array in layer_arrays(step)] for step in plan.steps}
    return layer_names(arrays, model=plan.integer.name)


def _layers(plan: Plan) -> list[dict[str, Any]]:
    shared, names = shared_weights(plan), names_in_c(plan)
    return [
        _layer(
            plan,
            step,
            names[step.node.name],
            owner=names[shared.get(step.node.name, step.node.name)],
        )
        for step in plan.steps
    ]


def _layer(plan: Plan, step: Step, name: str, *, owner: str) -> dict[str, Any]:
    """What the templates need of a layer, whose weights are under the name of `owner`."""
    graph, node, kernel = plan.integer, step.node, step.kernel
    layer, weight = step.selection.layer, step.weight
    parameters = kernel.parameters(layer, weight)
    weights = weight.arrays if weight else ()
    constants = _weight_arrays(step)[len(weights) :]
    return {
        "function": layer_function(graph.name, name),
        "user_name": node.name,
        "describe": OPERATORS[node.op].describe(node.attributes),
        "kernel": kernel.c_name,
        "encoding": weight.encoding.upper() if weight and kernel.takes_encoding else None,
        "assumptions": kernel.assumptions(layer),
        "struct": parameters.c_type,
        "fields": initializers(parameters, lambda array: _array_name(graph.name, name, array)),
        "arrays": [
            *(_array(graph.name, owner, array, stored=owner == name) for array in weights),
            *(_array(graph.name, name, array) for array in constants),
        ],
        "tables": [_array(graph.name, name, array) for array in node.tables],
        "constants": {"bias": weight.bias, "multiplier": weight.multiplier} if weight else {},
        "zero_point": weight.zero_point if weight else 0,
        "input_shape": ", ".join(map(brackets, layer.inputs)),
        "output_shape": brackets(layer.output),
        "parameters": _parameter_names(len(layer.inputs)),
        "takes_array": kernel.takes_array,
        "inputs": [_pointer(plan, tensor) for tensor in node.inputs],
        "output": step.output,
        "output_size": graph.tensors[node.output].size,
        "takes_scratch": kernel.takes_scratch,
        "scratch": step.scratch if step.scratch_bytes else None,
        "weights": _weights_text(step),
        "cycles": step.cycles,
    }


def _parameter_names(inputs: int) -> list[str]:
    return ["input"] if inputs == 1 else [f"input{i}" for i in range(inputs)]


def _kept(plan: Plan) -> list[dict[str, int]]:
    """What of the arena lasts from one inference to the next, and the bytes that it starts with."""
    return [
        {"address": step.scratch, "bytes": step.scratch_bytes, "start": start}
        for step in plan.steps
        if (start := step.selection.scratch.start) is not None
    ]


def _pointer(plan: Plan, tensor: str) -> str:
    """The C expression of a tensor's address: in the arena, or in the caller's memory."""
    at = plan.locations[tensor]
    inputs = plan.integer.inputs
    if at.root in inputs:
        name = input_names(inputs)[inputs.index(at.root)]
        return f"{name} + {at.offset}" if at.offset else name
    return f"at + {plan.addresses[tensor]}"


def _weights_text(step: Step) -> str:
    if not isinstance(step.node, WeightedNode) or step.weight is None:
        return ""
    weight = step.node.weight
    return f"{step.weight.encoding}, {int(np.count_nonzero(weight))} of {weight.size} weights"


def _array_name(model: str, layer: str, array: Array) -> str:
    return f"{model}_{layer}_{array.name}"


def _array(model: str, layer: str, array: Array, *, stored: bool = True) -> dict[str, Any]:
    """The array for the template. `stored` is False if another layer already has the array."""
    return {
        "stored": stored,
        "name": _array_name(model, layer, array),
        "field": array.name,
        "type": C_TYPES[array.values.dtype],
        "size": array.values.size,
        "bytes": array.values.nbytes,
        "meaning": array.meaning,
        "lines": number_lines(array.values),
    }


def _byte_input(plan: Plan) -> dict[str, Any] | None:
    graph = plan.integer
    by, shape = graph.byte_input, graph.tensors[graph.inputs[0]].shape
    if by is None:
        return None
    channels = len(by.multiplier)
    return {
        "channels": channels,
        "plane": int(np.prod(shape)) // channels,
        "multiplier": ", ".join(map(str, by.multiplier.tolist())),
        "offset": ", ".join(map(str, by.offset.tolist())),
        "shift": by.shift,
    }


def _golden(plan: Plan, inputs: np.ndarray | None, *, test_layers: bool) -> dict[str, Any] | None:
    """What the templates need for the self test; None without golden vectors."""
    if inputs is None or len(inputs) == 0:
        return None
    outputs = run(in_chunks(plan.integer, 1), inputs)
    crcs = _layer_crcs(plan, inputs) if test_layers else None
    covered = _covered(plan)
    covered |= {"golden_inputs": inputs, "golden_scores": outputs}
    if crcs is not None:
        covered["golden_layers"] = crcs
    return {
        "count": len(inputs),
        "input_size": inputs[0].size,
        "output_size": outputs[0].size,
        "inputs": number_lines(inputs),
        "outputs": number_lines(outputs),
        "layer_crcs": None if crcs is None else number_lines(crcs, suffix="u"),
        "covered": list(covered),
        "covered_bytes": sum(values.nbytes for values in covered.values()),
        "crc": f"{_crc(*covered.values()):#010x}",
    }


def _covered(plan: Plan) -> dict[str, np.ndarray]:
    """The constant arrays that inference reads, by their names in C."""
    model, shared = plan.integer.name, shared_weights(plan)
    names = names_in_c(plan)
    arrays = {
        _array_name(model, names[_owner(step, array, shared)], array): array.values
        for step in plan.steps
        for array in layer_arrays(step)
    }
    library = (array for step in plan.steps for array in step.kernel.library_arrays())
    arrays |= {array.name: array.values for array in library}
    by = plan.integer.byte_input
    if by is not None:
        arrays["input_multiplier"] = by.multiplier.astype(np.int32)
        arrays["input_offset"] = by.offset.astype(np.int32)
    return arrays


def _owner(step: Step, array: Array, shared: Mapping[str, str]) -> str:
    """The layer whose name an array has in C."""
    encoded = step.weight.arrays if step.weight else ()
    name = step.node.name
    return shared.get(name, name) if any(array is one for one in encoded) else name


def _layer_crcs(plan: Plan, inputs: np.ndarray) -> np.ndarray:
    """The CRC-32 of the output of each step, uint32 [vectors, steps]."""
    values = run_all(in_chunks(plan.integer, 1), inputs)
    return np.array(
        [[_crc(values[step.node.output][i]) for step in plan.steps] for i in range(len(inputs))],
        np.uint32,
    ).reshape(len(inputs), len(plan.steps))


def _crc(*arrays: np.ndarray) -> int:
    """The CRC-32 of the bytes that the arrays have in flash, one after another."""
    crc = 0
    for values in arrays:
        stored = values.astype(values.dtype.newbyteorder("<"))
        crc = zlib.crc32(stored.tobytes(), crc)
    return crc
