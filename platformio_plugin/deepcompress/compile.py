"""Compiles a model file to C: reads the data, runs the passes in order, reports and emits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from deepcompress.backend.emit_c import emit_c
from deepcompress.backend.plan import Plan
from deepcompress.backend.provenance import provenance_of
from deepcompress.data.byte_scaling import byte_scaling
from deepcompress.data.calibration import Calibration, read_calibration
from deepcompress.data.calibration_of_graph import calibration_of_graph
from deepcompress.data.labels import check_labels, index_labels, read_labels
from deepcompress.data.training_data import Samples, check_samples, read_samples
from deepcompress.data.user_code import announcement, is_python
from deepcompress.errors import UserError, draw_warnings, setting
from deepcompress.escape import json_text
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.execute.int8_reference import quantize_bytes, quantize_inputs, run
from deepcompress.frontend.child_process import open_graph_in_child, start_early
from deepcompress.frontend.frontend import ImportedLayer
from deepcompress.frontend.open_graph import choose_frontend
from deepcompress.frontend.save_program import check_writable, save_graph
from deepcompress.ir.arrays import Int8Array
from deepcompress.ir.batch_layout import in_chunks, shape_of
from deepcompress.ir.graph import Graph, IntegerGraph
from deepcompress.ir.spec import Stage
from deepcompress.model_name import check_name
from deepcompress.options import Options
from deepcompress.passes.fuse import fuse
from deepcompress.passes.make_stateful import make_stateful
from deepcompress.passes.quantize import observe_ranges
from deepcompress.pipeline import verify
from deepcompress.pipeline.graph_to_plan import graph_to_plan
from deepcompress.pipeline.reporter import Reporter, SilentReporter
from deepcompress.pipeline.runner import Instrument, Pass, Timing
from deepcompress.pipeline.runner import run as run_passes
from deepcompress.report.board_fit import check_fits, check_possible
from deepcompress.report.budgets import check_goals
from deepcompress.report.html import html
from deepcompress.report.summary import flash_bytes, measure_accuracy, summarize, weights_bytes
from deepcompress.report.unused_options import Use, unused_options
from deepcompress.report.warnings import warnings_of
from deepcompress.training.compress_with_data import (
    CompressionResult,
    compress_with_data,
    samples_as_calibration,
)
from deepcompress.training.pareto_plot import curve_as_png, require_matplotlib
from deepcompress.training.prune_by_calibration import prune_once

_SILENT = SilentReporter()
# Samples on which the float network is run before and after fusion.
_COMPARED = 8


@dataclass(frozen=True)
class Compiled:
    """The generated files by name, the report, and the values that lead to them."""

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
    reporter: Reporter = _SILENT,
    instruments: Sequence[Instrument] = (),
) -> Compiled:
    """A model's C sources, its report, and the graphs that it went through.

    Args:
        path: the model file.
        name: of the model in C: an identifier.
        reporter: receives the time of each stage and the progress of retraining.
        instruments: watch each pass, such as `DumpIr`.

    Raises:
        UserError: whatever is wrong with the file, the options, or the fit on the board.
    """
    check_name(name)
    labels = read_labels(options)
    opened = open_model(
        path, name=name, options=options, reporter=reporter, instruments=instruments
    )
    timing, calibration = Timing(reporter), opened.calibration
    instruments = (timing, *instruments)
    graph: Graph = run_passes(
        [
            *_retraining(opened, options, Path(f"{name}.study"), reporter),
            *_streaming(calibration, options),
            *_solving(calibration, options, reporter),
        ],
        opened.graph,
        instruments,
    )
    check_labels(labels, graph)
    final = replace(options, sparsity=None) if _is_solved(calibration, options) else options
    check_possible(graph, final)
    pruned, plan = graph_to_plan(graph, calibration, final, instruments)
    with timing.stage("report"):
        inputs = integer_inputs(plan.integer, calibration)
        golden = _golden_inputs(inputs[:: calibration.chunks], options)
        original = as_stream(opened.graph, calibration, options)
        accuracy = measure_accuracy(
            forward_numpy(original, calibration.inputs), run(plan.integer, inputs), calibration
        )
        facts = summarize(
            plan,
            source=path.name,
            target=options.target,
            accuracy=None if calibration.synthetic else accuracy,
            golden_bytes=_golden_bytes(plan, golden, options),
            warnings=[
                *unused_options(options, use_of(path, "compile")),
                *warnings_of(pruned, calibration, accuracy, options),
            ],
        )
        check_fits(facts, lambda sparsity: flash_at(sparsity, graph, calibration, options))
        check_goals(
            facts, options, lambda sparsity: needs_at(sparsity, graph, calibration, options)
        )
    with timing.stage("emit"):
        texts = emit_c(
            plan,
            provenance=provenance_of(path, options),
            labels=labels or index_labels(pruned),
            golden_inputs=golden,
            test_layers=options.self_test_layers,
        )
        texts["report.json"] = json_text(facts)
        texts["report.html"] = html(facts)
    return Compiled(texts, facts, pruned, in_chunks(plan.integer, 1), plan)


@dataclass(frozen=True)
class Opened:
    """A model file as a fused graph, and the data that the options name."""

    graph: Graph
    calibration: Calibration
    samples: Samples | None


def open_model(
    path: Path,
    *,
    name: str,
    options: Options,
    reporter: Reporter = _SILENT,
    instruments: Sequence[Instrument] = (),
) -> Opened:
    """The fused graph of a model file; the data are read and checked against it.

    Args:
        reporter: receives each layer as well, also if one is not supported.
    """
    timing, given_shape = Timing(reporter), options.input_shape
    if path.is_file():
        start_early()
    with timing.stage("data"):
        calibration = read_calibration(options)
        samples = _samples(path, options, reporter)
        if calibration is None and samples is not None:
            calibration = samples_as_calibration(samples, options)
        shapes = _input_shapes(calibration, options)

    def import_file(file: Path) -> Graph:
        return _open_with_first(shapes, file, name=name, options=options, reporter=reporter)

    if options.architecture and "architecture" in choose_frontend(path).reads:
        reporter.progress(announcement("architecture", options.architecture))
    watching = (timing, *instruments)
    importing = Pass(
        "import",
        import_file,
        Stage.FILE,
        Stage.FLOAT,
        ensures=lambda _, graph: verify.shapes_follow(graph),
    )
    imported: Graph = run_passes([importing], path, watching)
    if given_shape is not None:
        _check_input_shape(imported, given_shape, path)
    with timing.stage("inputs"):
        given = calibration_of_graph(imported, calibration, options)
        observe_ranges(imported, given.inputs[:_COMPARED])
    fusing = Pass(
        "fuse",
        fuse,
        Stage.FLOAT,
        Stage.FLOAT,
        ensures=lambda before, after: verify.same_function(before, after, given.inputs[:_COMPARED]),
    )
    graph: Graph = run_passes([fusing], imported, watching)
    if samples is not None and options.data:
        check_samples(samples, graph, options.data)
    return Opened(graph, given, samples)


def _check_input_shape(graph: Graph, given: tuple[int, ...], path: Path) -> None:
    """Raises UserError if a file that states its input's shape states another one."""
    shapes = [graph.tensors[name].shape for name in graph.inputs]
    if len(shapes) == 1 and shapes[0] != given:
        raise UserError(
            f"its input is {'x'.join(map(str, shapes[0]))}, and the option says "
            f"{'x'.join(map(str, given))}",
            f"model file {path}",
            f"Leave {setting('input_shape')} out, or export the network for that shape",
        )


def _samples(model: Path, options: Options, reporter: Reporter) -> Samples | None:
    """The samples of the option `data`, or None without it."""
    if not options.data:
        return None
    if is_python(options.data):
        reporter.progress(announcement("data", options.data))
    scaling, seconds = byte_scaling(options), options.import_seconds
    return read_samples(options.data, scaling, model=model, import_seconds=seconds)


def _input_shapes(
    calibration: Calibration | None, options: Options
) -> list[tuple[int, ...] | None]:
    """The shapes that the network's input may have, the likeliest first.

    Samples are [samples, ...]. With `stateful`, they may also be [streams, chunks, ...].
    """
    if calibration is None or options.input_shape is not None:
        return [options.input_shape]
    sample = calibration.inputs.shape[1:]
    if not options.stateful or calibration.images is not None or len(sample) < 2:
        return [sample]
    chunk = sample[1:]
    return [chunk, sample] if len(chunk) > 1 else [sample, chunk]


def _open_with_first(
    shapes: Sequence[tuple[int, ...] | None],
    path: Path,
    *,
    name: str,
    options: Options,
    reporter: Reporter,
) -> Graph:
    """The network of a file for the first input shape that it accepts.

    Raises:
        UserError: of the first shape, if the network accepts none.
    """
    tried: list[tuple[list[ImportedLayer], UserError]] = []
    for shape in shapes:
        layers: list[ImportedLayer] = []
        with_shape = replace(options, input_shape=shape)
        try:
            graph = open_graph_in_child(
                path, with_shape, name=name, layer=layers.append, meanwhile=_import_torch
            )
        except UserError as error:
            tried.append((layers, error))
            continue
        _report(layers, reporter)
        return graph
    layers, first_error = tried[0]
    _report(layers, reporter)
    raise first_error


def _report(layers: Sequence[ImportedLayer], reporter: Reporter) -> None:
    for layer in layers:
        reporter.layer(layer)


def _import_torch() -> None:
    """Imports what the next pass needs, which takes seconds, while the child process works."""
    import torch  # noqa: F401


def prune_model(
    path: Path,
    output: Path,
    *,
    options: Options,
    reporter: Reporter,
    instruments: Sequence[Instrument] = (),
) -> CompressionResult:
    """Retrains a model file to the options' goal; writes it, and its Pareto plot next to it.

    Raises:
        UserError: whatever is wrong with the file, the options or the data.
    """
    curve = output.with_suffix(".png")
    require_matplotlib(curve)
    check_writable(output)
    for line in draw_warnings(unused_options(options, use_of(path, "prune"))):
        reporter.progress(line)
    opened = open_model(
        path, name="model", options=options, reporter=reporter, instruments=instruments
    )
    studies = output.with_suffix(".study")
    result = _compress(opened, options, studies=studies, progress=reporter.progress)
    picture = curve_as_png(result.search, result.baseline)
    save_graph(result.graph, output, others={curve.name: picture})
    reporter.progress(f"wrote {output} and {curve.name}")
    return result


def _retraining(
    opened: Opened, options: Options, studies: Path, reporter: Reporter
) -> Iterator[Pass]:
    """The pass that the option `retrain` adds. A goal that is not met is an error in a build."""

    def retrain(graph: Graph) -> Graph:
        result = _compress(opened, options, studies=studies, progress=reporter.progress)
        if not result.search.met:
            raise UserError(
                result.search.shortfall,
                f"model {graph.name}",
                "Relax the goal, or allow more trials or epochs: what was tried is kept",
            )
        return result.graph

    if options.retrain:
        yield Pass("retrain", retrain, Stage.FLOAT, Stage.FLOAT)


def _streaming(calibration: Calibration, options: Options) -> Iterator[Pass]:
    """The pass that the option `stateful` adds."""
    if options.stateful:
        yield Pass(
            "stateful",
            lambda graph: as_stream(graph, calibration, options),
            Stage.FLOAT,
            Stage.FLOAT,
        )


def _is_solved(calibration: Calibration, options: Options) -> bool:
    """Whether the network is pruned by its calibration data."""
    pruned = options.sparsity is not None and not options.retrain
    return pruned and options.prune == "auto" and not calibration.synthetic


def _solving(calibration: Calibration, options: Options, reporter: Reporter) -> Iterator[Pass]:
    """The pass that `prune = auto` adds."""

    def prune(graph: Graph) -> Graph:
        return prune_once(graph, calibration, options, reporter.progress)

    if _is_solved(calibration, options):
        yield Pass("solve", prune, Stage.FLOAT, Stage.FLOAT)


def _compress(
    opened: Opened, options: Options, *, studies: Path, progress: Callable[[str], None]
) -> CompressionResult:
    graph = replace(opened.graph, ranges={})  # those in the file are of weights that will change
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
    """The stateful graph with the option `stateful`, else the graph as it is."""
    return in_chunks(make_stateful(graph), calibration.chunks) if options.stateful else graph


def flash_at(sparsity: float, graph: Graph, calibration: Calibration, options: Options) -> int:
    """Bytes of flash that the model needs if pruned to this sparsity and optimized for size."""
    smaller = replace(options, sparsity=sparsity, encoding="auto", optimize="size", retrain=False)
    return flash_bytes(graph_to_plan(graph, calibration, smaller)[1])


def needs_at(
    sparsity: float, graph: Graph, calibration: Calibration, options: Options
) -> dict[str, int]:
    """What the model needs if pruned to this sparsity, by the name of each budget that is set.

    It is optimized for speed for the budget of cycles, and for size for the others.
    """
    pruned = replace(options, sparsity=sparsity, encoding="auto", retrain=False)

    def planned(optimize: str) -> Plan:
        return graph_to_plan(graph, calibration, replace(pruned, optimize=optimize))[1]

    needed = {}
    if options.cycle_budget is not None:
        needed["cycle_budget"] = sum(step.cycles for step in planned("speed").steps)
    if options.parameter_budget is not None or options.flash_budget is not None:
        small = planned("size")
        needed["parameter_budget"] = weights_bytes(small)
        needed["flash_budget"] = flash_bytes(small)
    return needed


def use_of(path: Path, command: str) -> Use:
    """What the options of a command on a model file are used for."""
    frontend = choose_frontend(path)
    return Use(command, frontend.name, frontend.reads)


def integer_inputs(integer: IntegerGraph, calibration: Calibration) -> Int8Array:
    """The calibration samples as the device quantizes them, int8 [samples, *input shape]."""
    if calibration.images is not None:
        return quantize_bytes(calibration.images, integer)
    return quantize_inputs(calibration.inputs, integer)


def _golden_inputs(inputs: Int8Array, options: Options) -> Int8Array | None:
    if options.self_test > len(inputs):
        raise UserError(
            f"{setting('self_test', options.self_test)} asks for more vectors than the "
            f"{len(inputs)} samples",
            f"option {setting('self_test')}",
            "Ask for fewer; two or three find a wrong build",
        )
    if options.self_test_layers and not options.self_test:
        raise UserError(
            f"{setting('self_test_layers', 'yes')} compares the layers of golden vectors, and "
            "there are none",
            f"option {setting('self_test_layers')}",
            f"Set {setting('self_test', 1)} as well",
        )
    return inputs[: options.self_test] if options.self_test else None


def _golden_bytes(plan: Plan, golden: Int8Array | None, options: Options) -> int:
    """Bytes of flash of the golden vectors, without the code of the self test."""
    if golden is None:
        return 0
    each = prod(shape_of(plan.integer, plan.integer.outputs))
    if options.self_test_layers:
        each += 4 * len(plan.steps)
    return golden.nbytes + len(golden) * each
