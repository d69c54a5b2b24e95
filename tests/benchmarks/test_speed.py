"""benchmarks/speed.py: its peers compute correctly, and its table has the measured values."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import speed  # noqa: E402
import workloads  # noqa: E402
from peers import cmsis_nn, paper  # noqa: E402
from peers.layers import run_tflite, tflite_layers  # noqa: E402
from peers.wheel import Missing  # noqa: E402
from readme import README  # noqa: E402
from speed_table import DENSE, crossover, readme_part, reference, sparse_curve  # noqa: E402

SHAPE = "3x3 3->16 on 32x32"
CPU = speed.CPU


def row(implementation: str, cycles: int, sparsity: float | None = None) -> speed.Row:
    encoding = None if sparsity is None else "delta"
    sizes = {"code_bytes": 100, "flash_bytes": 200, "exact": True}
    return speed.Row(implementation, SHAPE, CPU, sparsity, encoding, 1000, cycles, cycles, **sizes)


def test_a_layer_of_ours_is_measured_next_to_cmsis_nn(
    arm_tools: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload = workloads.layer(SHAPE)
    sparse = workloads.compiled(workload, sparsity=0.8, cpu=CPU)
    try:
        peer = cmsis_nn.measure_release(sparse, cpu=CPU, folder=tmp_path / "peer")
    except Missing as missing:
        pytest.skip(str(missing))
    monkeypatch.setattr(speed, "BUILD", tmp_path)
    ours = speed.ours("sparse", workload, sparse, CPU, 0.8)
    assert ours.macs == 16 * 27 * 32 * 32
    assert ours.exact
    assert ours.cycles < peer.cycles
    assert 0 < ours.code_bytes < peer.code_bytes < peer.flash_bytes


def test_the_papers_loops_compute_what_the_float_network_does(
    arm_tools: None, tmp_path: Path
) -> None:
    built = workloads.compiled(workloads.lenet5(), sparsity=speed.PAPERS, cpu=CPU)
    measured = paper.measure(built, cpu=CPU, folder=tmp_path)
    assert len(measured.output) == 10
    assert measured.instructions < measured.cycles


@pytest.mark.parametrize("shape", ["3x3 3->16 on 32x32", "depthwise 3x3 64 on 25x5"])
def test_peers_get_the_same_network_to_within_rounding(shape: str) -> None:
    built = workloads.compiled(workloads.layer(shape), sparsity=None, cpu=CPU)
    theirs = run_tflite(tflite_layers(built.integer), built.inputs.transpose(1, 2, 0))
    difference = theirs.transpose(2, 0, 1).astype(int) - built.outputs
    assert np.abs(difference).max() <= 1
    assert len(np.unique(theirs)) > 50


def test_the_papers_delta_code_holds_gaps_wider_than_a_byte() -> None:
    weights = np.zeros(1500, np.int8)
    weights[[0, 1, 255, 256, 900, 1410]] = [1, -2, 3, -4, 5, -6]
    delta, value = paper.delta_coded(weights)
    places = np.cumsum(delta.astype(int))
    assert places[-1] == len(weights)
    decoded = np.zeros_like(weights)
    decoded[places[:-1]] = value[:-1]
    assert (decoded == weights).all()


@pytest.mark.parametrize(
    ("cycles", "expected"),
    [((700, 500, 300), 0.55), ((400, 300, 200), 0.5), ((900, 800, 700), None)],
)
def test_sparse_is_faster_from_where_its_curve_crosses_the_dense_kernel(
    cycles: tuple[int, ...], expected: float | None
) -> None:
    sparsities = (0.5, 0.6, 0.8)
    rows = [
        row(f"DeepCompress, {s:.0%} sparse", c, s) for s, c in zip(sparsities, cycles, strict=True)
    ]
    reached = crossover(sparse_curve(rows, SHAPE), row(DENSE, 600))
    assert reached == (expected if expected is None else pytest.approx(expected))


def test_ratios_are_to_the_faster_cmsis_nn() -> None:
    rows = [row("CMSIS-NN 4.0.0", 900), row("CMSIS-NN main", 800), row(DENSE, 400)]
    assert reference(rows, SHAPE).cycles == 800


def test_a_peer_that_is_not_available_keeps_its_last_row(capsys: pytest.CaptureFixture) -> None:
    def measure(*_: object, **__: object) -> None:
        raise Missing("no network")

    workload = workloads.layer(SHAPE)
    built = workloads.compiled(workload, sparsity=None, cpu=CPU)
    last = [row("theirs", 900), row(DENSE, 400)]
    peer = speed.Peer("theirs", measure)
    assert speed.measure_peer(peer, workload, built, CPU, last) == last[:1]
    assert speed.measure_peer(peer, workload, built, CPU, []) == []
    assert "no network: it has no row" in capsys.readouterr().err


def test_the_readme_has_the_table_of_the_results() -> None:
    assert readme_part(speed.read_rows(speed.RESULTS)) in README.read_text()
