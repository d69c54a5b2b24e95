"""Runs the firmware on recordings that were not used in training; writes the table of README.md.

python evaluate.py     # uses the PC's build, which is bit-exact with the generated C on a board
"""

from __future__ import annotations

import io
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
sys.path.insert(0, str(HERE.parent))

from results import build, needs, write_part  # noqa: E402


def main() -> None:
    recordings = [r for r in load(HERE / "data/watch") if r.person in TEST_PEOPLE]
    rows = [
        "| | chunks correct | sets correct | flash | RAM | cycles per chunk |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        f"| float, in torch | {verdict(float_classes(recordings), recordings)} | | | |",
    ]
    for goal, ending in (("size", ""), ("speed", "_speed")):
        classes = firmware_classes(f"native{ending}", recordings)
        board = f"virtual_m4{ending}"
        needed = needs(HERE, board, model="exercises", function="exercises_infer_int8")
        rows.append(f"| int8, `optimize = {goal}` | {verdict(classes, recordings)} | {needed} |")
    write_part(HERE, "\n".join(rows))


def verdict(classes: list[np.ndarray], recordings: list[Recording]) -> str:
    """Two columns of the table: the share of correct `classes`, one per chunk of each recording."""
    chunks = np.concatenate([c == r.label for c, r in zip(classes, recordings, strict=True)])
    sets = sum(np.bincount(c).argmax() == r.label for c, r in zip(classes, recordings, strict=True))
    return f"{100 * chunks.mean():.1f}% | {sets} of {len(recordings)}"


@torch.no_grad()
def float_classes(recordings: list[Recording]) -> list[np.ndarray]:
    """The classes of the trained network, chunk by chunk."""
    network = Exercises().eval()
    program = torch.export.load(io.BytesIO((HERE / "models/exercises.pt").read_bytes()))
    network.load_state_dict(program.state_dict)
    streams = (torch.from_numpy(np.concatenate(r.chunks(), axis=1)) for r in recordings)
    return [network(stream[None])[0].argmax(0).numpy() for stream in streams]


def firmware_classes(environment: str, recordings: list[Recording]) -> list[np.ndarray]:
    """The classes of a firmware. CalledProcessError if it does not build or run."""
    build(HERE, environment)
    lengths = [r.motion.shape[1] for r in recordings]
    with tempfile.TemporaryDirectory() as folder:
        with Path(folder, "recordings.bin").open("wb") as file:
            for recording, length in zip(recordings, lengths, strict=True):
                file.write(np.int32(length).tobytes())
                file.write(np.round(recording.motion.T * 32767).astype(np.int16).tobytes())
        subprocess.run([HERE / f".pio/build/{environment}/program"], cwd=folder, check=True)
        classes = np.fromfile(Path(folder, "classes.bin"), np.uint8)
    return np.split(classes, np.cumsum([len(r.chunks()) for r in recordings])[:-1])


if __name__ == "__main__":
    main()
