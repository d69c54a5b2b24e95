"""examples/lenet5_mnist, built and run by real `pio run`: the same scores on every CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "lenet5_mnist"
sys.path.insert(0, str(EXAMPLE))

import camera  # noqa: E402
import drawing  # noqa: E402
import evaluate  # noqa: E402
import measure  # noqa: E402
import mnist  # noqa: E402

BOARDS = [f"virtual_{cpu}" for cpu in ("m0", "m3", "m4", "m7", "m33", "m55", "stm32f405")]
IMAGES = 100
# One process: PlatformIO does not build one environment in two at once.
pytestmark = pytest.mark.xdist_group("examples/lenet5_mnist")
SUBSET = 2_000

# The parts of Arduino that the sketch uses.
ARDUINO = """\
#include <stdint.h>
struct Port {
    void begin(long);
    void print(const char *);
    void print(int);
    void print(unsigned long);
    void println(const char *);
};
extern Port Serial;
unsigned long micros();
void delay(unsigned long);
"""


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return evaluate.test_set()[0]


@pytest.fixture(scope="module")
def expected(images: np.ndarray) -> np.ndarray:
    """The reference's scores for the first images, int8 [SUBSET, 10]."""
    return evaluate.reference_scores(images[:SUBSET])


@pytest.mark.parametrize("board", BOARDS)
def test_every_cpu_gives_the_scores_of_the_reference(
    board: str, arm_tools: None, images: np.ndarray, expected: np.ndarray
) -> None:
    evaluate.build(board)
    scores = evaluate.firmware_scores(board, images[:IMAGES])
    np.testing.assert_array_equal(scores, expected[:IMAGES])


def test_the_generated_c_classifies_the_test_set_like_the_float_network(
    images: np.ndarray, expected: np.ndarray
) -> None:
    evaluate.build("native")
    labels = evaluate.test_set()[1][:SUBSET]
    scores = evaluate.firmware_scores("native", images[:SUBSET])
    np.testing.assert_array_equal(scores, expected)
    in_float = evaluate.percent_right(evaluate.float_scores(images[:SUBSET]), labels)
    assert in_float >= 98.8
    assert evaluate.percent_right(scores, labels) >= in_float - 0.5


def test_int8_without_pruning_costs_at_most_a_tenth_of_a_point(images: np.ndarray) -> None:
    labels = evaluate.test_set()[1][:SUBSET]
    in_float = evaluate.percent_right(evaluate.float_scores(images[:SUBSET]), labels)
    scores = evaluate.reference_scores(images[:SUBSET], sparsity="none")
    assert evaluate.percent_right(scores, labels) >= in_float - 0.1


def test_the_firmware_needs_the_memory_that_the_readme_states(arm_tools: None) -> None:
    rows = json.loads((EXAMPLE.parents[1] / "benchmarks/results/lenet5.json").read_text())
    said = next(row for row in rows if row["name"].startswith("int8, 80%"))
    evaluate.build("virtual_m4")
    needs = measure.measure(EXAMPLE / ".pio/build/virtual_m4/firmware.elf")
    # Another release of the compiler may move these by a few percent.
    assert needs.network_flash_bytes == pytest.approx(said["flash_bytes"], rel=0.05)
    assert needs.cycles == pytest.approx(said["cycles"], rel=0.05)


@pytest.mark.parametrize("board", ["virtual_m0_75x", "virtual_m4_75x", "virtual_m4_110x"])
def test_a_network_of_few_bytes_gives_the_scores_of_the_reference(
    board: str, arm_tools: None, images: np.ndarray
) -> None:
    evaluate.build(board)
    scores = evaluate.firmware_scores(board, images[:IMAGES])
    equal, verdict = evaluate.compare(board, scores, images[:IMAGES])
    assert equal, verdict


@pytest.mark.parametrize(("ending", "bytes_allowed"), [("75x", 3291), ("110x", 2243)])
def test_a_network_of_few_bytes_needs_the_memory_that_the_readme_states(
    arm_tools: None, images: np.ndarray, ending: str, bytes_allowed: int
) -> None:
    rows = json.loads((EXAMPLE.parents[1] / "benchmarks/results/lenet5_size.json").read_text())
    said = next(row for row in rows if row["name"].endswith(ending))
    changes = evaluate.compiler_options(f"env:virtual_m4_{ending}")
    report = evaluate.compile_network(**changes).report
    assert report["flash"]["weights_bytes"] == said["parameter_bytes"] <= bytes_allowed
    evaluate.build(f"virtual_m4_{ending}")
    needs = measure.measure(EXAMPLE / f".pio/build/virtual_m4_{ending}/firmware.elf")
    assert needs.network_flash_bytes == pytest.approx(said["flash_bytes"], rel=0.05)
    labels = evaluate.test_set()[1][:SUBSET]
    scores = evaluate.reference_scores(images[:SUBSET], **changes)
    assert evaluate.percent_right(scores, labels) >= said["accuracy_int8"] - 0.5


def test_images_are_padded_with_black(tmp_path: Path) -> None:
    padded = mnist.pad(np.full((2, 28, 28), 255, np.uint8))
    assert padded.shape == (2, 1, 32, 32)
    assert padded[:, :, 2:30, 2:30].min() == 255
    assert padded.sum() == 255 * 2 * 28 * 28


def test_a_file_that_is_no_idx_file_or_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images"
    header = np.array([0x803, 2, 28, 28], ">u4").tobytes()
    path.write_bytes(header + bytes(range(256)) * 6 + bytes(2 * 28 * 28 - 256 * 6))
    images = mnist.read_images(path)
    assert images.shape == (2, 28, 28)
    assert images[0, 0, :3].tolist() == [0, 1, 2]
    path.write_bytes(header + bytes(2 * 28 * 28 - 1))
    with pytest.raises(ValueError, match="cut short: 1567 bytes"):
        mnist.read_images(path)
    with pytest.raises(ValueError, match="not an idx file of 1 dimensions"):
        mnist.read_labels(path)


def test_the_picture_contains_the_whole_digit(images: np.ndarray) -> None:
    for image in images[:200, 0]:
        assert drawing.crop(image).sum() == image.sum()


def test_a_bar_is_as_long_as_its_share() -> None:
    assert drawing.bar(0.0, drawing.PLAIN.levels) == "   "
    assert drawing.bar(0.7, drawing.PLAIN.levels) == "## "
    assert drawing.bar(1.0, drawing.COLOUR.levels) == "███"
    assert drawing.bar(0.5, drawing.COLOUR.levels) == "█▌ "


def test_the_sketch_for_arduino_boards_compiles(tmp_path: Path) -> None:
    evaluate.build("native")
    (tmp_path / "Arduino.h").write_text(ARDUINO)
    generated = EXAMPLE / ".pio/build/native/deepcompress/generated"
    folders = [tmp_path, generated, EXAMPLE.parents[1] / "include"]
    command = ["g++", "-std=gnu++11", "-fsyntax-only", "-Wall", "-Wextra", "-Werror"]
    command += [f"-I{folder}" for folder in folders]
    done = subprocess.run([*command, EXAMPLE / "src/main.cpp"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_demo_draws_every_digit_and_compares(arm_tools: None) -> None:
    command = [sys.executable, EXAMPLE / "demo.py"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" read as ") == 11
    assert "accuracy, 10,000 images" in done.stdout
    assert "fewer" in done.stdout


def test_the_float_firmware_agrees_with_torch(arm_tools: None, images: np.ndarray) -> None:
    evaluate.build("virtual_m4_float")
    scores = evaluate.firmware_scores("virtual_m4_float", images[:20])
    np.testing.assert_allclose(scores, evaluate.float_scores(images[:20]), atol=1e-3)


def test_digits_in_frames_of_a_camera_are_read(images: np.ndarray) -> None:
    evaluate.build("native_camera")
    read = camera.firmware_reads("native_camera", camera.frames_of(images[:300]))
    assert np.mean(read == evaluate.test_set()[1][:300]) >= 0.97


def test_a_blank_page_has_no_digit() -> None:
    evaluate.build("native_camera")
    blank = np.random.default_rng(1).normal(180, 4, (1, camera.HEIGHT, camera.WIDTH))
    assert camera.firmware_reads("native_camera", blank.astype(np.uint8)).tolist() == [255]


def test_a_virtual_board_finds_digits_in_frames(arm_tools: None) -> None:
    command = evaluate.pio_run(EXAMPLE, "virtual_m4_camera", "-t", "upload")
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "test image 18: 3 read as 3" in done.stdout
    assert done.stdout.count(" read as ") == 11
