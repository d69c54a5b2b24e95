"""Size, memory, cycles and accuracy of LeNet-5 in float, in int8, and pruned.

    make results        # builds all of it, writes benchmarks/results/lenet5.json and README.md

Flash and RAM are those of the linked Cortex-M4 firmware, cycles are modelled (zero wait states),
accuracy is that of the generated C on all 10,000 test images.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "lenet5_mnist"
RESULTS = ROOT / "benchmarks" / "results" / "lenet5.json"
sys.path.insert(0, str(EXAMPLE))

import evaluate  # noqa: E402
from measure import measure  # noqa: E402
from readme import paragraph, replace_part  # noqa: E402

# Row name -> the board's environment, the PC's environment, changed options.
BUILDS = {
    "float, plain C loops": ("virtual_m4_float", "native_float", None),
    "int8, nothing pruned": ("virtual_m4_dense", "native_dense", {"sparsity": "none"}),
    "int8, 80% of each layer pruned": ("virtual_m4", "native", {}),
    "the same, optimize = size": ("virtual_m4_size", "native_size", {"optimize": "size"}),
}


def main() -> None:
    rows = [measure_build(name, *build) for name, build in BUILDS.items()]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    replace_part("results", table(rows))
    print(table(rows))


def measure_build(name: str, board: str, pc: str, changes: dict[str, str] | None) -> dict:
    """One row: builds a network for the board, measures it, runs it on the PC over the test set."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    evaluate.build(board)
    evaluate.build(pc)
    images, labels = evaluate.test_set()
    needs = measure(EXAMPLE / ".pio" / "build" / board / "firmware.elf")
    return {
        "name": name,
        **weights(changes),
        "flash_bytes": needs.network_flash_bytes,
        "ram_bytes": needs.arena_bytes + needs.stack_bytes,
        "cycles": needs.cycles,
        "accuracy": evaluate.percent_right(evaluate.firmware_scores(pc, images), labels),
    }


def weights(changes: dict[str, str] | None) -> dict[str, int]:
    """Non-zero weights and bytes of all parameters; of the float network if `changes` is None."""
    facts = evaluate.compile_network(**(changes or {})).report
    if changes is None:
        return {
            "nonzeros": sum(layer["weights"] for layer in facts["layers"]),
            "parameter_bytes": facts["parameters"]["float_bytes"],
        }
    return {
        "nonzeros": facts["parameters"]["nonzeros"],
        "parameter_bytes": facts["flash"]["weights_bytes"],
    }


def table(rows: list[dict]) -> str:
    """The rows in Markdown, each with its ratio to the first."""
    heads = ["LeNet-5 on MNIST, Cortex-M4", "weights", "parameters", "flash", "RAM"]
    lines = [[*heads, "cycles per image", "accuracy"], ["---"] + 6 * ["---:"]]
    for row in rows:
        times = {
            key: rows[0][key] / row[key] for key in ("parameter_bytes", "flash_bytes", "cycles")
        }
        lines.append(
            [
                row["name"],
                f"{row['nonzeros']:,}",
                f"{row['parameter_bytes']:,} B ({times['parameter_bytes']:.1f}x)",
                f"{row['flash_bytes']:,} B ({times['flash_bytes']:.1f}x)",
                f"{row['ram_bytes']:,} B",
                f"{row['cycles']:,} ({times['cycles']:.1f}x)",
                f"{row['accuracy']:.2f}%",
            ]
        )
    note = paragraph(
        "Weights are counted if they are not zero. Parameters are all bytes of flash except code. "
        "Flash is the network's code and constants in the linked firmware, RAM its arena and "
        "stack. Cycles are modelled, not measured on a chip. Accuracy is that of the C code on all "
        "10,000 test images. In brackets: the ratio to float. `optimize = size` minimizes flash, "
        "not cycles."
    )
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", note])


if __name__ == "__main__":
    main()
