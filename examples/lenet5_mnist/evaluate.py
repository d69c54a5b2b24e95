"""Runs MNIST's test set through the firmware and through the float network in torch.

    python evaluate.py                                  # 10,000 images through the PC's build
    python evaluate.py virtual_m0 virtual_m4 --images 100

Each environment of platformio.ini compiles the same generated C, whichever CPU runs it. So its int8
scores must be bit-exact with `deepcompress.execute.int8_reference`.
"""

from __future__ import annotations

import argparse
import configparser
import subprocess
import sys
import tempfile
from pathlib import Path

import mnist
import model
import numpy as np
import torch
from deepcompress.compile import Compiled, compile_model
from deepcompress.execute import int8_reference
from deepcompress.options import parse

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from results import pio_run  # noqa: E402

CLASSES = 10


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs MNIST's test set through the firmware.")
    parser.add_argument("environments", nargs="*", default=["native"], metavar="environment")
    parser.add_argument("--images", type=int, default=10_000, help="how many, from the first")
    arguments = parser.parse_args()
    images, labels = (part[: arguments.images] for part in test_set())
    in_float = float_scores(images)
    all_equal = True
    print(f"{len(images):,} images{'':<16}read right")
    print(f"{'float, in torch':<24}{percent_right(in_float, labels):9.2f}%")
    for environment in arguments.environments:
        build(environment)
        scores = firmware_scores(environment, images)
        equal, verdict = compare(environment, scores, images)
        all_equal &= equal
        print(f"{environment:<24}{percent_right(scores, labels):9.2f}%  {verdict}", flush=True)
    return 0 if all_equal else 1


def compare(environment: str, scores: np.ndarray, images: np.ndarray) -> tuple[bool, str]:
    """Whether a firmware's scores are correct, and a text that says so."""
    if environment.endswith("_float"):
        distance = float(np.abs(scores - float_scores(images)).max())
        return distance < 1e-3, f"scores within {distance:.1g} of torch's"
    expected = reference_scores(images, **compiler_options(f"env:{environment}"))
    wrong = int((scores != expected).any(axis=1).sum())
    return not wrong, f"scores of {wrong:,} images DIFFER" if wrong else "scores as the reference"


def test_set() -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 [10000, 1, 32, 32], and labels, uint8 [10000]."""
    with np.load(HERE / "data/t10k.npz") as content:
        return mnist.pad(content["images"]), content["labels"]


def percent_right(scores: np.ndarray, labels: np.ndarray) -> float:
    """Percentage of rows of scores [n, 10] whose first maximum is the label."""
    return 100 * float(np.mean(scores.argmax(axis=1) == labels))


@torch.no_grad()
def float_scores(images: np.ndarray) -> np.ndarray:
    """The trained network's scores of uint8 images: float32 [n, 10]."""
    network = model.load(HERE / "models/lenet5.pt")
    return network(torch.from_numpy(mnist.normalise(images))).numpy()


def compiler_options(section: str = "env") -> dict[str, str]:
    """DeepCompress' options in a section of platformio.ini, by name; paths are absolute."""
    ini = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";",))
    ini.read(HERE / "platformio.ini")
    prefix = "custom_deepcompress_"
    options = {
        key.removeprefix(prefix): value
        for key, value in ini[section].items()
        if key.startswith(prefix)
    }
    return {
        name: str(HERE / value) if (HERE / value).is_file() else value
        for name, value in options.items()
    }


def compile_network(**changes: str) -> Compiled:
    """Compiles the network.

    Args:
        changes: options that differ from platformio.ini.
    """
    options = compiler_options() | changes
    path = HERE / options.pop("model").rpartition("=")[2].strip()  # may be `name = path`
    return compile_model(path, name="lenet5", options=parse(options, where="evaluate"))


def reference_scores(images: np.ndarray, **changes: str) -> np.ndarray:
    """The integer reference's scores of uint8 images: int8 [n, 10]."""
    integer = compile_network(**changes).integer
    return int8_reference.run(integer, int8_reference.quantize_bytes(images, integer))


def build(environment: str) -> None:
    """Builds a firmware; raises RuntimeError with the end of the build's output if that fails."""
    command = pio_run(HERE, environment, "--silent")
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{environment} does not build:\n{(done.stdout + done.stderr)[-2000:]}")


def firmware_scores(environment: str, images: np.ndarray) -> np.ndarray:
    """A built firmware's scores of uint8 images [n, 1, 32, 32]: [n, 10], int8 or float32.

    Raises RuntimeError if it stops before the last image.
    """
    program = HERE / ".pio" / "build" / environment / "program"
    kind = np.float32 if environment.endswith("_float") else np.int8
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "images.bin").write_bytes(images.tobytes())
        done = subprocess.run([program], cwd=folder, capture_output=True, text=True)
        logits = Path(folder, "logits.bin")
        scores = np.fromfile(logits, kind) if logits.is_file() else np.empty(0, kind)
    if done.returncode or scores.size != len(images) * CLASSES:
        raise RuntimeError(f"{environment} stopped early: {done.stdout}{done.stderr}")
    return scores.reshape(-1, CLASSES)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as error:
        sys.exit(f"evaluate: error: {error}")
