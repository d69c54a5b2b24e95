"""Warnings of a compiled model: what calibration, pruning or int8 may have cost, and what to do."""

from __future__ import annotations

from deepcompress.data.calibration import Calibration
from deepcompress.data.scaling_warning import scaling_warning
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.ir.graph import Graph
from deepcompress.options import Options
from deepcompress.report.summary import Accuracy, measure_accuracy

_NOTABLE_CHANGE = 1.0  # percent of the answers
_NOTABLE_LOSS = 2.0  # points of accuracy, and more than one sample
_NEAR_CHANCE = 5.0  # points of accuracy above guessing


def warnings_of(
    pruned: Graph, calibration: Calibration, accuracy: Accuracy, options: Options
) -> list[str]:
    """Warnings about the pruned network, each a paragraph that ends with what to do."""
    return [
        *_calibration_warnings(pruned, calibration, options),
        *_pruning_warnings(options, calibration, accuracy),
        *_accuracy_warnings(pruned, calibration, accuracy, options),
    ]


def _calibration_warnings(
    graph: Graph,
    calibration: Calibration,
    options: Options,
) -> list[str]:
    warnings = []
    measured = not graph.ranges.keys() >= {*graph.inputs, *(node.output for node in graph.nodes)}
    if calibration.synthetic and measured:
        warnings.append(
            "no calibration data: ranges were measured on random inputs, so that accuracy may be "
            "poor. Set the option calibration to an .npz of real inputs"
        )
    if warning := scaling_warning(calibration):
        warnings.append(warning)
    if options.stateful and calibration.chunks == 1 and not calibration.synthetic:
        warnings.append(
            "ranges were measured on the first chunk of streams only. Later chunks depend on the "
            "state and may exceed these ranges. Save the calibration inputs as [streams, chunks, "
            "...]"
        )
    return warnings


def _pruning_warnings(options: Options, calibration: Calibration, accuracy: Accuracy) -> list[str]:
    """What one-shot pruning may have cost, if there are no labels to measure it."""
    changed = 100 - accuracy.agreement_percent
    one_shot = options.sparsity is not None and not options.retrain
    if not one_shot or calibration.labels is not None or changed < _NOTABLE_CHANGE:
        return []
    samples = "random inputs" if calibration.synthetic else "calibration samples"
    return [
        f"pruned without retraining, the network gives another result for {changed:.0f}% of the "
        f"{samples}: it may lose up to as many points of accuracy. Set the option data to labelled "
        "samples and retrain = yes, or prune less"
    ]


def _accuracy_warnings(
    pruned: Graph, calibration: Calibration, accuracy: Accuracy, options: Options
) -> list[str]:
    """With labels: whether the network hardly beats guessing, or lost accuracy, and why."""
    given, int8, classes = accuracy.float_percent, accuracy.int8_percent, _classes(pruned)
    if given is None or int8 is None or classes < 2:
        return []
    chance = 100 / classes
    if given <= min(1.5 * chance, chance + _NEAR_CHANCE):
        return [
            f"the float network is correct for {given:.1f}% of the samples; guessing one of "
            f"{classes} outputs is correct for {chance:.1f}%. Check that `labels` are the indices "
            "of the outputs, and that inputs are scaled as in the training (input_mean, input_std)"
        ]
    if given - int8 < _NOTABLE_LOSS or (given - int8) * accuracy.samples < 150:
        return []
    scores = forward_numpy(pruned, calibration.inputs)
    sparse = measure_accuracy(scores, scores, calibration).float_percent or 0.0
    if options.retrain:
        do = "Ask for less, or allow more epochs or trials"
    elif given - sparse > sparse - int8:
        do = (
            "Lower the sparsity, or set retrain = yes and the option data to labelled samples "
            "(or run `deepcompress prune` first)"
        )
    else:
        do = (
            "Check that the calibration inputs are like those of the firmware. Training in int8, "
            "with retrain = yes and the option data, may restore the accuracy"
        )
    return [
        f"accuracy falls from {given:.1f}% to {int8:.1f}%: {given - sparse:.1f} points by "
        f"pruning, {sparse - int8:.1f} by int8. {do}"
    ]


def _classes(graph: Graph) -> int:
    return graph.tensors[graph.outputs[0]].size
