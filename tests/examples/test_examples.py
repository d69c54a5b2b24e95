"""The smaller examples, built by real `pio run` and run on virtual boards."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from deepcompress.compile import compile_model
from deepcompress.execute import int8_reference
from deepcompress.ir.batch_layout import in_chunks
from deepcompress.options import Options
from test_example_lenet5 import ARDUINO

ROOT = Path(__file__).parents[2]
PIO = ROOT / "tools" / "pio"
# One process: PlatformIO does not build one environment in two at once.
pytestmark = pytest.mark.xdist_group("examples")


def example(name: str) -> Path:
    return ROOT / "examples" / name


def build_and_run(folder: Path, environment: str) -> str:
    """The firmware's output."""
    command = [PIO, "run", "-d", folder, "-e", environment, "-t", "upload"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def by_reference(folder: Path, model: str, streams: np.ndarray) -> np.ndarray:
    """The best class of each chunk by the reference: [streams, chunks]."""
    options = Options(stateful=True, calibration=str(folder / "data/calibration.npz"))
    made = compile_model(folder / f"models/{model}.pt", name=model, options=options)
    pieces = streams.reshape(-1, *streams.shape[2:])
    integer = in_chunks(made.integer, streams.shape[1])
    scores = int8_reference.run(integer, int8_reference.quantize_inputs(pieces, integer))
    return scores.reshape(*streams.shape[:2], -1).argmax(axis=2)


def play(folder: Path, streams: np.ndarray, tmp_path: Path, *, file: str, answers: str) -> bytes:
    """Answers of the PC's firmware to streams of int16 samples, [streams, samples, values]."""
    length = np.int32(streams.shape[1]).tobytes()
    content = b"".join(length + stream.tobytes() for stream in streams.astype(np.int16))
    (tmp_path / file).write_bytes(content)
    subprocess.run([folder / ".pio/build/native/program"], cwd=tmp_path, check=True)
    return (tmp_path / answers).read_bytes()


def test_a_watch_recognizes_every_exercise_on_a_virtual_board(arm_tools: None) -> None:
    said = build_and_run(example("wrist_exercises"), "virtual_m4")
    assert "upright row, person 8: upright row - upright row" in said
    assert "7 of 7 right after five seconds" in said


def test_motion_in_chunks_gives_the_results_of_the_reference(tmp_path: Path) -> None:
    folder = example("wrist_exercises")
    build_and_run(folder, "native")
    with np.load(folder / "data/calibration.npz") as data:
        samples = np.round(data["inputs"] * 32767).astype(np.int16)
    expected = by_reference(folder, "exercises", samples / np.float32(32768))
    moved = samples.transpose(0, 1, 3, 2).reshape(len(samples), -1, 6)
    classes = play(folder, moved, tmp_path, file="recordings.bin", answers="classes.bin")
    assert list(classes) == expected.ravel().tolist()


def test_a_virtual_board_recognizes_digits_of_an_unknown_speaker(arm_tools: None) -> None:
    said = build_and_run(example("spoken_digits"), "virtual_m4")
    assert "nine: two zero one nine nine" in said
    assert "18 of 20 words right" in said


def test_words_of_training_speakers_are_recognized(tmp_path: Path) -> None:
    """The firmware's input is rounded to tenths of a decibel, so that one word may differ."""
    folder = example("spoken_digits")
    build_and_run(folder, "native")
    with np.load(folder / "data/calibration.npz") as data:
        words, labels = data["inputs"], data["labels"]
    expected = by_reference(folder, "digits", words)[:, -1]
    assert (expected == labels).mean() > 0.97
    mean, deviation = scaling(folder / "src/words.h")
    decibels = np.round(10 * (words[:, :, 0] * deviation + mean))
    heard = play(folder, decibels, tmp_path, file="words.bin", answers="heard.bin")
    assert (np.frombuffer(heard, np.uint8) == expected).sum() >= len(expected) - 1


def scaling(header: Path) -> list[np.ndarray]:
    """feature_mean and feature_deviation of words.h."""
    lines = [line for line in header.read_text().splitlines() if " float feature_" in line]
    texts = [line.partition("{")[2].rstrip("};").split(",") for line in lines]
    return [np.array([float(text.strip(" f")) for text in line]) for line in texts]


def test_two_networks_give_the_same_results_in_one_arena_as_in_two(arm_tools: None) -> None:
    folder = example("two_models")

    def answers(environment: str) -> tuple[list[int], list[str]]:
        lines = build_and_run(folder, environment).splitlines()
        sizes = next(line for line in lines if line.startswith("arenas of "))
        return [int(n) for n in re.findall(r"\d+", sizes)], [x for x in lines if " watched " in x]

    (first, second, shared), together = answers("virtual_m4")
    assert shared == max(first, second)
    (*_, separate), separately = answers("virtual_m4_separate")
    assert separate == first + second
    assert together == separately
    assert len(together) == 7
    assert together[3].startswith("3 read as 3, scores ")
    assert "; internal rotation watched as internal rotation, scores " in together[3]


@pytest.mark.parametrize("name", ["wrist_exercises", "spoken_digits", "two_models"])
def test_the_sketches_for_arduino_boards_compile(name: str, tmp_path: Path) -> None:
    folder = example(name)
    build_and_run(folder, "native")
    (tmp_path / "Arduino.h").write_text(f"{ARDUINO}unsigned long millis();\nclass Stream;\n")
    generated = folder / ".pio/build/native/deepcompress/generated"
    command = ["g++", "-std=gnu++11", "-fsyntax-only", "-Wall", "-Wextra", "-Werror"]
    others = [example(other) / "src" for other in ("lenet5_mnist", "wrist_exercises")]
    command += [f"-I{path}" for path in (tmp_path, generated, ROOT / "include", *others)]
    done = subprocess.run([*command, folder / "src/main.cpp"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
