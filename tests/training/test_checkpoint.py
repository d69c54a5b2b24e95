"""Checkpoints are untrusted input: they run no code, and a bad one restarts its training."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deepcompress.errors import UserError
from deepcompress.training.config import Recipe
from deepcompress.training.trainer import CHECKPOINT, Retrained
from test_trainer import train

RECIPE = Recipe(parameter_bytes=200, codebook_bits=3, epochs=3, batch=128)


class Payload:
    """Creates a file when it is unpickled without restriction."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def save_as_pickle(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Retrained]:
    """The checkpoint of a finished training, and its result."""
    folder = tmp_path_factory.mktemp("finished")
    retrained = train(folder, RECIPE)
    return (folder / CHECKPOINT).read_bytes(), retrained


def assert_restarts(folder: Path, expected: Retrained, reason: str) -> None:
    lines: list[str] = []
    epochs: list[int] = []
    retrained = train(
        folder, RECIPE, on_epoch=lambda e: epochs.append(e.index), progress=lines.append
    )
    assert lines == [
        f"checkpoint {folder / CHECKPOINT} cannot be used: {reason}; "
        "this training starts again at epoch 1"
    ]
    assert epochs == [0, 1, 2]
    assert retrained.history == expected.history
    for one, other in zip(retrained.graph.nodes, expected.graph.nodes, strict=True):
        for key in one.parameters:
            np.testing.assert_array_equal(one.parameters[key], other.parameters[key])


DAMAGED = "the file is damaged, or holds other objects than tensors and plain values"


@pytest.mark.parametrize("save", [torch.save, save_as_pickle])
def test_a_malicious_checkpoint_runs_no_code(
    tmp_path: Path, finished: tuple[bytes, Retrained], save: Callable[[Any, Path], None]
) -> None:
    executed = tmp_path / "executed"
    save({"parameters": Payload(executed)}, tmp_path / CHECKPOINT)
    assert_restarts(tmp_path, finished[1], DAMAGED)
    assert not executed.exists()


@pytest.mark.parametrize("length", [0, 100, -100])
def test_a_truncated_checkpoint_restarts_its_training(
    tmp_path: Path, finished: tuple[bytes, Retrained], length: int
) -> None:
    (tmp_path / CHECKPOINT).write_bytes(finished[0][:length])
    assert_restarts(tmp_path, finished[1], DAMAGED)


def without_second_layer(content: dict[str, Any]) -> None:
    del content["parameters"]["second"]


def wider(content: dict[str, Any]) -> None:
    content["parameters"]["first"]["weight"] = torch.zeros(32, 9)


def of_doubles(content: dict[str, Any]) -> None:
    content["saliency"]["first"] = content["saliency"]["first"].double()


def half_a_mask(content: dict[str, Any]) -> None:
    content["masks"]["first"] = content["masks"]["first"] / 2


def of_another_recipe(content: dict[str, Any]) -> None:
    content["recipe"]["seed"] = 1


def of_another_format(content: dict[str, Any]) -> None:
    content["format"] = 0


def with_too_many_epochs(content: dict[str, Any]) -> None:
    content["history"] *= 2


def with_epochs_in_disorder(content: dict[str, Any]) -> None:
    content["history"].reverse()


def with_text_as_accuracy(content: dict[str, Any]) -> None:
    content["best"]["outcome"]["accuracy"] = "99"


def without_best(content: dict[str, Any]) -> None:
    content["best"] = None


def with_infinite_correction(content: dict[str, Any]) -> None:
    content["corrections"]["parameter_bytes"] = float("inf")


def with_short_moments(content: dict[str, Any]) -> None:
    content["moments"]["first"]["bias"]["exp_avg"] = torch.zeros(1)


def with_a_longer_codebook(content: dict[str, Any]) -> None:
    content["codebooks"]["second"] = torch.zeros(16)


def with_a_list_of_numbers(content: dict[str, Any]) -> None:
    content["parameters"]["first"]["bias"] = [0.0] * 32


def with_a_sparse_tensor(content: dict[str, Any]) -> None:
    content["parameters"]["first"]["weight"] = torch.zeros(32, 8).to_sparse()


OTHER_SHAPE = "have other shapes or types than this network"
OTHER_NAMES = "other names than this training"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_second_layer, f"parameters has {OTHER_NAMES}"),
        (wider, f"its parameters {OTHER_SHAPE}"),
        (of_doubles, f"its saliency {OTHER_SHAPE}"),
        (half_a_mask, "its masks hold other values than 0 and 1"),
        (of_another_recipe, "it belongs to a training with another recipe"),
        (of_another_format, "another version of deepcompress wrote it"),
        (with_too_many_epochs, "its history has another length than this training"),
        (with_epochs_in_disorder, "its history is not one of epochs"),
        (with_text_as_accuracy, "its outcomes are not numbers"),
        (without_best, "its best network does not belong to its history"),
        (with_infinite_correction, "its corrections are not numbers"),
        (with_short_moments, f"its moments {OTHER_SHAPE}"),
        (with_a_longer_codebook, f"its codebooks {OTHER_SHAPE}"),
        (with_a_list_of_numbers, "its parameters are not tensors"),
        (with_a_sparse_tensor, "its parameters are not tensors"),
    ],
)
def test_a_foreign_checkpoint_restarts_its_training(
    tmp_path: Path,
    finished: tuple[bytes, Retrained],
    change: Callable[[dict[str, Any]], None],
    reason: str,
) -> None:
    path = tmp_path / CHECKPOINT
    path.write_bytes(finished[0])
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    assert_restarts(tmp_path, finished[1], reason)


def test_a_checkpoint_that_cannot_be_read_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).mkdir()
    with pytest.raises(UserError, match="it cannot be read"):
        train(tmp_path, RECIPE)


def test_a_checkpoint_loads_with_the_restricted_unpickler(
    tmp_path: Path, finished: tuple[bytes, Retrained]
) -> None:
    path = tmp_path / CHECKPOINT
    path.write_bytes(finished[0])
    assert torch.load(path, weights_only=True)["format"] == 1
