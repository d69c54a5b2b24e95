"""The stages between the float graph and the C: from a Graph to a Plan."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.plan import Plan
from deepcompress.backend.select_kernels import select_kernels
from deepcompress.data.calibration import Calibration
from deepcompress.ir.graph import Graph
from deepcompress.options import Options
from deepcompress.passes.correct_statistics import correct_statistics
from deepcompress.passes.magnitude_prune import magnitude_prune
from deepcompress.passes.quantize import quantize
from deepcompress.pipeline import verify
from deepcompress.target import find


@dataclass
class Clock:
    """Tells how long each stage took, if somebody listens."""

    say: Callable[[str], None] = lambda line: None
    _last: float = field(default_factory=time.perf_counter)

    def stage(self, name: str) -> None:
        now = time.perf_counter()
        self.say(f"{name:<10} {1e3 * (now - self._last):8.1f} ms")
        self._last = now


def gains_by_narrow(options: Options) -> bool:
    """Whether coarser weights are worth it where convolutions' sums then fit int16."""
    core = find(options.target.cpu)
    return options.optimize == "speed" and "dsp" in core.features


def graph_to_plan(
    graph: Graph, calibration: Calibration, options: Options, clock: Clock | None = None
) -> tuple[Graph, Plan]:
    """The pruned graph, and the plan. Where retraining was asked for, it has pruned already."""
    clock = clock or Clock()
    sparsity = None if options.retrain else options.sparsity
    pruned = magnitude_prune(graph, sparsity=sparsity, scope=options.prune)
    clock.stage("prune")
    pruned = correct_statistics(pruned, graph, calibration)
    clock.stage("correct")
    integer = quantize(pruned, calibration, narrow=gains_by_narrow(options))
    verify.accumulators_fit(integer)
    clock.stage("quantize")
    selected = select_kernels(
        integer, encoding=options.encoding, optimize=options.optimize, cpu=options.target.cpu
    )
    verify.encodings_are_lossless(selected)
    clock.stage("encode")
    planned = plan_memory(selected)
    verify.buffers_do_not_collide(planned)
    clock.stage("plan")
    return pruned, planned
