"""The story of pruning with data: a Graph and samples become a smaller Graph that meets a goal.

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
from deepcompress.data.calibration import Calibration, byte_scaling
from deepcompress.data.training_data import Samples
from deepcompress.errors import UserError
from deepcompress.execute.float_torch import forward_numpy
from deepcompress.execute.int8_reference import quantize_inputs, run
from deepcompress.ir.graph import Graph, WeightedNode
from deepcompress.options import Options
from deepcompress.passes.remove_dead_channels import remove_dead_channels
from deepcompress.pipeline.graph_to_plan import graph_to_plan
from deepcompress.report.summary import flash_bytes, percent, top1, weights_bytes
from deepcompress.training.config import Goal, Outcome, Recipe
from deepcompress.training.latency_per_weight import Pace, dense_cycles, measure_pace
from deepcompress.training.search import Found, level_search, search
from deepcompress.training.trainer import Epoch, Retrained, retrain

# Trials that each kind of goal gets where the options do not say.
_TRIALS_FOR_LOSS, _TRIALS_FOR_FLASH, _TRIALS = 6, 3, 1
OBSERVED = 512  # samples on which ranges are measured where there is no calibration file
# Between these shares of the float network's bytes, or of the dense one's cycles, is searched.
_SHARES = {"parameter_bytes": (1 / 200, 1 / 3), "cycles": (1 / 100, 1)}
# Fields of the options that are goals.
_GOALS = ("max_accuracy_drop", "parameter_budget", "flash_budget", "cycle_budget", "sparsity")


@dataclass(frozen=True)
class Shrunk:
    """The network found, and all that was tried.

    Attributes:
        graph: its weights are final; dead channels are gone.
        before: the float graph it was made from.
        baseline: percent of the validation samples that the float network gets right.
        samples: how many these are.
    """

    graph: Graph
    before: Graph
    found: Found
    baseline: float
    samples: int


def goal_of(options: Options) -> Goal:
    """What the options ask of retraining. Raises UserError where that is nothing, or no sense."""
    if isinstance(options.sparsity, dict):
        raise UserError(
            "retraining takes one number: it shares it out among the layers itself",
            "option sparsity",
            "Write for example sparsity = 0.95",
        )
    asked = {name: getattr(options, name) for name in _GOALS}
    if options.epochs == 0:
        raise UserError(
            "retraining for 0 epochs is none", "option epochs", "Ask for at least 5; 20 are usual"
        )
    if not any(value is not None for value in asked.values()):
        raise UserError(
            "retraining has no goal",
            "options",
            "Name one or more: max_accuracy_drop = 0.5, flash_budget = 8K, parameter_budget = 4K, "
            "cycle_budget = 150K, sparsity = 0.95",
        )
    return Goal(**asked, least="cycles" if options.optimize == "speed" else "parameter_bytes")


def compress_with_data(
    graph: Graph,
    samples: Samples,
    options: Options,
    *,
    calibration: Calibration,
    beside: Path,
    say: Callable[[str], None],
) -> Shrunk:
    """The graph pruned and retrained until it meets the options' goal, or comes nearest.

    Args:
        graph: folded.
        calibration: what the compiled network's ranges are measured on.
        beside: folder for studies where the options name none. Called again with the same, this
            goes on where it was.
        say: is told of progress, line by line.

    Raises:
        UserError: no goal, or a study of something else.
    """
    goal = goal_of(options)
    inputs, labels = samples.validation
    baseline = percent(top1(forward_numpy(graph, inputs)) == labels)
    say(f"float network: {baseline:.2f}% of {len(labels):,} validation samples")
    level = options.method == "level"
    pace = measure_pace(graph, calibration, options)
    base = replace(_base(goal), epochs=options.epochs, seed=options.seed, gradual=not level)

    def attempt(recipe: Recipe, folder: Path) -> Outcome:
        return _retrained(recipe, folder).outcome

    def _retrained(recipe: Recipe, folder: Path) -> Retrained:
        return retrain(
            graph,
            samples,
            recipe,
            folder,
            observed=calibration.inputs,
            pace=pace,
            assess=lambda candidate: assess(candidate, samples, calibration, options),
            tell=_Lines(recipe, say).tell,
        )

    fingerprint = _fingerprint(graph, samples, calibration, options, goal)
    seek = level_search if level else search
    found = seek(
        goal,
        study=_study(options.study or str(beside), fingerprint),
        work=beside / fingerprint[:12],
        run=attempt,
        baseline=baseline,
        sizes=_sizes(goal, graph, pace),
        base=base,
        trials=options.trials or _trials(goal),
        fingerprint=fingerprint,
        say=say,
    )
    final = _retrained(found.recipe, found.folder).graph
    return Shrunk(remove_dead_channels(final), graph, found, baseline, len(labels))


def assess(graph: Graph, samples: Samples, calibration: Calibration, options: Options) -> Outcome:
    """What a graph reaches as it would be compiled: its bytes, and its int8 accuracy."""
    _, planned = graph_to_plan(
        remove_dead_channels(graph), calibration, replace(options, sparsity=None)
    )
    integer = planned.encoded.integer
    inputs, labels = samples.validation
    quantized = quantize_inputs(inputs, integer)
    return Outcome(
        accuracy=percent(top1(run(integer, quantized)) == labels),
        parameter_bytes=weights_bytes(planned),
        flash_bytes=flash_bytes(planned),
        cycles=sum(step.cycles for step in planned.steps),
        nonzeros=sum(
            int(np.count_nonzero(node.weight))
            for node in integer.nodes
            if isinstance(node, WeightedNode)
        ),
    )


def samples_as_calibration(samples: Samples, options: Options) -> Calibration:
    """The validation samples in place of a calibration file."""
    inputs, labels = samples.validation
    chosen = inputs[:OBSERVED], labels[:OBSERVED]
    return Calibration(*chosen, byte_scaling(options), kind="validation")


def summary(shrunk: Shrunk) -> str:
    """What came of it, for a person."""
    outcome, before = shrunk.found.outcome, float_bytes(shrunk.before)
    return "\n".join(
        [
            f"parameters  {outcome.parameter_bytes:,} B, {before / outcome.parameter_bytes:.1f}x "
            f"smaller than {before:,} B of float; {_left(shrunk)}",
            f"cycles      about {outcome.cycles:,} an inference",
            f"accuracy    {outcome.accuracy:.2f}% int8, {shrunk.baseline:.2f}% float, on "
            f"{shrunk.samples:,} validation samples",
        ]
    )


def _left(shrunk: Shrunk) -> str:
    """How many weights; where all are, what made the network smaller."""
    weights = sum(
        node.parameters["weight"].size
        for node in shrunk.before.nodes
        if "weight" in node.parameters
    )
    nonzeros, bits = shrunk.found.outcome.nonzeros, shrunk.found.recipe.codebook_bits
    if nonzeros < weights:
        return f"{nonzeros:,} of {weights:,} weights are left"
    shared = f", values are shared ({2**bits} a layer)" if bits else ""
    return f"all {weights:,} weights are left: nothing was pruned{shared}"


def float_bytes(graph: Graph) -> int:
    """Of all parameters as float32."""
    return sum(array.nbytes for node in graph.nodes for array in node.parameters.values())


def _base(goal: Goal) -> Recipe:
    """The default recipe: where only speed counts, weights share no values."""
    in_bytes = goal.parameter_budget is not None or goal.flash_budget is not None
    if goal.size == "cycles" and not in_bytes:
        return Recipe(score="cycles", codebook_bits=0)
    return Recipe(score="cycles" if goal.size == "cycles" else "bytes")


def _sizes(goal: Goal, graph: Graph, pace: Pace) -> tuple[int, int]:
    smallest, largest = _SHARES["cycles" if goal.size == "cycles" else "parameter_bytes"]
    whole = dense_cycles(graph, pace) if goal.size == "cycles" else float_bytes(graph)
    return round(smallest * whole), round(largest * whole)


def _trials(goal: Goal) -> int:
    if goal.max_accuracy_drop is not None:
        return _TRIALS_FOR_LOSS
    # How much of a flash budget the kernels take, the first trial has to find out.
    return _TRIALS_FOR_FLASH if goal.flash_budget is not None else _TRIALS


def _study(text: str, fingerprint: str) -> Path | str:
    """A database's URL, or in a folder one of its own for all that decides the outcomes."""
    return text if "://" in text else Path(text) / fingerprint[:12]


class _Lines:
    """A line for each epoch of a training, with the time that is left of it."""

    def __init__(self, recipe: Recipe, say: Callable[[str], None]) -> None:
        self._epochs, self._say = recipe.epochs, say
        self._began, self._done = time.monotonic(), 0

    def tell(self, epoch: Epoch) -> None:
        self._done += 1
        text = f"  epoch {epoch.index + 1:3} of {self._epochs}  {epoch.nonzeros:9,} weights"
        if epoch.outcome is not None:
            text += f"  {epoch.outcome.parameter_bytes:9,} B  {epoch.outcome.cycles:11,} cycles"
            text += f"  int8 {epoch.outcome.accuracy:6.2f}%"
        seconds = (time.monotonic() - self._began) / self._done
        left = seconds * (self._epochs - epoch.index - 1)
        self._say(f"{text}  {_duration(left)} left" if left else text)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _fingerprint(
    graph: Graph, samples: Samples, calibration: Calibration, options: Options, goal: Goal
) -> str:
    """Changes with all that a study's outcomes depend on."""
    decides = ("method", "epochs", "seed", "encoding", "optimize", "input_mean", "input_std")
    digest = hashlib.sha256(repr((__version__, goal, options.target.cpu)).encode())
    digest.update(repr([getattr(options, name) for name in decides]).encode())
    for node in graph.nodes:
        digest.update(repr((node.name, node.op, node.attributes, node.clamp)).encode())
        for array in node.parameters.values():
            digest.update(array.tobytes())
    digest.update(samples.fingerprint.encode())
    digest.update(np.ascontiguousarray(calibration.inputs).tobytes())
    return digest.hexdigest()[:32]
