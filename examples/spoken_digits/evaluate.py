"""Runs the firmware on words that were not used in training, and writes the table of README.md.

python evaluate.py     # uses the PC's build, which is bit-exact with the generated C on a board
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from model import load as load_network
from speech import Word, load
from train import accuracy, scale_of

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from results import build, needs, write_part  # noqa: E402


def main() -> None:
    words = load(HERE / "data")
    network, scale = load_network(HERE / "models/digits.pt"), scale_of(words.training)
    build(HERE, "native")
    by_float = [accuracy(network, said, scale) for said in (words.test, words.stranger)]
    by_int8 = [firmware_accuracy("native", said) for said in (words.test, words.stranger)]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    needed = needs(HERE, "virtual_m4", model="digits", function="digits_infer_float")
    rows = [
        f"| | {len(words.test)} other words of the five speakers | {len(words.stranger)} "
        "words of a sixth | flash | RAM | cycles per frame |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        f"| float, in torch | {by_float[0]:.1f}% | {by_float[1]:.1f}% | "
        f"{4 * parameters:,} B of weights | | |",
        f"| int8, as built | {by_int8[0]:.1f}% | {by_int8[1]:.1f}% | {needed} |",
    ]
    write_part(HERE, "\n".join(rows))


def firmware_accuracy(environment: str, words: list[Word]) -> float:
    """Percentage of words that a built firmware recognizes. CalledProcessError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        with Path(folder, "words.bin").open("wb") as file:
            for word in words:
                file.write(np.int32(len(word.frames)).tobytes())
                file.write(np.round(10 * word.frames).astype(np.int16).tobytes())
        subprocess.run([HERE / f".pio/build/{environment}/program"], cwd=folder, check=True)
        heard = np.fromfile(Path(folder, "heard.bin"), np.uint8)
    return 100 * float(np.mean(heard == [word.digit for word in words]))


if __name__ == "__main__":
    main()
