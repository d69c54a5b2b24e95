"""Pruning with data: a Graph and training data become a smaller Graph that meets a goal.

Graph --search--> recipes --retrain--> Graphs --assess--> outcomes --choose--> Graph
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepcompress import __version__
from deepcompress.data.byte_scaling import byte_scaling
from deepcompress.data.calibration import Calibration
from deepcompress.data.training_data import Samples
from deepcompress.errors import UserError, setting
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.ir.graph import Graph
from deepcompress.options import Options, training_facts
from deepcompress.passes.remove_dead_channels import remove_dead_channels
from deepcompress.report.summary import percent, top1
from deepcompress.training.compiled import assess
from deepcompress.training.config import Goal, Outcome, Recipe, SearchRequest, StudyLocation
from deepcompress.training.latency_per_weight import dense_cycles, measure_latency
from deepcompress.training.schedule import measured_epochs
from deepcompress.training.search import Report, SearchResult, require_optuna, search
from deepcompress.training.state import Epoch
from deepcompress.training.trainer import Task, retrain

# Trials per kind of goal if the options do not say.
_TRIALS_FOR_LOSS, _TRIALS_FOR_FLASH, _TRIALS = 6, 3, 1
OBSERVED = 512  # samples on which ranges are measured if there is no calibration file
# The range of the search, in shares of the float network's bytes or of the dense one's cycles.
_SHARES = {"parameter_bytes": (1 / 200, 1 / 3), "cycles": (1 / 100, 1)}
# Fields of the options that are goals.
_GOALS = ("max_accuracy_drop", "parameter_budget", "flash_budget", "cycle_budget", "sparsity")


@dataclass(frozen=True)
class CompressionResult:
    """The compressed network, and the search that led to it.

    Attributes:
        graph: with final weights and without dead channels.
        original: the float graph before compression.
        baseline: accuracy of the float network on the validation samples, percent.
        samples: number of validation samples.
    """

    graph: Graph
    original: Graph
    search: SearchResult
    baseline: float
    samples: int


def goal_of(options: Options) -> Goal:
    """The goal of the options. Raises UserError if there is none, or if it cannot be pursued."""
    if isinstance(options.sparsity, dict):
        raise UserError(
            "retraining takes one number, and distributes it over the layers itself",
            f"option {setting('sparsity')}",
            f"Write for example {setting('sparsity', '0.95')}",
        )
    asked = {name: getattr(options, name) for name in _GOALS}
    if options.epochs == 0:
        raise UserError(
            "retraining for 0 epochs trains nothing",
            f"option {setting('epochs')}",
            "Ask for at least 5; 20 are usual",
        )
    if not any(value is not None for value in asked.values()):
        raise UserError(
            "retraining has no goal",
            "options",
            f"Set one or more: {setting('max_accuracy_drop', 0.5)}, "
            f"{setting('flash_budget', '8K')}, {setting('parameter_budget', '4K')}, "
            f"{setting('cycle_budget', '150K')}, {setting('sparsity', 0.95)}",
        )
    return Goal(**asked, least="cycles" if options.optimize == "speed" else "parameter_bytes")


def compress_with_data(
    graph: Graph,
    data: Samples,
    options: Options,
    *,
    calibration: Calibration,
    studies: Path,
    progress: Callable[[str], None],
) -> CompressionResult:
    """The graph pruned and retrained until it meets the options' goal, or comes nearest.

    Args:
        graph: after `fuse`.
        calibration: what the compiled network's ranges are measured on.
        studies: folder of the studies if the options name none. A later call with the same
            arguments continues the study there.
        progress: takes lines of progress.

    Raises:
        UserError: there is no goal, Optuna is missing, or the study is of something else.
    """
    goal = goal_of(options)
    require_optuna()
    inputs, labels = data.validation
    baseline = percent(top1(forward_numpy(graph, inputs)) == labels)
    progress(f"float network: {baseline:.2f}% of {len(labels):,} validation samples")
    task = Task(
        graph,
        data,
        observed=calibration.inputs,
        latency=measure_latency(graph, calibration, options),
        assess=lambda candidate: assess(candidate, data, calibration, options),
    )

    def run(recipe: Recipe, folder: Path, report: Report) -> Outcome:
        return retrain(
            task, recipe, folder, on_epoch=_EpochLines(recipe, progress, report), progress=progress
        ).outcome

    result = search(
        _request(goal, baseline, task, options),
        _location(options, studies, _fingerprint(graph, data, calibration, options, goal)),
        run,
        progress=progress,
    )
    # Its training is finished: this reads the network from the checkpoint.
    final = retrain(
        task,
        result.recipe,
        result.folder,
        on_epoch=_EpochLines(result.recipe, progress),
        progress=progress,
    )
    return CompressionResult(
        remove_dead_channels(final.graph), graph, result, baseline, len(labels)
    )


def samples_as_calibration(data: Samples, options: Options) -> Calibration:
    """The validation samples in place of a calibration file."""
    inputs, labels = data.validation
    return Calibration(
        inputs[:OBSERVED], labels[:OBSERVED], byte_scaling(options), kind="validation"
    )


def summary(result: CompressionResult) -> str:
    """What the compression achieved, in three lines of text."""
    outcome, before = result.search.outcome, float_bytes(result.original)
    return "\n".join(
        [
            f"parameters  {outcome.parameter_bytes:,} B, {before / outcome.parameter_bytes:.1f}x "
            f"smaller than {before:,} B of float; {_weights_left(result)}",
            f"cycles      about {outcome.cycles:,} per inference",
            f"accuracy    {outcome.accuracy:.2f}% int8, {result.baseline:.2f}% float, on "
            f"{result.samples:,} validation samples",
        ]
    )


def _weights_left(result: CompressionResult) -> str:
    """How many weights are left; if all are, what made the network smaller."""
    weights = sum(
        node.parameters["weight"].size
        for node in result.original.nodes
        if "weight" in node.parameters
    )
    nonzeros, bits = result.search.outcome.nonzeros, result.search.recipe.codebook_bits
    if nonzeros < weights:
        return f"{nonzeros:,} of {weights:,} weights are left"
    shared = f", values are shared ({2**bits} per layer)" if bits else ""
    return f"all {weights:,} weights are left: nothing was pruned{shared}"


def float_bytes(graph: Graph) -> int:
    """Bytes of all parameters as float32."""
    return sum(array.nbytes for node in graph.nodes for array in node.parameters.values())


def _request(goal: Goal, baseline: float, task: Task, options: Options) -> SearchRequest:
    level = options.method == "level"
    base = replace(
        _default_recipe(goal), epochs=options.epochs, seed=options.seed, gradual=not level
    )
    return SearchRequest(
        goal=goal,
        baseline=baseline,
        sizes=_sizes(goal, task),
        base=base,
        trials=options.trials or _trials(goal),
        method="level" if level else "gradual",
        early_stop=options.early_stop,
        measured_epochs=len(measured_epochs(base)),
    )


def _default_recipe(goal: Goal) -> Recipe:
    """Without a codebook if only cycles count: shared values save bytes, not cycles."""
    in_bytes = goal.parameter_budget is not None or goal.flash_budget is not None
    if goal.size == "cycles" and not in_bytes:
        return Recipe(score="cycles", codebook_bits=0)
    return Recipe(score="cycles" if goal.size == "cycles" else "bytes")


def _sizes(goal: Goal, task: Task) -> tuple[int, int]:
    smallest, largest = _SHARES[goal.size_metric]
    in_cycles = goal.size_metric == "cycles"
    whole = dense_cycles(task.graph, task.latency) if in_cycles else float_bytes(task.graph)
    return max(1, round(smallest * whole)), max(1, round(largest * whole))


def _trials(goal: Goal) -> int:
    if goal.max_accuracy_drop is not None:
        return _TRIALS_FOR_LOSS
    # The first trial measures how much of a flash budget the kernels take.
    return _TRIALS_FOR_FLASH if goal.flash_budget is not None else _TRIALS


def _location(options: Options, studies: Path, fingerprint: str) -> StudyLocation:
    """A database, or a folder per fingerprint."""
    study = options.study or str(studies)
    if "://" in study:
        return StudyLocation(study, fingerprint, work=studies / fingerprint[:12])
    return StudyLocation(Path(study) / fingerprint[:12], fingerprint)


class _EpochLines:
    """A line of progress per epoch of a training, and a report per measured epoch."""

    def __init__(
        self,
        recipe: Recipe,
        progress: Callable[[str], None],
        report: Report = lambda step, outcome: None,
    ) -> None:
        self._recipe, self._progress, self._report = recipe, progress, report
        self._first = measured_epochs(recipe)[0]
        self._started, self._done = time.monotonic(), 0

    def __call__(self, epoch: Epoch) -> None:
        self._done += 1
        epochs = self._recipe.epochs
        text = f"  epoch {epoch.index + 1:3} of {epochs}  {epoch.nonzeros:9,} weights"
        if epoch.outcome is not None:
            text += f"  {epoch.outcome.parameter_bytes:9,} B  {epoch.outcome.cycles:11,} cycles"
            text += f"  int8 {epoch.outcome.accuracy:6.2f}%"
        seconds = (time.monotonic() - self._started) / self._done
        left = seconds * (epochs - epoch.index - 1)
        self._progress(f"{text}  {_duration(left)} left" if left else text)
        if epoch.outcome is not None and epoch.index + 1 < epochs:
            self._report(epoch.index - self._first, epoch.outcome)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _fingerprint(
    graph: Graph, data: Samples, calibration: Calibration, options: Options, goal: Goal
) -> str:
    """A digest of everything besides a recipe that decides outcomes, 32 hex digits."""
    digest = hashlib.sha256(repr((__version__, goal, options.target.cpu)).encode())
    digest.update(repr(training_facts(options)).encode())
    for node in graph.nodes:
        digest.update(repr((node.name, node.op, node.attributes, node.clamp)).encode())
        for array in node.parameters.values():
            digest.update(array.tobytes())
    digest.update(data.fingerprint.encode())
    digest.update(np.ascontiguousarray(calibration.inputs).tobytes())
    return digest.hexdigest()[:32]
