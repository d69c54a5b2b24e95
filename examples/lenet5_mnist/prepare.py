"""Writes data/*.npz and src/digits.h from MNIST.

python prepare.py      # run this again whenever models/lenet5.pt has changed
"""

from __future__ import annotations

import argparse
from pathlib import Path

import evaluate
import mnist
import numpy as np

HERE = Path(__file__).parent
CALIBRATION = 512


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes data/*.npz and src/digits.h from MNIST.")
    parser.add_argument("--data", type=Path, default=HERE / "data/mnist", help="MNIST's idx files")
    folder = mnist.fetch(parser.parse_args().data)
    images, labels = mnist.load(folder, "train")
    chosen = np.random.default_rng(1).choice(len(images), CALIBRATION, replace=False)
    np.savez_compressed(
        HERE / "data/calibration.npz", inputs=mnist.pad(images[chosen]), labels=labels[chosen]
    )
    images, labels = mnist.load(folder, "t10k")
    np.savez_compressed(HERE / "data/t10k.npz", images=images, labels=labels)
    numbers = choose_digits(images, labels)
    (HERE / "src/digits.h").write_text(digits_header(numbers, mnist.pad(images), labels))


def choose_digits(images: np.ndarray, labels: np.ndarray) -> list[int]:
    """Indices in the test set: the first of each class, and the first that is misclassified."""
    firsts = [int(np.argmax(labels == digit)) for digit in range(10)]
    read = evaluate.reference_scores(mnist.pad(images)).argmax(axis=1)
    return [*firsts, int(np.argmax(read != labels))]


def digits_header(numbers: list[int], images: np.ndarray, labels: np.ndarray) -> str:
    """The C header; images is uint8 [n, 1, 32, 32]."""
    digits = "\n".join(
        f"    {{ {number}, {labels[number]},\n      {{ {pixel_rows(images[number])} }} }},"
        for number in numbers
    )
    return HEADER.format(count=len(numbers), digits=digits)


def pixel_rows(image: np.ndarray) -> str:
    rows = (", ".join(map(str, row)) for row in image.reshape(32, 32))
    return ",\n        ".join(rows)


HEADER = """\
/*
 * digits.h - the first test image of each digit, and the first that is misclassified.
 * Written by prepare.py from MNIST (LeCun, Cortes, Burges; CC BY-SA 3.0).
 */
#ifndef DIGITS_H
#define DIGITS_H

#include <stdint.h>

typedef struct {{
    int number; // index in the test set
    int label;
    uint8_t pixels[32 * 32]; // 0 black, 255 white
}} Digit;

// clang-format off
static const Digit digits[{count}] = {{
{digits}
}};
// clang-format on

#endif
"""


if __name__ == "__main__":
    main()
