"""The tasks on which the benchmark's networks are trained and measured.

A task is a function of a number of samples and a seed. It returns inputs, float32 [n, *shape], and
targets: int64 classes, [n] or one per pixel, or float32 values for regression. Digits are from
MNIST, from the example's test set. Their background is a photograph that is part of matplotlib.
Signals are synthetic.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import numpy as np

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "lenet5_mnist"
sys.path.insert(0, str(EXAMPLE))

import mnist  # noqa: E402

Samples = tuple[np.ndarray, np.ndarray]
_CLASS_SEED = 99  # seed of the classes of synthetic signals, the same for all samples


def digits(count: int, seed: int) -> Samples:
    """Digits of 32x32 pixels, as in the example's training."""
    images, labels = _some_digits(count, seed)
    return mnist.normalise(mnist.pad(images)), labels


def lines_of_digits(count: int, seed: int) -> Samples:
    """Digits as 28 lines of 28 pixels."""
    images, labels = _some_digits(count, seed)
    return mnist.normalise(images), labels


def scenes(count: int, seed: int, *, size: int) -> Samples:
    """A coloured digit on a part of a photograph; classify the digit."""
    images, labels, _ = _scenes(count, seed, size)
    return images, labels


def presence(count: int, seed: int, *, size: int) -> Samples:
    """The same, with a digit in every second image; detect whether there is one."""
    images, _, masks = _scenes(count, seed, size, share=0.5)
    return images, masks.any(axis=(1, 2)).astype(np.int64)


def outlines(count: int, seed: int, *, size: int) -> Samples:
    """The same; find the pixels of the digit."""
    images, _, masks = _scenes(count, seed, size)
    return images, masks


def keywords(count: int, seed: int) -> Samples:
    """49 times 10 coefficients: one of 12 patterns, shifted in time, with noise."""
    words = 2 * _wander(np.random.default_rng(_CLASS_SEED), 12, 10, 49)
    random = np.random.default_rng(seed)
    labels = random.integers(0, 12, count)
    shifts = random.integers(-6, 7, count)
    spoken = np.stack([np.roll(words[w], s, axis=-1) for w, s in zip(labels, shifts, strict=True)])
    heard = spoken * random.uniform(0.5, 1.5, (count, 1, 1)) + _wander(random, count, 10, 49)
    return np.ascontiguousarray(heard.swapaxes(1, 2)[:, None], np.float32), labels


def motions(count: int, seed: int) -> Samples:
    """128 samples of 3 axes: one of 6 rhythms with random phase and strength, plus gravity."""
    classes = np.random.default_rng(_CLASS_SEED)
    rhythm = classes.uniform(0.02, 0.2, (6, 3, 1))
    strength = classes.uniform(0.2, 2, (6, 3, 1))
    random = np.random.default_rng(seed)
    labels = random.integers(0, 6, count)
    phase = random.uniform(0, 1, (count, 3, 1))
    swing = np.sin(2 * np.pi * (rhythm[labels] * np.arange(128) + phase)) * strength[labels]
    gravity = random.standard_normal((count, 3, 1))
    noise = 0.5 * _wander(random, count, 3, 128)
    signals = swing * random.uniform(0.5, 1.5, (count, 1, 1)) + gravity + noise
    return signals.astype(np.float32), labels


def spectra(count: int, seed: int) -> Samples:
    """Five frames of 128 bands, a mixture of six sources; reconstruct them from eight numbers."""
    sources = _wander(np.random.default_rng(_CLASS_SEED), 6, 640)
    random = np.random.default_rng(seed)
    mixed = random.standard_normal((count, 6)) @ sources + 0.1 * _wander(random, count, 640)
    return mixed.astype(np.float32), mixed.astype(np.float32)


def _some_digits(count: int, seed: int) -> Samples:
    with np.load(EXAMPLE / "data" / "t10k.npz") as content:
        chosen = np.random.default_rng(seed).permutation(len(content["labels"]))[:count]
        return content["images"][chosen], content["labels"][chosen].astype(np.int64)


def _scenes(
    count: int, seed: int, size: int, share: float = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, classes of digits, and masks; only a share of the images contains a digit."""
    from PIL import Image

    random = np.random.default_rng(seed)
    drawn, labels = _some_digits(count, seed)
    photograph = _photograph()
    images = np.empty((count, size, size, 3), np.float32)
    masks = np.zeros((count, size, size), np.float32)
    for image, mask, digit in zip(images, masks, drawn, strict=True):
        side = int(random.integers(48, 512))
        x, y = (int(random.integers(0, limit - side + 1)) for limit in photograph.size)
        around = (x, y, x + side, y + side)
        image[:] = np.asarray(photograph.resize((size, size), box=around), np.float32) / 255
        if random.uniform() < share:
            mask[:] = np.asarray(Image.fromarray(digit).resize((size, size)), np.float32) / 255
        colour = random.uniform(0, 1, 3)
        image += mask[..., None] * (colour - image)
    return (images.transpose(0, 3, 1, 2) - 0.5) / 0.25, labels, (masks > 0.5).astype(np.int64)


@functools.cache
def _photograph():
    from matplotlib.cbook import get_sample_data
    from PIL import Image

    return Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")


def _wander(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Noise of variance 1 that is correlated along the last axis."""
    values = random.standard_normal(shape)
    for i in range(1, shape[-1]):
        values[..., i] = 0.9 * values[..., i - 1] + 0.436 * values[..., i]
    return values
