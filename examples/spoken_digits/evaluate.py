"""Has the firmware hear words that the network was not trained on, and writes README.md's table.

python evaluate.py     # the PC's build: the same generated C as on a board, to the bit
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from model import load as load_network
from speech import Word, load
from train import accuracy, scale_of

HERE = Path(__file__).resolve().parent
PIO = HERE.parents[1] / "tools/pio"
MARKS = "<!-- results: written by evaluate.py -->", "<!-- end of results -->"


def main() -> None:
    words = load(HERE / "data")
    network, scale = load_network(HERE / "models/digits.pt"), scale_of(words.training)
    build("native")
    by_float = [accuracy(network, said, scale) for said in (words.test, words.stranger)]
    by_int8 = [firmware_accuracy("native", said) for said in (words.test, words.stranger)]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    rows = [
        f"| | {len(words.test)} other words of the five speakers | {len(words.stranger)} of a "
        "sixth | flash | RAM | cycles a frame |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        f"| float, in torch | {by_float[0]:.1f}% | {by_float[1]:.1f}% | "
        f"{4 * parameters:,} B of weights | | |",
        f"| int8, as built | {by_int8[0]:.1f}% | {by_int8[1]:.1f}% | {needs('virtual_m4')} |",
    ]
    write_between_marks(HERE / "README.md", "\n".join(rows))


def firmware_accuracy(environment: str, words: list[Word]) -> float:
    """Percent of words that a built firmware hears right; CalledProcessError if it does not run."""
    with tempfile.TemporaryDirectory() as folder:
        with Path(folder, "words.bin").open("wb") as file:
            for word in words:
                file.write(np.int32(len(word.frames)).tobytes())
                file.write(np.round(10 * word.frames).astype(np.int16).tobytes())
        subprocess.run([HERE / f".pio/build/{environment}/program"], cwd=folder, check=True)
        heard = np.fromfile(Path(folder, "heard.bin"), np.uint8)
    return 100 * float(np.mean(heard == [word.digit for word in words]))


def needs(environment: str) -> str:
    """Three columns of the table, of the linked firmware: flash, RAM, modelled cycles."""
    build(environment)
    folder = HERE / ".pio/build" / environment
    listed = output_of("arm-none-eabi-nm", "--print-size", folder / "firmware.elf")
    network = re.findall(r"^\w+ (\w+) [tTrR] (?:digits|dc)_", listed, re.MULTILINE)
    flash = sum(int(size, 16) for size in network)
    arena = json.loads((folder / "deepcompress/reports/digits.json").read_text())["ram"]
    profile = [sys.executable, "-m", "deepcompress", "profile", folder / "firmware.elf", "--json"]
    cost = json.loads(output_of(*profile))["functions"]["digits_infer_float"]
    ram = arena["arena_bytes"] + cost["stack_bytes"]
    return f"{flash:,} B | {ram:,} B | {cost['cycles']:,.0f}"


def output_of(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def build(environment: str) -> None:
    pio = str(PIO) if PIO.is_file() else "pio"
    subprocess.run([pio, "run", "--silent", "-d", HERE, "-e", environment], check=True)


def write_between_marks(path: Path, text: str) -> None:
    begin, end = map(re.escape, MARKS)
    whole = path.read_text()
    path.write_text(re.sub(f"(?s)(?<={begin}).*(?={end})", lambda _: f"\n\n{text}\n\n", whole))
    print(text)


if __name__ == "__main__":
    main()
