"""The passes between the fused float graph and the C: from a Graph to a Plan."""

from __future__ import annotations

from collections.abc import Iterable

from deepcompress.backend.memory_plan import plan_memory
from deepcompress.backend.plan import Plan, SelectedGraph
from deepcompress.backend.select_kernels import select_kernels
from deepcompress.data.calibration import Calibration
from deepcompress.ir.graph import Graph, IntegerGraph
from deepcompress.ir.spec import Stage
from deepcompress.options import Options
from deepcompress.passes.correct_statistics import correct_statistics
from deepcompress.passes.magnitude_prune import magnitude_prune
from deepcompress.passes.quantize import quantize
from deepcompress.pipeline import verify
from deepcompress.pipeline.runner import Instrument, Pass, run
from deepcompress.target import find


def graph_to_plan(
    graph: Graph,
    calibration: Calibration,
    options: Options,
    instruments: Iterable[Instrument] = (),
) -> tuple[Graph, Plan]:
    """The pruned graph, and the plan. With the option `retrain`, the graph is pruned already."""
    instruments = tuple(instruments)
    pruned: Graph = run(_pruning(graph, calibration, options), graph, instruments)
    plan: Plan = run(_lowering(calibration, options), pruned, instruments)
    return pruned, plan


def gains_by_narrow(options: Options) -> bool:
    """Whether coarser weights are worth their loss if the sums of convolutions then fit int16."""
    core = find(options.target.cpu)
    return options.optimize == "speed" and "dsp" in core.features


def _pruning(graph: Graph, calibration: Calibration, options: Options) -> list[Pass]:
    def prune(dense: Graph) -> Graph:
        sparsity = None if options.retrain else options.sparsity
        return magnitude_prune(dense, sparsity=sparsity, scope=options.prune)

    def correct(pruned: Graph) -> Graph:
        return correct_statistics(pruned, graph, calibration)

    return [
        Pass("prune", prune, Stage.FLOAT, Stage.FLOAT),
        Pass("correct", correct, Stage.FLOAT, Stage.FLOAT),
    ]


def _lowering(calibration: Calibration, options: Options) -> list[Pass]:
    def to_integers(graph: Graph) -> IntegerGraph:
        return quantize(graph, calibration, narrow=gains_by_narrow(options))

    def select(graph: IntegerGraph) -> SelectedGraph:
        return select_kernels(
            graph, encoding=options.encoding, optimize=options.optimize, cpu=options.target.cpu
        )

    return [
        Pass(
            "quantize",
            to_integers,
            Stage.FLOAT,
            Stage.INTEGER,
            ensures=lambda _, graph: verify.accumulators_fit(graph),
        ),
        Pass(
            "select",
            select,
            Stage.INTEGER,
            Stage.SELECTED,
            ensures=lambda _, graph: verify.encodings_are_lossless(graph),
        ),
        Pass(
            "plan",
            plan_memory,
            Stage.SELECTED,
            Stage.PLANNED,
            ensures=lambda _, plan: verify.buffers_do_not_collide(plan),
        ),
    ]
