"""The story: a `.pt` becomes C. One function that calls the stages in order."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from deepcompress.backend.emit_c import Provenance, emit_c
from deepcompress.backend.plan import Plan
from deepcompress.data.byte_scaling import byte_scaling
from deepcompress.data.calibration import (
    Calibration,
    check_shape,
    read_calibration,
    read_calibration_per_input,
    split_streams,
)
from deepcompress.data.synthetic_inputs import synthetic_calibration
from deepcompress.data.training_data import Samples, check_samples, read_samples
from deepcompress.errors import UserError, setting
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.execute.int8_reference import quantize_bytes, quantize_inputs, run
from deepcompress.frontend.frontend import LayerCallback
from deepcompress.frontend.open_graph import open_graph
from deepcompress.frontend.save_program import check_writable, save_graph
from deepcompress.ir.batch_layout import in_chunks, shape_of
from deepcompress.ir.graph import Graph, IntegerGraph
from deepcompress.options import Options, header_lines
from deepcompress.passes.fuse import fuse
from deepcompress.passes.make_stateful import make_stateful
from deepcompress.pipeline import verify
from deepcompress.pipeline.graph_to_plan import Clock, graph_to_plan
from deepcompress.report.board_fit import check_fits, check_possible
from deepcompress.report.html import html
from deepcompress.report.summary import flash_bytes, measure_accuracy, summarize
from deepcompress.report.warnings import warnings_of
from deepcompress.training.compress_with_data import (
    CompressionResult,
    compress_with_data,
    samples_as_calibration,
)
from deepcompress.training.pareto_plot import draw_curve, require_matplotlib

_KEYWORDS = """
    auto break case char class const continue default delete do double else enum extern float for
    goto if inline int long namespace new operator register restrict return short signed sizeof
    static struct switch template this typedef union unsigned void volatile while
"""
_NAMED_CLASSES = 100  # that get their index for a name: six bytes each, where the firmware asks
C_KEYWORDS = frozenset(_KEYWORDS.split())


@dataclass(frozen=True)
class Compiled:
    """What `compile_model` made: the generated texts, the report, and the values on the way."""

    texts: dict[str, str]
    report: dict[str, Any]
    graph: Graph
    integer: IntegerGraph
    plan: Plan


def compile_model(
    path: Path,
    *,
    name: str,
    options: Options,
    say: Callable[[str], None] = lambda line: None,
    tell: Callable[[str], None] = lambda line: None,
) -> Compiled:
    """A model's C sources, its report, and the graphs it went through.

    Args:
        path: the `.pt` file.
        name: of the model in C: an identifier.
        say: is told, line by line, how long each stage took.
        tell: is told, line by line, how retraining goes on.

    Raises:
        UserError: whatever is wrong with the file, the options, or the fit on the board.
    """
    check_name(name)
    clock = Clock(say)
    labels = read_labels(options)
    opened = open_model(path, name=name, options=options, clock=clock)
    graph, original, calibration = opened.graph, opened.graph, opened.calibration
    if options.retrain:
        graph = _retrain(opened, options, studies=Path(f"{name}.study"), progress=tell).graph
        clock.stage("retrain")
    graph, original = (as_stream(g, calibration, options) for g in (graph, original))
    _check_labels(labels, graph)
    check_possible(graph, options)
    pruned, planned = graph_to_plan(graph, calibration, options, clock)
    integer = planned.integer

    inputs = integer_inputs(integer, calibration)
    golden = _golden_inputs(inputs[:: calibration.chunks], options)
    accuracy = measure_accuracy(
        forward_numpy(original, calibration.inputs), run(integer, inputs), calibration
    )
    facts = summarize(
        planned,
        source=path.name,
        target=options.target,
        accuracy=None if calibration.synthetic else accuracy,
        golden_bytes=_golden_bytes(integer, golden),
        warnings=warnings_of(pruned, calibration, accuracy, options),
    )
    check_fits(facts, lambda sparsity: flash_at(sparsity, graph, calibration, options))
    clock.stage("report")
    texts = emit_c(
        planned,
        provenance=_provenance(path, options),
        labels=labels or _indices(pruned),
        golden_inputs=golden,
    )
    texts["report.json"] = json.dumps(facts, indent=1) + "\n"
    texts["report.html"] = html(facts)
    clock.stage("emit")
    return Compiled(texts, facts, pruned, in_chunks(integer, 1), planned)


@dataclass(frozen=True)
class Opened:
    """A model file as the stages after `fold` take it, and the data its options name."""

    graph: Graph
    calibration: Calibration
    samples: Samples | None


def open_model(
    path: Path,
    *,
    name: str,
    options: Options,
    clock: Clock,
    see: LayerCallback = lambda layer: None,
) -> Opened:
    """From the file to the folded Graph; its data read and checked against it.

    `see` is told of each layer, also where one is not supported.
    """
    calibration = read_calibration(options)
    samples = read_samples(options.data, byte_scaling(options)) if options.data else None
    if calibration is None and samples is not None:
        calibration = samples_as_calibration(samples, options)
    if calibration is not None and options.input_shape is None:
        options = replace(options, input_shape=calibration.inputs.shape[1:])
    clock.stage("data")
    lowered = open_graph(path, options, name=name, layer=see)
    clock.stage("load")
    verify.shapes_follow(lowered)
    calibration = _calibration_for(lowered, calibration, options)
    clock.stage("lower")
    graph = fuse(lowered)
    verify.same_function(lowered, graph, calibration.inputs[:8])
    if samples is not None:
        check_samples(samples, graph, options.data)
    clock.stage("fold")
    return Opened(graph, calibration, samples)


def prune_model(
    path: Path, output: Path, *, options: Options, progress: Callable[[str], None]
) -> CompressionResult:
    """Retrains a model file to the options' goal; writes it, and its Pareto plot next to it.

    Raises:
        UserError: whatever is wrong with the file, the options or the data.
    """
    curve = output.with_suffix(".png")
    require_matplotlib(curve)
    check_writable(output)
    opened = open_model(path, name="model", options=options, clock=Clock())
    result = _compress(opened, options, studies=output.with_suffix(".study"), progress=progress)
    save_graph(result.graph, output)
    draw_curve(result.search, result.baseline, curve)
    progress(f"wrote {output} and {curve.name}")
    return result


def _retrain(
    opened: Opened, options: Options, *, studies: Path, progress: Callable[[str], None]
) -> CompressionResult:
    """As a build wants it: a goal that is not met is an error."""
    result = _compress(opened, options, studies=studies, progress=progress)
    if not result.search.met:
        raise UserError(
            result.search.shortfall,
            f"model {opened.graph.name}",
            "Relax the goal, or allow more trials or epochs: what was tried is kept",
        )
    return result


def _compress(
    opened: Opened, options: Options, *, studies: Path, progress: Callable[[str], None]
) -> CompressionResult:
    graph = replace(opened.graph, ranges={})  # of other weights than those that it will have
    if len(graph.inputs) + len(graph.outputs) > 2:
        raise UserError(
            f"it has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs",
            f"model {graph.name}",
            "Retraining takes one of each; prune in your own training, and compile the result",
        )
    if opened.samples is None:
        raise UserError(
            "retraining needs data to train on",
            f"option {setting('data')}",
            "Name an .npz with inputs and labels, or file.py:function",
        )
    return compress_with_data(
        graph,
        opened.samples,
        options,
        calibration=opened.calibration,
        studies=studies,
        progress=progress,
    )


def as_stream(graph: Graph, calibration: Calibration, options: Options) -> Graph:
    """The network that remembers, if the option `stateful` says so."""
    return in_chunks(make_stateful(graph), calibration.chunks) if options.stateful else graph


def flash_at(sparsity: float, graph: Graph, calibration: Calibration, options: Options) -> int:
    """Bytes of flash that the model would take, pruned to this sparsity and stored smallest."""
    smaller = replace(options, sparsity=sparsity, encoding="auto", optimize="size", retrain=False)
    return flash_bytes(graph_to_plan(graph, calibration, smaller)[1])


def check_name(name: str) -> None:
    """Raises UserError where a model's name cannot stand in C."""
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or name in C_KEYWORDS:
        raise UserError(
            "it cannot be a name in C",
            f"model name {name!r}",
            "Use letters, digits and underscores, such as lenet5 (in the ini: lenet5 = file.pt)",
        )


def read_labels(options: Options) -> tuple[str, ...]:
    """The classes' names: the option's list, or the lines of the file it names."""
    if options.labels is None or isinstance(options.labels, tuple):
        return options.labels or ()
    path = Path(options.labels)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"it cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8 text'})",
            f"labels file {path}",
            "Name a text file with one label a line, or list them: "
            + setting("labels", "cat, dog"),
        ) from None
    return tuple(line.strip() for line in lines if line.strip())


def _check_labels(labels: tuple[str, ...], graph: Graph) -> None:
    """Raises UserError where a class has no name, or a name no class."""
    shape = graph.tensors[graph.outputs[0]].shape
    if labels and len(labels) not in (prod(shape), shape[0]):
        raise UserError(
            f"it has {len(labels)} names, the model has {prod(shape)} outputs",
            f"option {setting('labels')}",
            "Give each output its name, in the order of the outputs",
        )


def _indices(graph: Graph) -> tuple[str, ...]:
    """What classes are called that have no names, where the output is a score a class."""
    shape = graph.tensors[graph.outputs[0]].shape
    named = len(shape) == 1 and shape[0] <= _NAMED_CLASSES
    return tuple(map(str, range(shape[0]))) if named else ()


def integer_inputs(integer: IntegerGraph, calibration: Calibration) -> np.ndarray:
    """The calibration samples as the device would see them, int8 [samples, *input shape]."""
    if calibration.images is not None:
        return quantize_bytes(calibration.images, integer)
    return quantize_inputs(calibration.inputs, integer)


def _calibration_for(
    graph: Graph, calibration: Calibration | None, options: Options
) -> Calibration:
    _check_one_scaling(graph, options)
    shape = shape_of(graph, graph.inputs)
    if calibration is None and options.calibration:
        shapes = {name: graph.tensors[name].shape for name in graph.inputs}
        calibration = read_calibration_per_input(Path(options.calibration), shapes)
    if calibration is None:
        return synthetic_calibration(options, shape)
    if options.stateful:
        calibration = split_streams(calibration, shape)
    check_shape(calibration, shape, options.calibration)
    return calibration


def _check_one_scaling(graph: Graph, options: Options) -> None:
    if len(graph.inputs) > 1 and byte_scaling(options) is not None:
        raise UserError(
            f"the model has {len(graph.inputs)} inputs ({', '.join(graph.inputs)}), of which raw "
            "bytes cannot be scaled",
            f"options {setting('input_mean')} and {setting('input_std')}",
            "Leave them out, and give the inputs as float or int8",
        )


def _golden_inputs(inputs: np.ndarray, options: Options) -> np.ndarray | None:
    if options.self_test > len(inputs):
        raise UserError(
            f"{setting('self_test', options.self_test)} asks for more vectors than the "
            f"{len(inputs)} samples",
            f"option {setting('self_test')}",
            "Ask for fewer; two or three find a wrong build",
        )
    return inputs[: options.self_test] if options.self_test else None


def _golden_bytes(integer: IntegerGraph, golden: np.ndarray | None) -> int:
    if golden is None:
        return 0
    return golden.nbytes + len(golden) * prod(shape_of(integer, integer.outputs))


def _provenance(path: Path, options: Options) -> Provenance:
    return Provenance(
        source=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        options=(*header_lines(options), f"cpu = {options.target.cpu}"),
    )
