"""`deepcompress prune`, and a build that retrains: a whole search on a small network."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from c_runner import ROOT
from deepcompress.cli.main import main
from deepcompress.compile import compile_model, open_model
from deepcompress.errors import UserError
from deepcompress.options import Options, parse
from deepcompress.passes.magnitude_prune import magnitude_prune
from deepcompress.passes.remove_dead_channels import remove_dead_channels
from deepcompress.pipeline.graph_to_plan import graph_to_plan
from deepcompress.pipeline.reporter import SilentReporter
from deepcompress.training.compress_with_data import CompressionResult, summary
from deepcompress.training.config import Goal, Outcome, Recipe
from deepcompress.training.latency_per_weight import dense_cycles, measure_latency
from deepcompress.training.masks import estimate_cycles, producers, remove_unused
from deepcompress.training.search import SearchResult

SIDE, CLASSES = 8, 4


class Lines(SilentReporter):
    """Collects the lines of progress."""

    def __init__(self, lines: list[str]) -> None:
        self.progress = lines.append


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.pt, trained, and data.npz: the position of a bright square in an image of bytes."""
    folder = tmp_path_factory.mktemp("prune")
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, 600)
    images = generator.integers(0, 90, (600, 1, SIDE, SIDE))
    for image, label in zip(images, labels, strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[0, row : row + 4, column : column + 4] += 60
    np.savez(folder / "data.npz", inputs=images.astype(np.uint8), labels=labels)
    np.savez(folder / "unlabelled.npz", inputs=images.astype(np.uint8))
    save_trained(torch.from_numpy(images / 255).float(), torch.from_numpy(labels), folder)
    return folder


def save_trained(images: torch.Tensor, labels: torch.Tensor, folder: Path) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(72, 16),
        torch.nn.ReLU(),
        torch.nn.Linear(16, CLASSES),
    )
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    torch.export.save(
        torch.export.export(network.eval(), (torch.zeros(1, 1, SIDE, SIDE),)), folder / "net.pt2"
    )
    (folder / "net.pt2").rename(folder / "net.pt")


def options(folder: Path, **changes: str) -> dict[str, str]:
    return {
        "data": str(folder / "data.npz"),
        "input_mean": "0",
        "input_std": "1",
        "optimize": "size",
        "epochs": "3",
    } | changes


def command(folder: Path, output: Path, **changes: str) -> list[str]:
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in options(folder, **changes).items()]
    return ["prune", str(folder / "net.pt"), "-o", str(output), *flags]


def test_a_budget_is_met_and_the_result_compiles_to_the_reported_size(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    small = tmp_path / "small.pt"
    assert main(command(folder, small, parameter_budget="400")) == 0
    said = capsys.readouterr().out
    assert (tmp_path / "small.png").read_bytes().startswith(b"\x89PNG")
    texts = options(folder, calibration=str(folder / "data.npz"))
    compiled = compile_model(small, name="small", options=parse(texts, where="test"))
    parameters = compiled.report["flash"]["weights_bytes"]
    assert parameters <= 400
    assert f"parameters  {parameters:,} B" in said
    assert compiled.report["accuracy"]["int8_percent"] > 90


@pytest.mark.parametrize(
    ("nonzeros", "bits", "said"),
    [
        (900, 4, r"; 900 of 1,288 weights are left"),
        (
            1288,
            4,
            r"; all 1,288 weights are left: nothing was pruned, values are shared \(16 per layer",
        ),
        (1288, 0, r"; all 1,288 weights are left: nothing was pruned\n"),
    ],
)
def test_the_remaining_weights_are_counted(
    nonzeros: int, bits: int, said: str, folder: Path, tmp_path: Path
) -> None:
    given = Options(calibration=str(folder / "data.npz"), input_mean=(0.0,), input_std=(1.0,))
    graph = open_model(folder / "net.pt", name="net", options=given).graph
    outcome = Outcome(99.0, 700, 900, 1000, nonzeros)
    recipe = Recipe(codebook_bits=bits)
    found = SearchResult(Goal(), recipe, outcome, tmp_path, met=True, shortfall="", trials=())
    assert re.search(
        said, summary(CompressionResult(graph, graph, found, baseline=99.0, samples=60))
    )


def test_a_budget_of_cycles_is_met_and_the_result_compiles_to_the_reported_cycles(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    dense = compiled_cycles(folder / "net.pt", folder, encoding="dense", optimize="speed")
    budget, small = round(dense / 3), tmp_path / "small.pt"
    goal = {"cycle_budget": str(budget), "optimize": "speed", "epochs": "8"}
    assert main(command(folder, small, **goal)) == 0
    cycles = compiled_cycles(small, folder, optimize="speed")
    assert 0.8 * budget < cycles <= budget
    assert f"cycles      about {cycles:,} per inference" in capsys.readouterr().out


def compiled_cycles(model: Path, folder: Path, **changes: str) -> int:
    texts = options(folder, calibration=str(folder / "data.npz"), **changes)
    return compile_model(model, name="net", options=parse(texts, where="test")).report["cycles"]


def test_cycles_that_cannot_be_reached_are_reported_with_the_nearest(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    goal = {"cycle_budget": "50", "optimize": "speed", "epochs": "4"}
    assert main(command(folder, tmp_path / "small.pt", **goal)) == 1
    message = " ".join(capsys.readouterr().err.split())
    assert re.search(
        r"50 cycles was not reached in 1 trial: the nearest is ([\d,]+) cycles; allow \1 cycles",
        message,
    )


@pytest.mark.parametrize("optimize", ["size", "speed"])
def test_the_latency_model_predicts_other_sparsities(folder: Path, optimize: str) -> None:
    texts = options(folder, calibration=str(folder / "data.npz"), optimize=optimize)
    parsed = parse(texts, where="test")
    opened = open_model(folder / "net.pt", name="net", options=parsed)
    latency = measure_latency(opened.graph, opened.calibration, parsed)
    pruned = magnitude_prune(opened.graph, sparsity=0.9, scope="layer")
    masks = {
        node.name: torch.tensor(node.parameters["weight"] != 0).float()
        for node in pruned.nodes
        if "weight" in node.parameters
    }
    masks = remove_unused(masks, producers(pruned))
    _, plan = graph_to_plan(remove_dead_channels(pruned), opened.calibration, parsed)
    cycles = sum(step.cycles for step in plan.steps)
    assert estimate_cycles(masks, latency) == pytest.approx(cycles, rel=0.1)
    assert dense_cycles(opened.graph, latency) > cycles


@pytest.mark.parametrize(("optimize", "size"), [("size", "[\\d,]+ B"), ("speed", "[\\d,]+ cycles")])
def test_a_search_with_a_tolerated_loss_minimizes_bytes_or_for_speed_cycles(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture, optimize: str, size: str
) -> None:
    small = tmp_path / "small.pt"
    goal = {"max_accuracy_drop": "5", "trials": "3", "epochs": "2", "optimize": optimize}
    assert main(command(folder, small, **goal)) == 0
    assert len(list(next((tmp_path / "small.study").iterdir()).glob("trials/*"))) == 3
    assert re.search(rf"^trial 1 of 3: {size}, \w+ scores", capsys.readouterr().out, re.MULTILINE)


def test_an_unreachable_goal_is_reported_and_the_nearest_result_is_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    small = tmp_path / "small.pt"
    goal = {"max_accuracy_drop": "0", "parameter_budget": "60", "trials": "1"}
    assert main(command(folder, small, **goal)) == 1
    error = capsys.readouterr().err
    assert "the goal is not met" in error
    assert "the nearest is" in error
    assert small.is_file()


def test_level_pruning_keeps_the_same_share_of_every_layer(folder: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.pt"
    assert main(command(folder, small, method="level", sparsity="0.5")) == 0
    texts = options(folder)
    graph = compile_model(small, name="small", options=parse(texts, where="test")).graph
    left = [np.count_nonzero(node.parameters["weight"]) for node in graph.nodes]
    before = [8 * 9, 16 * 72, CLASSES * 16]
    assert [n / m for n, m in zip(left, before, strict=True)] == pytest.approx([0.5] * 3, abs=0.1)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({}, "retraining has no goal"),
        ({"sparsity": "conv1:0.5"}, "retraining takes one number"),
        ({"sparsity": "0.5", "data": ""}, "retraining needs data to train on"),
        ({"sparsity": "0.5", "data": "{folder}/unlabelled.npz"}, "it has no array `labels`"),
        ({"sparsity": "0.5", "method": "leval"}, "did you mean level?"),
        ({"max_accuracy_drop": "-1"}, "is out of range"),
        ({"cycle_budget": "fast"}, "is not a number"),
        ({"sparsity": "0.5", "epochs": "0"}, "retraining for 0 epochs trains nothing"),
    ],
)
def test_a_wrong_request_is_reported_in_a_paragraph_before_the_training(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    changes: dict[str, str],
    complaint: str,
) -> None:
    changes = {key: value.format(folder=folder) for key, value in changes.items()}
    assert main(command(folder, tmp_path / "small.pt", **changes)) == 1
    said = capsys.readouterr()
    assert complaint in " ".join(said.err.split())
    assert "Traceback" not in said.err
    assert "epoch" not in said.out
    assert not (tmp_path / "small.pt").exists()


def test_a_result_that_cannot_be_written_is_reported_before_the_training(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    for output in (tmp_path, tmp_path / "file" / "small.pt"):
        assert main(command(folder, output, sparsity="0.5")) == 1
        said = capsys.readouterr()
        assert f"file {output}" in " ".join(said.err.split())
        assert said.out == ""


def test_a_budget_of_flash_counts_the_kernels(folder: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.pt"
    assert main(command(folder, small, flash_budget="2600", epochs="4")) == 0
    compiled = compile_model(small, name="small", options=parse(options(folder), where="test"))
    assert 1300 < compiled.report["flash"]["total_bytes"] <= 2600


@pytest.mark.parametrize("seed", [1, 2])
def test_a_search_killed_at_random_moments_ends_like_an_undisturbed_one(
    folder: Path, tmp_path: Path, seed: int
) -> None:
    goal = {"max_accuracy_drop": "3", "trials": "2", "epochs": "4"}
    whole, killed = tmp_path / "whole.pt", tmp_path / "killed.pt"
    run(command(folder, whole, **goal))
    dice = random.Random(seed)
    for _ in range(2):
        run(command(folder, killed, **goal), kill_after=dice.randint(1, 8))
    run(command(folder, killed, **goal))
    assert killed.read_bytes() == whole.read_bytes()


def run(arguments: list[str], *, kill_after: int | None = None) -> None:
    """Runs the command line in another process and kills it after some lines of progress."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "platformio_plugin")}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "deepcompress", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    for count, _ in enumerate(process.stdout, start=1):
        if count == kill_after:
            process.send_signal(signal.SIGKILL)
    assert process.wait() in ({0} if kill_after is None else {0, -signal.SIGKILL})


def test_a_build_retrains_if_it_is_asked_to(folder: Path, tmp_path: Path) -> None:
    texts = options(folder, retrain="yes", parameter_budget="400", study=str(tmp_path / "study"))
    said: list[str] = []
    parsed = parse(texts, where="test")
    compiled = compile_model(folder / "net.pt", name="net", options=parsed, reporter=Lines(said))
    assert compiled.report["flash"]["weights_bytes"] <= 400
    assert any("epoch" in line for line in said)
    assert "parameter_budget = 400" in compiled.texts["net.c"] + compiled.texts["net.h"]
    again: list[str] = []
    compile_model(folder / "net.pt", name="net", options=parsed, reporter=Lines(again))
    assert not any("trial 1 of 1: 400 B" in line for line in again)


def test_a_sparsity_is_the_goal_of_retraining_and_nothing_is_pruned_afterwards(
    folder: Path, tmp_path: Path
) -> None:
    texts = options(folder, retrain="yes", sparsity="0.8", study=str(tmp_path / "study"))
    compiled = compile_model(folder / "net.pt", name="net", options=parse(texts, where="test"))
    total = 8 * 9 + 16 * 72 + CLASSES * 16
    assert compiled.report["parameters"]["nonzeros"] == pytest.approx(0.2 * total, rel=0.15)
    assert compiled.report["accuracy"]["int8_percent"] > 90


def test_a_build_with_an_unreachable_goal_fails(folder: Path, tmp_path: Path) -> None:
    texts = options(folder, retrain="yes", parameter_budget="20", study=str(tmp_path / "study"))
    with pytest.raises(UserError, match="20 bytes of parameters was not reached"):
        compile_model(folder / "net.pt", name="net", options=parse(texts, where="test"))


def test_a_warning_says_what_pruning_without_labels_changed(folder: Path) -> None:
    texts = {
        "calibration": str(folder / "unlabelled.npz"),
        "input_mean": "0",
        "input_std": "1",
        "sparsity": "0.97",
    }
    compiled = compile_model(folder / "net.pt", name="net", options=parse(texts, where="test"))
    assert any("pruned without retraining" in w for w in compiled.report["warnings"])
    texts["sparsity"] = "0.1"
    compiled = compile_model(folder / "net.pt", name="net", options=parse(texts, where="test"))
    assert compiled.report["warnings"] == []
