"""Trains models/exercises.pt, and writes the other files that are derived from the recordings.

    python train.py        # half a minute on one core; reproducible

Three of the ten people are used neither in training nor for choosing parameters. Their accuracy is
an estimate for any other person.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from model import EXERCISES, Exercises, save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from watch import CHUNK, Recording, load

HERE = Path(__file__).parent
TEST_PEOPLE = (8, 9, 10)
STEPS = 1200
BATCH = 48
LEARNING_RATE = 3e-3
ZEROS = 0.8  # share of the weights, in each convolution except the last
WINDOW = 32 * CHUNK  # samples: ten seconds
WARM_UP = 4  # chunks at the start of a window that are ignored
TILT = np.radians(12)  # how much a watch may be tilted
CALIBRATION = 40  # segments of training recordings
STRETCH = 16 * CHUNK  # five seconds


def main() -> None:
    torch.set_num_threads(1)  # a fixed order of sums, so that the file is reproducible
    torch.manual_seed(1)
    random = np.random.default_rng(1)
    try:
        recordings = load(HERE / "data/watch")
    except OSError as error:
        sys.exit(f"train.py: {error}")
    training = [r for r in recordings if r.person not in TEST_PEOPLE]
    test = [r for r in recordings if r.person in TEST_PEOPLE]

    network = train(training, random)
    print(f"other people: {accuracy(network, test):.1f}% of the chunks of {len(test)} recordings")
    (HERE / "models").mkdir(exist_ok=True)
    save(network, HERE / "models/exercises.pt", samples=CHUNK)
    save(LastScores(network), HERE / "models/exercises_window.pt", samples=STRETCH)
    write_calibration(training, random)
    (HERE / "src/recordings.h").write_text(recordings_header(test))


class LastScores(nn.Module):
    """The network's scores at the end of a window, for a build that is not `stateful`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, motion: Tensor) -> Tensor:
        return self.network(motion)[:, :, -1]


def train(recordings: list[Recording], random: np.random.Generator) -> Exercises:
    network = Exercises().train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    for step in range(STEPS):
        chosen = [recordings[i] for i in random.integers(0, len(recordings), BATCH)]
        windows = [tilt(stretch(r.motion, WINDOW, random), random) for r in chosen]
        scores = network(torch.from_numpy(np.stack(windows)))[:, :, WARM_UP:]
        labels = torch.tensor([r.label for r in chosen])[:, None].expand(-1, scores.shape[2])
        loss = cross_entropy(scores, labels, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        cut_weights(network, ZEROS * share_cut(step / STEPS))
        if step % 100 == 99:
            print(f"step {step + 1:4} of {STEPS}  loss {loss.item():.3f}", flush=True)
    return network.eval()


def stretch(motion: np.ndarray, samples: int, random: np.random.Generator) -> np.ndarray:
    """A random segment of a recording, of this many samples."""
    start = random.integers(0, motion.shape[1] - samples + 1)
    return motion[:, start : start + samples]


def tilt(motion: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Augments motion: the watch is tilted slightly, the motion slightly faster or slower."""
    x, y, z = random.normal(0, TILT, 3)
    turn = np.eye(3) + np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.linalg.qr(turn)[0]
    turn *= np.sign(np.diag(turn))
    gain = random.uniform(0.85, 1.15)
    return (gain * np.concatenate([turn @ motion[:3], turn @ motion[3:]])).astype(np.float32)


def share_cut(progress: float) -> float:
    """0 in the first fifth of the training, 1 in the last: Zhu and Gupta's ramp (1710.01878)."""
    ramp = min(max((progress - 0.2) / 0.6, 0.0), 1.0)
    return 1 - (1 - ramp) ** 3


@torch.no_grad()
def cut_weights(network: Exercises, share: float) -> None:
    """Sets the smallest share of each layer's weights to zero; the build stores only the others."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv1d) and layer is not network.classify:
            size = layer.weight.abs()
            layer.weight[size < size.flatten().quantile(share)] = 0


@torch.no_grad()
def accuracy(network: nn.Module, recordings: list[Recording]) -> float:
    """Percentage of chunks whose best score is the exercise of their recording."""
    right = [
        network(torch.from_numpy(np.concatenate(r.chunks(), axis=1)[None]))[0].argmax(0) == r.label
        for r in recordings
    ]
    return 100 * float(torch.cat(right).float().mean())


def write_calibration(recordings: list[Recording], random: np.random.Generator) -> None:
    """Writes segments of training recordings, as streams of chunks and as windows."""
    chosen = [recordings[i] for i in random.integers(0, len(recordings), CALIBRATION)]
    windows = np.stack([stretch(r.motion, STRETCH, random) for r in chosen])
    windows = np.round(windows * 127) / np.float32(127)  # the resolution of the int8 input
    labels = np.array([r.label for r in chosen])
    streams = windows.reshape(CALIBRATION, 6, -1, CHUNK).transpose(0, 2, 1, 3)
    np.savez_compressed(HERE / "data/calibration.npz", inputs=streams, labels=labels)
    np.savez_compressed(HERE / "data/calibration_window.npz", inputs=windows, labels=labels)


def recordings_header(recordings: list[Recording]) -> str:
    """Five seconds from the middle of the first test recording of each exercise, as C."""
    firsts = [next(r for r in recordings if r.label == label) for label in range(EXERCISES)]
    texts = []
    for recording in firsts:
        start = (recording.motion.shape[1] - STRETCH) // 2
        counts = np.round(recording.motion[:, start : start + STRETCH].T * 32767).astype(int)
        lines = (", ".join(f"{{ {', '.join(map(str, axes))} }}" for axes in counts[i : i + 2])
                 for i in range(0, STRETCH, 2))  # fmt: skip
        samples = ",\n        ".join(lines)
        texts.append(f"    {{ {recording.label}, {recording.person},\n      {{ {samples} }} }},")
    return HEADER.format(count=EXERCISES, samples=STRETCH, recordings="\n".join(texts))


HEADER = """\
/*
 * recordings.h - motion of a watch during each exercise, by people who were not used in training.
 * Written by train.py from data of Burns et al. (arXiv 1802.01489), Copyright (c) 2018 David M.
 * Burns, BSD licence (data/README.md).
 */
#ifndef RECORDINGS_H
#define RECORDINGS_H

#include <stdint.h>

typedef struct {{
    int exercise;
    int person;
    int16_t samples[{samples}][6]; // 50 Hz; x, y, z at 4 g full scale, then at 500 degrees/s
}} Recording;

// clang-format off
static const Recording recordings[{count}] = {{
{recordings}
}};
// clang-format on

#endif
"""


if __name__ == "__main__":
    main()
