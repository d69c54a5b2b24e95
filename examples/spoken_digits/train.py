"""Trains models/digits.pt, and writes the other files that are derived from the recordings.

python train.py        # one minute on one core; reproducible
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from model import Digits, save
from speech import DIGITS, FEATURES, Word, load
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

HERE = Path(__file__).parent
STEPS = 2500
BATCH = 64
LEARNING_RATE = 4e-3
ZEROS = 0.8  # share of the recurrent layer's weights
CALIBRATION = 96  # words
FRAMES = 17  # the length of these words


def main() -> None:
    torch.set_num_threads(1)  # a fixed order of sums, so that the file is reproducible
    torch.manual_seed(1)
    random = np.random.default_rng(1)
    try:
        words = load(HERE / "data")
    except OSError as error:
        sys.exit(f"train.py: {error}")
    scale = scale_of(words.training)
    network = train([replace(w, frames=scale(w.frames)) for w in words.training], random)
    for name in ("test", "stranger"):
        print(f"{name}: {accuracy(network, getattr(words, name), scale):.1f}% of words")
    (HERE / "models").mkdir(exist_ok=True)
    save(network, HERE / "models/digits.pt")
    write_calibration(words.training, scale)
    (HERE / "src/words.h").write_text(words_header(words.stranger, scale))


@dataclass(frozen=True)
class Scale:
    """Scales features to a mean of 0 and a standard deviation of 1."""

    mean: np.ndarray
    deviation: np.ndarray

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        return (frames - self.mean) / self.deviation


def scale_of(words: list[Word]) -> Scale:
    frames = np.concatenate([word.frames for word in words])
    return Scale(frames.mean(axis=0), frames.std(axis=0))


def train(words: list[Word], random: np.random.Generator) -> Digits:
    network = Digits().train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    for step in range(STEPS):
        chosen = [words[i] for i in random.integers(0, len(words), BATCH)]
        frames = [torch.from_numpy(spoken_otherwise(w.frames, random)) for w in chosen]
        last = torch.tensor([len(f) - 1 for f in frames])
        scores = network(nn.utils.rnn.pad_sequence(frames, batch_first=True))
        labels = torch.tensor([w.digit for w in chosen])
        loss = cross_entropy(scores[torch.arange(BATCH), last], labels, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        cut_weights(network, ZEROS * share_cut(step / STEPS))
        if step % 250 == 249:
            print(f"step {step + 1:4} of {STEPS}  loss {loss.item():.3f}", flush=True)
    return network.eval()


def spoken_otherwise(frames: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Augments a word: slightly slower or faster, louder or softer, with another microphone."""
    count = max(4, round(len(frames) * random.uniform(0.85, 1.2)))
    at = np.linspace(0, len(frames) - 1, count)
    columns = [np.interp(at, np.arange(len(frames)), column) for column in frames.T]
    tone = random.normal(0, 0.4, FEATURES)
    noise = random.normal(0, 0.15, (count, FEATURES))
    return (np.stack(columns, axis=1) + tone + noise).astype(np.float32)


def share_cut(progress: float) -> float:
    """0 in the first fifth of the training, 1 in the last: Zhu and Gupta's ramp (1710.01878)."""
    ramp = min(max((progress - 0.2) / 0.6, 0.0), 1.0)
    return 1 - (1 - ramp) ** 3


@torch.no_grad()
def cut_weights(network: Digits, share: float) -> None:
    """Sets the smallest share of the recurrent weights to zero; the build stores only the others.

    The weights of the input and of the last output are ranked together, as the build stores them.
    """
    weights = [network.hear.weight_ih_l0, network.hear.weight_hh_l0]
    smallest = torch.cat([weight.abs().flatten() for weight in weights]).quantile(share)
    for weight in weights:
        weight[weight.abs() < smallest] = 0


@torch.no_grad()
def accuracy(network: nn.Module, words: list[Word], scale: Scale) -> float:
    """Percentage of words whose best score at the last frame is the digit."""

    def heard(word: Word) -> Tensor:
        return network(torch.from_numpy(scale(word.frames))[None])[0, -1].argmax()

    return 100 * sum(int(heard(word) == word.digit) for word in words) / len(words)


def write_calibration(words: list[Word], scale: Scale) -> None:
    """Training words as streams of frames, all of one length."""
    chosen = [word for word in words if len(word.frames) == FRAMES][:CALIBRATION]
    streams = np.stack([scale(word.frames) for word in chosen])[:, :, None]
    streams = np.round(streams * 32) / np.float32(32)  # about the resolution of the int8 input
    labels = np.array([word.digit for word in chosen])
    np.savez_compressed(HERE / "data/calibration.npz", inputs=streams, labels=labels)


def words_header(words: list[Word], scale: Scale) -> str:
    """The first two words of each digit and the scale of the features, as C."""
    chosen = [w for digit in range(DIGITS) for w in [w for w in words if w.digit == digit][:2]]
    frames = np.concatenate([np.round(10 * word.frames).astype(int) for word in chosen])
    starts = np.cumsum([0, *(len(word.frames) for word in chosen)])
    table = zip(chosen, starts, strict=False)
    return HEADER.format(
        mean=", ".join(f"{value:.3f}f" for value in scale.mean),
        deviation=", ".join(f"{value:.3f}f" for value in scale.deviation),
        frames=len(frames),
        rows=",\n".join(f"    {{ {', '.join(map(str, row))} }}" for row in frames),
        count=len(chosen),
        words=",\n".join(f"    {{ {w.digit}, {start}, {len(w.frames)} }}" for w, start in table),
    )


HEADER = """\
/*
 * words.h - two words per digit of a speaker who was not used in training, and the scale of the
 * features. Written by train.py from the Free Spoken Digit Dataset (CC BY-SA 4.0; see
 * data/README.md).
 */
#ifndef WORDS_H
#define WORDS_H

#include <stdint.h>

// clang-format off
/* Mean and standard deviation of each coefficient in the training data, in decibels. */
static const float feature_mean[13] = {{ {mean} }};
static const float feature_deviation[13] = {{ {deviation} }};

/* All words' frames, 25 ms each: 13 coefficients in tenths of a decibel. */
static const int16_t frames[{frames}][13] = {{
{rows}
}};

typedef struct {{
    int digit;
    int start; // index of the first frame
    int length;
}} Word;

static const Word words[{count}] = {{
{words}
}};
// clang-format on

#endif
"""


if __name__ == "__main__":
    main()
