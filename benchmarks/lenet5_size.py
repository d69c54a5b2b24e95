"""The paper's comparison: LeNet-5 on MNIST in as few bytes as its accuracy allows.

    make table-lenet5       # measures the pruned models of examples/lenet5_mnist/models
    make prune-lenet5       # prunes them again first; an interrupted run continues

Parameter bytes are all that the network stores in flash except code: weights, indices, biases,
scales, tables. Flash and RAM are those of the network in the linked Cortex-M4 firmware. Accuracy is
measured on all 10,000 test images, which no search has seen: float by torch, int8 by the generated
C.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "lenet5_mnist"
RESULTS = ROOT / "benchmarks" / "results" / "lenet5_size.json"
sys.path.insert(0, str(EXAMPLE))

import evaluate  # noqa: E402
import mnist  # noqa: E402
from deepcompress.execute.float_torch import forward_numpy  # noqa: E402
from measure import measure  # noqa: E402
from readme import paragraph, replace_part  # noqa: E402

# The pruned models, each with the options of `deepcompress prune`.
PRUNED = {
    "level": {
        "method": "level",
        "encoding": "delta",
        "max_accuracy_drop": "1",
        "epochs": "3",
        "trials": "8",
    },
    "75x": {"parameter_budget": "3291", "encoding": "huffman", "epochs": "60"},
    "110x": {"parameter_budget": "2243", "encoding": "huffman", "epochs": "60"},
    "150x": {"parameter_budget": "1645", "encoding": "huffman", "epochs": "60"},
    "fast": {"cycle_budget": "139000", "optimize": "speed", "epochs": "20"},
}
# Row name -> the ending of its environments in platformio.ini.
ROWS = {
    "float, plain C loops": "float",
    "level pruning and delta encoding, after the paper": "level",
    "deepcompress prune, 75x": "75x",
    "deepcompress prune, 110x": "110x",
    "deepcompress prune, 150x": "150x",
}


NOTE = """\
Flash, RAM and modelled cycles are those of the network in the linked Cortex-M4 firmware. The
columns "float" and "int8" are the accuracies of torch and of the C on all 10,000 test images.
75x, 110x and 150x were the goals, as ratios to the parameters in float. The searches compared
candidates on 5,000 images held out of the training set; the test set was used once, at the end.
The second row is the method of the paper (arXiv 2103.15972), with its tolerated loss of 1
point. `make prune-lenet5` prunes the networks again, `make table-lenet5` measures them. The
next table has, per layer: share of zeros, [encoding](docs/formats.md), bytes of weights and
tables and, in brackets, their [order-0 entropy](docs/glossary.md). Constants are the other
parameters."""


def main() -> None:
    parser = argparse.ArgumentParser(description="LeNet-5 in as few bytes as possible.")
    parser.add_argument("--prune", action="store_true", help="prune the models again first")
    if parser.parse_args().prune:
        for name, options in PRUNED.items():
            prune(name, options)
    rows = [measure_row(name, ending) for name, ending in ROWS.items()]
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    text = "\n\n".join((table(rows), paragraph(NOTE), layers_table(rows)))
    replace_part("lenet5 size", text)
    print(text)


def prune(name: str, options: dict[str, str]) -> None:
    """Runs the command that a user would type in the example's folder."""
    mnist.fetch(EXAMPLE / "data" / "mnist")
    given = {key: evaluate.compiler_options()[key] for key in ("input_mean", "input_std")}
    given |= {"data": "train.py:batches", "calibration": "data/calibration.npz", "optimize": "size"}
    study = ROOT / "build" / f"lenet5_{name}.study"
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in (given | options).items()]
    output = f"models/lenet5_{name}.pt"
    command = [sys.executable, "-m", "deepcompress", "prune", "models/lenet5.pt", "-o", output]
    # A single thread always sums in the same order, so that the result is reproducible.
    threads = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, f"--study={study}", *flags], cwd=EXAMPLE, env=threads)
    if done.returncode:
        sys.exit(f"lenet5_size.py: {output} does not meet its goal: see above")


def measure_row(name: str, ending: str) -> dict:
    """One row: builds a network for the board, measures it, runs it on the PC over the test set."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    board, pc = f"virtual_m4_{ending}", f"native_{ending}"
    evaluate.build(board)
    evaluate.build(pc)
    images, labels = evaluate.test_set()
    needs = measure(EXAMPLE / ".pio" / "build" / board / "firmware.elf")
    scores = evaluate.firmware_scores(pc, images)
    row = {"name": name, **facts_of(board, images, labels)}
    right = evaluate.percent_right(scores, labels)
    return {
        **row,
        "accuracy_int8": None if ending == "float" else right,
        "flash_bytes": needs.network_flash_bytes,
        "ram_bytes": needs.arena_bytes + needs.stack_bytes,
        "cycles": needs.cycles,
    }


def facts_of(board: str, images: object, labels: object) -> dict:
    """The compiler's report of an environment's network; of the float one, its plain sizes."""
    is_float = board.endswith("_float")
    changes = {"sparsity": "none"} if is_float else evaluate.compiler_options(f"env:{board}")
    compiled = evaluate.compile_network(**changes)
    report = compiled.report
    scores = forward_numpy(compiled.graph, mnist.normalise(images))
    layers = [layer for layer in report["layers"] if layer["weights"]]
    parameters = report["parameters"]
    return {
        "nonzeros": sum(layer["weights"] for layer in layers)
        if is_float
        else parameters["nonzeros"],
        "parameter_bytes": parameters["float_bytes"]
        if is_float
        else report["flash"]["weights_bytes"],
        "entropy_bytes": None if is_float else parameters["entropy_bytes"],
        "accuracy_float": evaluate.percent_right(scores, labels),
        "layers": [] if is_float else [layer_facts(layer) for layer in layers],
    }


def layer_facts(layer: dict) -> dict:
    keys = ("name", "weights", "nonzeros", "encoding", "weight_bytes", "entropy_bytes")
    return {key: layer[key] for key in (*keys, "constant_bytes")}


def table(rows: list[dict]) -> str:
    """The rows in Markdown, each with its ratio to the first."""
    heads = ["LeNet-5 on MNIST", "weights", "parameters", "flash", "RAM", "cycles"]
    lines = [[*heads, "float", "int8"], ["---"] + 7 * ["---:"]]
    for row in rows:
        times = rows[0]["parameter_bytes"] / row["parameter_bytes"]
        int8 = row["accuracy_int8"]
        lines.append(
            [
                row["name"],
                f"{row['nonzeros']:,}",
                f"{row['parameter_bytes']:,} B ({times:.1f}x)",
                f"{row['flash_bytes']:,} B",
                f"{row['ram_bytes']:,} B",
                f"{row['cycles']:,}",
                f"{row['accuracy_float']:.2f}%",
                "" if int8 is None else f"{int8:.2f}%",
            ]
        )
    return markdown(lines)


def layers_table(rows: list[dict]) -> str:
    """For each layer: share of zeros among its original weights, encoding, bytes and entropy."""
    full = {layer["name"]: layer["weights"] for layer in original_layers()}
    compressed = [row for row in rows if row["layers"]]
    lines = [["layer"]]
    lines[0] += [row["name"] for row in compressed]
    lines.append(["---"] * len(lines[0]))
    for name, weights in full.items():
        cells = [next(x for x in row["layers"] if x["name"] == name) for row in compressed]
        lines.append([name, *(layer_text(cell, weights) for cell in cells)])
    bounds = (
        f"{sum(x['weight_bytes'] for x in row['layers']):,} "
        f"({row['entropy_bytes']:,.0f}), constants "
        f"{sum(x['constant_bytes'] for x in row['layers']):,}"
        for row in compressed
    )
    return markdown([*lines, ["all", *bounds]])


def layer_text(layer: dict, weights: int) -> str:
    zeros = 1 - layer["nonzeros"] / weights
    size = f"{layer['weight_bytes']:,} ({layer['entropy_bytes']:,.0f})"
    return f"{zeros:.1%} {layer['encoding']} {size}"


def original_layers() -> list[dict]:
    report = evaluate.compile_network(sparsity="none").report
    return [layer for layer in report["layers"] if layer["weights"]]


def markdown(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
