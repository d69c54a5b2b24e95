"""Plays the recordings of people never trained on to the firmware, and writes README.md's table.

python evaluate.py     # the PC's build: the same generated C as on a board, to the bit
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from model import Exercises
from train import TEST_PEOPLE
from watch import Recording, load

HERE = Path(__file__).resolve().parent
PIO = HERE.parents[1] / "tools/pio"
MARKS = "<!-- results: written by evaluate.py -->", "<!-- end of results -->"


def main() -> None:
    recordings = [r for r in load(HERE / "data/watch") if r.person in TEST_PEOPLE]
    rows = [
        "| | pieces right | sets right | flash | RAM | cycles a piece |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        f"| float, in torch | {verdict(float_classes(recordings), recordings)} | | | |",
    ]
    for goal, ending in (("size", ""), ("speed", "_speed")):
        classes = firmware_classes(f"native{ending}", recordings)
        rows.append(
            f"| int8, `optimize = {goal}` | {verdict(classes, recordings)} | "
            f"{needs(f'virtual_m4{ending}')} |"
        )
    write_between_marks(HERE / "README.md", "\n".join(rows))


def verdict(classes: list[np.ndarray], recordings: list[Recording]) -> str:
    """Two columns of the table: how much is right of `classes`, one a piece for each recording."""
    pieces = np.concatenate([c == r.label for c, r in zip(classes, recordings, strict=True)])
    sets = sum(np.bincount(c).argmax() == r.label for c, r in zip(classes, recordings, strict=True))
    return f"{100 * pieces.mean():.1f}% | {sets} of {len(recordings)}"


@torch.no_grad()
def float_classes(recordings: list[Recording]) -> list[np.ndarray]:
    """What the trained network says, piece by piece."""
    network = Exercises().eval()
    program = torch.export.load(io.BytesIO((HERE / "models/exercises.pt").read_bytes()))
    network.load_state_dict(program.state_dict)
    streams = (torch.from_numpy(np.concatenate(r.pieces(), axis=1)) for r in recordings)
    return [network(stream[None])[0].argmax(0).numpy() for stream in streams]


def firmware_classes(environment: str, recordings: list[Recording]) -> list[np.ndarray]:
    """What a firmware says; raises CalledProcessError if it does not build or run."""
    build(environment)
    lengths = [r.motion.shape[1] for r in recordings]
    with tempfile.TemporaryDirectory() as folder:
        with Path(folder, "recordings.bin").open("wb") as file:
            for recording, length in zip(recordings, lengths, strict=True):
                file.write(np.int32(length).tobytes())
                file.write(np.round(recording.motion.T * 32767).astype(np.int16).tobytes())
        subprocess.run([HERE / f".pio/build/{environment}/program"], cwd=folder, check=True)
        classes = np.fromfile(Path(folder, "classes.bin"), np.uint8)
    return np.split(classes, np.cumsum([len(r.pieces()) for r in recordings])[:-1])


def needs(environment: str) -> str:
    """Three columns of the table, of the linked firmware: flash, RAM, modelled cycles."""
    build(environment)
    folder = HERE / ".pio/build" / environment
    listed = output_of("arm-none-eabi-nm", "--print-size", folder / "firmware.elf")
    network = re.findall(r"^\w+ (\w+) [tTrR] (?:exercises|dc)_", listed, re.MULTILINE)
    flash = sum(int(size, 16) for size in network)
    arena = json.loads((folder / "deepcompress/reports/exercises.json").read_text())["ram"]
    profile = [sys.executable, "-m", "deepcompress", "profile", folder / "firmware.elf", "--json"]
    cost = json.loads(output_of(*profile))["functions"]["exercises_infer_int8"]
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
