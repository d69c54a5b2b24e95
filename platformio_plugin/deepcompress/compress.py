"""The stages between the float graph and the C: from a Graph to a Plan."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from deepcompress import check
from deepcompress.calibration import Calibration
from deepcompress.correct import correct
from deepcompress.cpus import find
from deepcompress.encode import encode
from deepcompress.graph import Graph, Plan
from deepcompress.options import Options
from deepcompress.plan import plan
from deepcompress.prune import prune
from deepcompress.quantize import quantize


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
    return options.optimize == "speed" and core.has_dsp


def compress(
    graph: Graph, calibration: Calibration, options: Options, clock: Clock | None = None
) -> tuple[Graph, Plan]:
    """The pruned graph, and the plan. Where retraining was asked for, it has pruned already."""
    clock = clock or Clock()
    sparsity = None if options.retrain else options.sparsity
    pruned = prune(graph, sparsity=sparsity, scope=options.prune)
    clock.stage("prune")
    pruned = correct(pruned, graph, calibration)
    clock.stage("correct")
    integer = quantize(pruned, calibration, narrow=gains_by_narrow(options))
    check.accumulators_fit(integer)
    clock.stage("quantize")
    encoded = encode(
        integer, encoding=options.encoding, optimize=options.optimize, cpu=options.target.cpu
    )
    check.encodings_are_lossless(encoded)
    clock.stage("encode")
    planned = plan(encoded, cpu=options.target.cpu)
    check.buffers_do_not_collide(planned)
    clock.stage("plan")
    return pruned, planned
