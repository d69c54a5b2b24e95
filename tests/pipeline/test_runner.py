"""A list of passes runs in order, and instruments see every value without changing it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from deepcompress.cli.main import main
from deepcompress.data.calibration import Calibration
from deepcompress.errors import UserError
from deepcompress.ir.graph import Graph
from deepcompress.ir.spec import SpecificationError, Stage
from deepcompress.ir.text import text
from deepcompress.options import Options
from deepcompress.passes.fuse import fuse
from deepcompress.pipeline.graph_to_plan import graph_to_plan
from deepcompress.pipeline.reporter import SilentReporter
from deepcompress.pipeline.runner import DumpIr, Instrument, Pass, Timing, Verify, run
from model_graphs import lowered
from torch import nn


@pytest.fixture(scope="module")
def graph() -> Graph:
    torch.manual_seed(0)
    return lowered(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), 1, 5, 5)


class Stages(SilentReporter):
    def __init__(self) -> None:
        self.names: list[str] = []

    def stage(self, name: str, seconds: float) -> None:
        assert seconds >= 0
        self.names.append(name)


def test_each_pass_takes_the_value_of_the_one_before() -> None:
    double = Pass("double", lambda x: 2 * x, Stage.FLOAT, Stage.FLOAT)
    increment = Pass("increment", lambda x: x + 1, Stage.FLOAT, Stage.FLOAT)
    assert run([double, increment], 5) == 11
    assert run([], 5) == 5


def test_passes_in_a_wrong_order_are_refused_before_any_runs() -> None:
    planning = Pass("plan", lambda x: 1 / 0, Stage.SELECTED, Stage.PLANNED)
    fusing = Pass("fuse", lambda x: x, Stage.FLOAT, Stage.FLOAT)
    with pytest.raises(ValueError, match="fuse takes a float graph, but plan returns a planned"):
        run([planning, fusing], None)


def test_what_a_pass_ensures_is_checked_in_every_run() -> None:
    def same(before: int, after: int) -> None:
        assert before == after

    with pytest.raises(AssertionError):
        run([Pass("increment", lambda x: x + 1, Stage.FLOAT, Stage.FLOAT, ensures=same)], 5)


def test_instruments_see_each_pass_and_its_value() -> None:
    seen: list[object] = []

    class Recorder(Instrument):
        def before(self, step: Pass) -> None:
            seen.append(step.name)

        def after(self, step: Pass, value: object) -> None:
            seen.append(value)

    double = Pass("double", lambda x: 2 * x, Stage.FLOAT, Stage.FLOAT)
    assert run([double, double], 1, [Recorder()]) == 4
    assert seen == ["double", 2, "double", 4]


def test_the_time_of_every_stage_is_reported_by_name(graph: Graph) -> None:
    stages = Stages()
    graph_to_plan(graph, Calibration(ones()), Options(), [Timing(stages)])
    assert stages.names == ["prune", "correct", "quantize", "select", "plan"]


def test_a_pass_that_breaks_a_rule_is_named_with_node_and_rule(graph: Graph) -> None:
    def forget(graph: Graph) -> Graph:
        return replace(graph, nodes=graph.nodes[1:])

    with pytest.raises(SpecificationError) as error:
        run([Pass("forget", forget, Stage.FLOAT, Stage.FLOAT)], graph, [Verify()])
    assert str(error.value) == (
        f"after forget, float graph, node {graph.nodes[1].name} reads {graph.nodes[0].output}: "
        "nodes are in execution order"
    )


def test_every_value_is_written_as_text_in_the_order_of_the_passes(
    graph: Graph, tmp_path: Path
) -> None:
    fusing = Pass("fuse", fuse, Stage.FLOAT, Stage.FLOAT)
    dump = DumpIr(tmp_path / "ir")
    fused = run([fusing], graph, [dump])
    graph_to_plan(fused, Calibration(ones()), Options(), [dump])
    names = [path.name for path in sorted((tmp_path / "ir").iterdir())]
    assert names == [
        "01_fuse.txt",
        "02_prune.txt",
        "03_correct.txt",
        "04_quantize.txt",
        "05_select.txt",
        "06_plan.txt",
    ]
    assert (tmp_path / "ir" / "01_fuse.txt").read_text() == text(fused)


def test_a_folder_that_cannot_be_written_is_a_user_error(graph: Graph, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fusing = Pass("fuse", fuse, Stage.FLOAT, Stage.FLOAT)
    with pytest.raises(UserError, match="cannot be written"):
        run([fusing], graph, [DumpIr(tmp_path / "file")])


def test_the_command_line_verifies_and_dumps(tmp_path: Path) -> None:
    program = torch.export.export(nn.Sequential(nn.Linear(4, 2)).eval(), (torch.zeros(1, 4),))
    torch.export.save(program, tmp_path / "net.pt2")
    model, ir = str(tmp_path / "net.pt2"), tmp_path / "ir"
    flags = ["--verify", "--dump-ir", str(ir)]
    assert main(["compile", model, "-o", str(tmp_path / "out"), *flags]) == 0
    first, *_, last = sorted(path.name for path in ir.iterdir())
    assert (first, last) == ("01_import.txt", "07_plan.txt")
    assert main(["check", model, "--verify", "--dump-ir", str(tmp_path / "check")]) == 0
    assert (tmp_path / "check" / "07_plan.txt").read_text() == (ir / "07_plan.txt").read_text()


def ones() -> np.ndarray:
    return np.ones((2, 1, 5, 5), np.float32)
