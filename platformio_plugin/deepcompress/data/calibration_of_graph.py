"""The calibration inputs of an imported network: those of the options, or synthetic ones."""

from __future__ import annotations

from pathlib import Path

from deepcompress.data.byte_scaling import byte_scaling
from deepcompress.data.calibration import (
    Calibration,
    check_shape,
    read_calibration_per_input,
    split_streams,
)
from deepcompress.data.synthetic_inputs import synthetic_calibration
from deepcompress.errors import UserError, setting
from deepcompress.ir.batch_layout import shape_of
from deepcompress.ir.graph import Graph
from deepcompress.options import Options


def calibration_of_graph(
    graph: Graph, calibration: Calibration | None, options: Options
) -> Calibration:
    """Calibration inputs of the graph's input shape.

    Args:
        calibration: what was read before the graph was known, or None.

    Raises:
        UserError: they do not fit the graph, or its inputs cannot be raw bytes.
    """
    _check_byte_inputs(graph, options)
    shape = shape_of(graph, graph.inputs)
    if calibration is None and options.calibration:
        shapes = {name: graph.tensors[name].shape for name in graph.inputs}
        calibration = read_calibration_per_input(Path(options.calibration), shapes)
    if calibration is None:
        return synthetic_calibration(options, shape)
    if options.stateful:
        calibration = split_streams(calibration, shape)
    check_shape(calibration, shape, options.calibration)
    _check_classes(calibration, graph, options)
    return calibration


def _check_classes(calibration: Calibration, graph: Graph, options: Options) -> None:
    outputs = sum(graph.tensors[name].size for name in graph.outputs)
    if calibration.labels is not None and calibration.labels.max() >= outputs:
        raise UserError(
            f"it has labels up to {calibration.labels.max()}, the model has {outputs} outputs",
            f"calibration file {options.calibration}" if options.calibration else "the data",
            "A label is the index of an output, the first is 0",
        )


def _check_byte_inputs(graph: Graph, options: Options) -> None:
    if len(graph.inputs) > 1 and byte_scaling(options) is not None:
        raise UserError(
            f"the model has {len(graph.inputs)} inputs ({', '.join(graph.inputs)}), of which raw "
            "bytes cannot be scaled",
            f"options {setting('input_mean')} and {setting('input_std')}",
            "Leave them out, and give the inputs as float or int8",
        )
