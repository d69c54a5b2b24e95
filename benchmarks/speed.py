"""Compares the speed of our kernels with others in this project's simulator.

    make bench                      # writes results/speed.json, README.md and docs/speed.png
    make bench CMSIS_NN=checkout    # the same, with that checkout of CMSIS-NN in addition to 4.0.0
    python benchmarks/speed.py 3x3  # only workloads of this name; writes nothing

All C is compiled for a Cortex-M by one gcc with -O2. All outputs are checked: ours are bit-exact
with the integer reference, those of a peer satisfy what the peer promises. Cycles are modelled. A
peer that is not available keeps its rows of the last results.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from measuring import BUILD, ROOT, Measured, measure_generated
from peers import bakenn_lenet5, cmsis_nn, esp_nn, paper, unlu
from peers.wheel import Missing
from readme import replace_part
from speed_chart import draw
from speed_table import DENSE, FAST, readme_part, sparse_name, summary, workload_lines
from workloads import LENET, MODELS, NAME, SHAPES, Built, Workload, compiled, layer, lenet5

RESULTS = ROOT / "benchmarks" / "results" / "speed.json"
CHART = ROOT / "docs" / "speed.png"
CPU = "cortex-m4"
DSP_CPU, MVE_CPU = "cortex-m33", "cortex-m55"
OTHER_CPUS = ("cortex-m0plus", "cortex-m3", "cortex-m33", "cortex-m7")
SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
LOW_SPARSITIES = (
    0.2,
    0.3,
    0.4,
)  # low sparsities, at which the compiler may prefer dense, to find the crossover
PAPERS = 0.8  # the sparsity of each layer of the paper's LeNet-5
FAST_MODEL = "lenet5_fast.pt"


@dataclass(frozen=True)
class Row:
    """One inference of a workload on a CPU; see `Measured` and `Built`. `sparsity` is that
    of a layer's weights as requested, or None if it is the network's own. `exact` says that the
    output is correct."""

    implementation: str
    workload: str
    cpu: str
    sparsity: float | None
    encoding: str | None
    macs: int
    cycles: int | None
    instructions: int
    code_bytes: int
    flash_bytes: int
    exact: bool


@dataclass(frozen=True)
class Peer:
    """The implementation of another project.

    Attributes:
        measure: takes the workload as built by our compiler, `cpu` and `folder`.
        sparsity: of that build.
        cpus, layer_cpus: CPUs on which it runs LeNet-5 and single layers.
    """

    name: str
    measure: Callable[..., Measured]
    sparsity: float | None = None
    cpus: tuple[str, ...] = (CPU, *OTHER_CPUS)
    layer_cpus: tuple[str, ...] = ()


PEERS = (
    Peer("float, Unlu's loops", unlu.measure),
    Peer("the paper's sparse int8 loops, 80%", paper.measure, sparsity=PAPERS),
    Peer("BakeNN 1.0.0", partial(bakenn_lenet5.measure, cmsis_nn=False), cpus=(CPU,)),
    Peer(
        "BakeNN 1.0.0 calling CMSIS-NN",
        partial(bakenn_lenet5.measure, cmsis_nn=True),
        cpus=(CPU,),
    ),
    Peer("ESP-NN, its generic C", esp_nn.measure, layer_cpus=(CPU,)),
    Peer("CMSIS-NN 4.0.0", cmsis_nn.measure_release, layer_cpus=(CPU, MVE_CPU)),
    Peer("CMSIS-NN main", cmsis_nn.measure_checkout, layer_cpus=(CPU,)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Our kernels and those of others, side by side.")
    parser.add_argument("only", nargs="*", help="part of a name, as 3x3 or 'LeNet-5, cortex-m0'")
    only = parser.parse_args().only
    all_runs = [(LENET, cpu) for cpu in (CPU, *OTHER_CPUS)] + [(shape, CPU) for shape in SHAPES]
    earlier = read_rows(RESULTS)
    rows: list[Row] = []
    for workload, cpu in all_runs:
        if not only or any(part.lower() in f"{workload}, {cpu}".lower() for part in only):
            measured = list(measure_workload(workload, cpu, earlier))
            print("\n".join(workload_lines(measured)), flush=True)
            rows += measured
    if wrong := sum(not row.exact for row in rows):
        sys.exit(f"speed: {wrong} rows are not bit-exact with the reference: not written")
    if not only:
        publish(rows)


def publish(rows: list[Row]) -> None:
    """Writes the results, the chart and README.md."""
    print("\n".join(summary(rows)))
    lines = ",\n".join(json.dumps(asdict(row)) for row in rows)  # one row per line
    RESULTS.write_text(f"[\n{lines}\n]\n")
    draw(rows, CHART)
    replace_part("speed", readme_part(rows))


def measure_workload(workload: str, cpu: str, earlier: list[Row]) -> Iterator[Row]:
    """All rows of a workload on a CPU; `earlier` are those of the last results."""
    if workload == LENET:
        return measure_lenet5(cpu, earlier)
    return measure_layer(workload, earlier)


def read_rows(path: Path) -> list[Row]:
    return [Row(**row) for row in json.loads(path.read_text())] if path.is_file() else []


def measure_lenet5(cpu: str, earlier: list[Row]) -> Iterator[Row]:
    """LeNet-5 by all implementations, on one CPU."""
    workload = lenet5()
    dense, sparse = (compiled(workload, sparsity=s, cpu=cpu) for s in (None, PAPERS))
    for peer in PEERS:
        if cpu in peer.cpus:
            built = sparse if peer.sparsity else dense
            yield from measure_peer(peer, workload, built, cpu, earlier)
    yield ours(DENSE, workload, dense, cpu)
    yield ours(sparse_name(PAPERS), workload, sparse, cpu, PAPERS)
    if (MODELS / FAST_MODEL).is_file():
        fast = lenet5(FAST_MODEL)
        yield ours(FAST, fast, compiled(fast, sparsity=None, cpu=cpu), cpu)
    else:
        tell(f"{MODELS / FAST_MODEL} is not there: no row for it")


def measure_layer(shape: str, earlier: list[Row]) -> Iterator[Row]:
    """One layer by all that support it, ours at all sparsities; dense with DSP and MVE."""
    workload = layer(shape)
    for cpu in (CPU, DSP_CPU, MVE_CPU):
        dense = compiled(workload, sparsity=None, cpu=cpu)
        for peer in PEERS:
            if cpu in peer.layer_cpus:
                yield from measure_peer(peer, workload, dense, cpu, earlier)
        yield ours(DENSE, workload, dense, cpu)
    yield from measure_sparsities(workload)


def measure_sparsities(workload: Workload) -> Iterator[Row]:
    """In the encoding selected for each sparsity, and in the one selected at 80%."""
    chosen = {s: compiled(workload, sparsity=s, cpu=CPU) for s in SPARSITIES}
    for sparsity, built in chosen.items():
        yield ours(sparse_name(sparsity), workload, built, CPU, sparsity)
    encoding = chosen[PAPERS].encoding
    for sparsity in (*LOW_SPARSITIES, *SPARSITIES):
        if sparsity not in chosen or chosen[sparsity].encoding != encoding:
            built = compiled(workload, sparsity=sparsity, cpu=CPU, encoding=encoding)
            name = f"{sparse_name(sparsity)}, {encoding}"
            yield ours(name, workload, built, CPU, sparsity)


def ours(
    name: str, workload: Workload, built: Built, cpu: str, sparsity: float | None = None
) -> Row:
    """A row of ours; its output must be bit-exact with the integer reference."""
    tell(f"{workload.name}, {cpu}: {name}")
    folder = folder_of(workload.name, cpu, name)
    measured = measure_generated(built.texts, built.inputs, name=NAME, cpu=cpu, folder=folder)
    exact = measured.output == built.outputs.tobytes()
    row = as_row(name, workload, built, cpu, measured, sparsity=sparsity)
    return replace(row, encoding=built.encoding, exact=exact)


def measure_peer(
    peer: Peer, workload: Workload, built: Built, cpu: str, earlier: list[Row]
) -> list[Row]:
    """A peer's row; if the peer is not available, its row of the last results, if any."""
    tell(f"{workload.name}, {cpu}: {peer.name}")
    folder = folder_of(workload.name, cpu, peer.name)
    try:
        measured = peer.measure(built, cpu=cpu, folder=folder)
    except Missing as missing:
        key = (peer.name, workload.name, cpu)
        kept = [row for row in earlier if (row.implementation, row.workload, row.cpu) == key]
        tell(f"    {missing}: {'its last row is kept' if kept else 'it has no row'}")
        return kept
    return [as_row(peer.name, workload, built, cpu, measured, sparsity=peer.sparsity)]


def as_row(
    name: str,
    workload: Workload,
    built: Built,
    cpu: str,
    measured: Measured,
    *,
    sparsity: float | None,
) -> Row:
    return Row(
        implementation=name,
        workload=workload.name,
        cpu=cpu,
        sparsity=sparsity,
        encoding=None,
        macs=built.macs,
        cycles=measured.cycles,
        instructions=measured.instructions,
        code_bytes=measured.code_bytes,
        flash_bytes=measured.flash_bytes,
        exact=True,
    )


def folder_of(*names: str) -> Path:
    """The folder in which a firmware is built."""
    words = ("".join(c if c.isalnum() else "_" for c in name) for name in names)
    return BUILD.joinpath(*words)


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
