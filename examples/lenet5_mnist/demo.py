"""Builds LeNet-5 for a virtual Cortex-M4, runs it, draws the digits, and compares it with float.

`make demo` in the folder of DeepCompress runs this.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import evaluate
from deepcompress.report.text_table import columns
from drawing import COLOUR, GAP, PLAIN, WIDTH, Ink, Reading, draw_row
from measure import Needs, measure

BOARD, FLOAT_BOARD, PC = "virtual_m4", "virtual_m4_float", "native"
READING = re.compile(r"test image (\d+): (\d) read as (\d), scores ((?:-?\d+ ?)+)")


def main() -> int:
    has_board = all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm")))
    try:
        show_firmware(BOARD if has_board else PC)
        print(comparison(has_board))
    except RuntimeError as error:
        print(f"demo: error: {error}", file=sys.stderr)
        return 1
    return 0


def show_firmware(environment: str) -> None:
    """Builds and runs the firmware, prints PlatformIO's output, and draws the digits.

    Raises RuntimeError if it does not build, or prints no digit.
    """
    ink = ink_of_terminal()
    images, _ = evaluate.test_set()
    a_row = max(1, (shutil.get_terminal_size().columns + len(GAP)) // (WIDTH + len(GAP)))
    waiting: list[Reading] = []
    drawn = 0
    for line in upload(environment):
        reading = parse(line)
        if reading:
            waiting.append(reading)
        if waiting and (len(waiting) == a_row or not reading):
            print(draw_row(waiting, images, ink), flush=True)
            drawn += len(waiting)
            waiting.clear()
        if not reading:
            print(line, flush=True)
    if not drawn:
        raise RuntimeError(f"the firmware of {environment} read no digit")


def ink_of_terminal() -> Ink:
    blocks = sys.stdout.encoding.lower().startswith("utf")
    colour = sys.stdout.isatty() and not {"NO_COLOR", "CI"} & os.environ.keys()
    return COLOUR if colour and blocks else PLAIN


def upload(environment: str) -> Iterator[str]:
    """The lines of `pio run -t upload`. Raises RuntimeError if it fails."""
    command = evaluate.pio_run(evaluate.HERE, environment, "-t", "upload")
    print(f"$ pio run -e {environment} -t upload", flush=True)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield line.rstrip()
    if process.returncode:
        raise RuntimeError(f"pio run -e {environment} failed: see its message above")


def parse(line: str) -> Reading | None:
    """The reading in a line of the firmware's output, or None if the line has another form."""
    match = READING.search(line)
    if not match:
        return None
    number, label, index = (int(text) for text in match.groups()[:3])
    return Reading(number, label, index, tuple(int(s) / 100 for s in match[4].split()))


def comparison(has_board: bool) -> str:
    """The final table, which compares the float network with the compressed one."""
    print("Reading all 10,000 test images with the same C on this PC ...", flush=True)
    evaluate.build(PC)
    images, labels = evaluate.test_set()
    in_float = evaluate.percent_right(evaluate.float_scores(images), labels)
    compressed = evaluate.percent_right(evaluate.firmware_scores(PC, images), labels)
    rows = [
        ["LeNet-5 on MNIST", "plain float C", "DeepCompress", ""],
        [
            "accuracy, 10,000 images",
            f"{in_float:.2f}%",
            f"{compressed:.2f}%",
            f"{compressed - in_float:+.2f} points",
        ],
    ]
    if has_board:
        print("Building the float network for the same board, and counting cycles ...", flush=True)
        evaluate.build(FLOAT_BOARD)
        builds = evaluate.HERE / ".pio" / "build"
        rows += need_rows(*(measure(builds / e / "firmware.elf") for e in (FLOAT_BOARD, BOARD)))
    return "\n" + "\n".join(columns(rows, right=(1, 2))) + "\n"


def need_rows(in_float: Needs, compressed: Needs) -> list[list[str]]:
    def row(name: str, field: str, unit: str, better: str) -> list[str]:
        before, after = getattr(in_float, field), getattr(compressed, field)
        ratio = f"{before / after:.1f}x {better}"
        return [name, f"{before:,} {unit}", f"{after:,} {unit}", ratio]

    return [
        row("flash, network: code and weights", "network_flash_bytes", "B", "smaller"),
        row("flash, whole firmware", "flash_bytes", "B", "smaller"),
        row("RAM, network's arena", "arena_bytes", "B", "smaller"),
        row("RAM, whole firmware, static", "ram_bytes", "B", "smaller"),
        row("cycles per image, modelled", "cycles", "  ", "fewer"),
    ]


if __name__ == "__main__":
    sys.exit(main())
