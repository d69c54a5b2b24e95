"""Renders test digits into camera frames and runs the firmware on them.

    python camera.py       # writes the sentence in README.md

The frames do not come from a camera. They are computed from MNIST's images: enlarged two to four
times, at a random position near the middle, as dark ink on unevenly lit paper, slightly blurred,
with noise.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import evaluate
import numpy as np
import torch
from torch.nn.functional import avg_pool2d, interpolate, pad

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from results import write_part  # noqa: E402

HEIGHT, WIDTH = 120, 160
FRAMES = 2_000


def main() -> None:
    images, labels = (part[:FRAMES] for part in evaluate.test_set())
    evaluate.build("native_camera")
    right = 100 * float(np.mean(firmware_reads("native_camera", frames_of(images)) == labels))
    alone = evaluate.percent_right(evaluate.reference_scores(images), labels)
    text = (
        f"The firmware reads {right:.1f}% of {FRAMES:,} test digits correctly in such frames, and "
        f"{alone:.1f}% of the original MNIST images."
    )
    write_part(HERE, text, part="camera")


def frames_of(images: np.ndarray, seed: int = 1) -> np.ndarray:
    """Frames, uint8 [n, HEIGHT, WIDTH], of images, uint8 [n, 1, 32, 32]."""
    random = np.random.default_rng(seed)
    return np.stack([_frame(image[0, 2:30, 2:30], random) for image in images])


def _frame(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    side = int(random.integers(56, 112))
    ink = torch.from_numpy(image.astype(np.float32) / 255)[None, None]
    ink = interpolate(ink, (side, side), mode="bilinear", align_corners=False)
    top = int(random.integers(0, HEIGHT - side + 1))
    left = int(random.integers(0, HEIGHT - side + 1)) + (WIDTH - HEIGHT) // 2
    ink = pad(ink, (left, WIDTH - side - left, top, HEIGHT - side - top))
    ink = avg_pool2d(pad(ink, (1, 1, 1, 1)), 3, 1)[0, 0].numpy()
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / WIDTH - 0.5
    brightness, across, down = random.uniform([130, -80, -80], [210, 80, 80])
    paper = np.clip(brightness + across * x + down * y, 40, 250)
    seen = paper * (1 - random.uniform(0.5, 0.9) * ink) + random.normal(0, 3, ink.shape)
    return np.clip(np.round(seen), 0, 255).astype(np.uint8)


def firmware_reads(environment: str, frames: np.ndarray) -> np.ndarray:
    """The class that the built firmware finds in each frame, uint8 [n]; 255 if there is none."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "frames.bin").write_bytes(frames.tobytes())
        program = HERE / ".pio/build" / environment / "program"
        subprocess.run([program], cwd=folder, check=True)
        return np.fromfile(Path(folder, "read.bin"), np.uint8)


if __name__ == "__main__":
    main()
