"""Writes and reads the checkpoint of a training: tensors and plain values only.

A study folder may be shared, so a checkpoint is untrusted input. It is read with torch's restricted
unpickler, which runs no code, and nothing of it is used before all of it is validated: format,
recipe, names, shapes, types.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompress.errors import UserError
from deepcompress.file_write import replace_file
from deepcompress.training.config import Outcome, Recipe
from deepcompress.training.state import BestNetwork, Epoch, LayerParameters, TrainingState

if TYPE_CHECKING:
    import torch

FORMAT = 1
_MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW, per parameter


class InvalidCheckpoint(Exception):
    """The checkpoint cannot be used; the text says why."""


def write_checkpoint(path: Path, state: TrainingState, recipe: Recipe) -> None:
    """Replaces the checkpoint in one operation of the file system.

    Raises:
        OSError: it cannot be written.
    """
    import torch

    content = io.BytesIO()  # torch's own writer ends the process if the disk is full
    torch.save(_to_plain(state, recipe), content)
    replace_file(path, content.getvalue())


def restore_checkpoint(path: Path, state: TrainingState, recipe: Recipe) -> bool:
    """Whether there is a checkpoint; if so, `state` continues from it.

    Args:
        state: of the same training before its first epoch; unchanged if this raises.

    Raises:
        InvalidCheckpoint: it is damaged, or belongs to another training.
        UserError: it cannot be read from the disk.
    """
    import torch

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UserError(
            f"it cannot be read ({error.strerror or error})",
            f"checkpoint {path}",
            "Fix the file's permissions or the disk, or delete the file to restart this trial",
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning about the file's pickle helps nobody
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch documents no list of what a damaged file raises
        raise InvalidCheckpoint(
            "the file is damaged, or holds other objects than tensors and plain values"
        ) from error
    _restore(content, state, recipe)
    return True


def _to_plain(state: TrainingState, recipe: Recipe) -> dict[str, Any]:
    best = state.best
    return {
        "format": FORMAT,
        "recipe": asdict(recipe),
        "parameters": _detached(state.parameters),
        "moments": {
            name: {key: _moments(state.optimizer, tensor) for key, tensor in tensors.items()}
            for name, tensors in state.parameters.items()
        },
        "masks": dict(state.masks),
        "saliency": dict(state.saliency),
        "codebooks": dict(state.codebooks),
        "corrections": dict(state.corrections),
        "history": [
            {
                "index": epoch.index,
                "nonzeros": epoch.nonzeros,
                "loss": epoch.loss,
                "outcome": epoch.outcome and _plain_outcome(epoch.outcome),
            }
            for epoch in state.history
        ],
        "best": best
        and {
            "parameters": _detached(best.parameters),
            "outcome": _plain_outcome(best.outcome),
        },
    }


def _plain_outcome(outcome: Outcome) -> dict[str, float | int]:
    """Without scalars of NumPy, which the restricted unpickler refuses."""
    values = {name: int(value) for name, value in asdict(outcome).items()}
    return {**values, "accuracy": float(outcome.accuracy)}


def _detached(parameters: LayerParameters) -> LayerParameters:
    return {
        name: {key: tensor.detach() for key, tensor in tensors.items()}
        for name, tensors in parameters.items()
    }


def _moments(optimizer: torch.optim.AdamW, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """Empty for a parameter that had no gradient yet."""
    return dict(optimizer.state.get(tensor, {}))


def _restore(content: object, state: TrainingState, recipe: Recipe) -> None:
    import torch

    names = ("recipe", "parameters", "moments", "masks", "saliency", "codebooks", "corrections")
    checkpoint = _mapping(content, ("format", *names, "history", "best"), "the checkpoint")
    if checkpoint["format"] != FORMAT:
        raise InvalidCheckpoint("another version of deepcompress wrote it")
    if checkpoint["recipe"] != asdict(recipe):
        raise InvalidCheckpoint("it belongs to a training with another recipe")
    parameters = _parameters(checkpoint["parameters"], state.parameters, "parameters")
    moments = _read_moments(checkpoint["moments"], state.parameters)
    masks = _tensors(checkpoint["masks"], state.masks, "masks")
    if not all(((mask == 0) | (mask == 1)).all() for mask in masks.values()):
        raise InvalidCheckpoint("its masks hold other values than 0 and 1")
    saliency = _tensors(checkpoint["saliency"], state.saliency, "saliency")
    codebooks = _codebooks(checkpoint["codebooks"], state, recipe)
    corrections = _mapping(checkpoint["corrections"], state.corrections, "corrections")
    for value in corrections.values():
        if type(value) is not float or not isfinite(value):
            raise InvalidCheckpoint("its corrections are not numbers")
    history = _history(checkpoint["history"], recipe)
    best = _best(checkpoint["best"], state)
    if (best is None) != all(epoch.outcome is None for epoch in history):
        raise InvalidCheckpoint("its best network does not belong to its history")

    with torch.no_grad():
        for name, tensors in state.parameters.items():
            for key, tensor in tensors.items():
                tensor.copy_(parameters[name][key])
                if moments[name][key]:
                    state.optimizer.state[tensor] = moments[name][key]
    state.masks, state.saliency, state.codebooks = masks, saliency, codebooks
    state.corrections, state.history, state.best = corrections, history, best


def _mapping(value: object, names: Iterable[str], what: str) -> dict[str, Any]:
    """The value, if it is a dict with exactly these names."""
    if type(value) is not dict or set(value) != set(names):
        raise InvalidCheckpoint(f"{what} has other names than this training")
    return value


def _tensor(value: object, like: torch.Tensor, what: str) -> torch.Tensor:
    """The value, if it is a plain tensor of the same shape and type."""
    import torch

    if type(value) is not torch.Tensor or value.layout != torch.strided:
        raise InvalidCheckpoint(f"its {what} are not tensors")
    if value.shape != like.shape or value.dtype != like.dtype or value.device != like.device:
        raise InvalidCheckpoint(f"its {what} have other shapes or types than this network")
    return value.detach()


def _tensors(value: object, like: Mapping[str, torch.Tensor], what: str) -> dict[str, torch.Tensor]:
    tensors = _mapping(value, like, what)
    return {name: _tensor(tensors[name], tensor, what) for name, tensor in like.items()}


def _parameters(value: object, like: LayerParameters, what: str) -> LayerParameters:
    layers = _mapping(value, like, what)
    return {name: _tensors(layers[name], tensors, what) for name, tensors in like.items()}


def _read_moments(
    value: object, parameters: LayerParameters
) -> dict[str, dict[str, dict[str, torch.Tensor]]]:
    import torch

    layers = _mapping(value, parameters, "moments")
    moments: dict[str, dict[str, dict[str, torch.Tensor]]] = {}
    for name, tensors in parameters.items():
        layer = _mapping(layers[name], tensors, "moments")
        moments[name] = {}
        for key, tensor in tensors.items():
            like = {"step": torch.zeros(()), **dict.fromkeys(_MOMENTS, tensor)}
            empty = type(layer[key]) is dict and not layer[key]
            moments[name][key] = {} if empty else _tensors(layer[key], like, "moments")
    return moments


def _codebooks(value: object, state: TrainingState, recipe: Recipe) -> dict[str, torch.Tensor]:
    import torch

    if type(value) is dict and not value:
        return {}
    like = torch.zeros(2**recipe.codebook_bits)
    return _tensors(value, dict.fromkeys(state.masks, like), "codebooks")


def _history(value: object, recipe: Recipe) -> list[Epoch]:
    if type(value) is not list or not 1 <= len(value) <= recipe.epochs:
        raise InvalidCheckpoint("its history has another length than this training")
    history = []
    for index, item in enumerate(value):
        epoch = _mapping(item, [field.name for field in fields(Epoch)], "its history")
        numbers = (type(epoch["index"]), type(epoch["nonzeros"]), type(epoch["loss"]))
        if numbers != (int, int, float) or epoch["index"] != index:
            raise InvalidCheckpoint("its history is not one of epochs")
        outcome = None if epoch["outcome"] is None else _outcome(epoch["outcome"])
        history.append(Epoch(index, epoch["nonzeros"], epoch["loss"], outcome))
    return history


def _outcome(value: object) -> Outcome:
    names = [field.name for field in fields(Outcome)]
    outcome = _mapping(value, names, "an outcome")
    if [type(outcome[name]) for name in names] != [float, int, int, int, int]:
        raise InvalidCheckpoint("its outcomes are not numbers")
    return Outcome(**outcome)


def _best(value: object, state: TrainingState) -> BestNetwork | None:
    if value is None:
        return None
    best = _mapping(value, ("parameters", "outcome"), "the best network")
    parameters = _parameters(best["parameters"], state.parameters, "best parameters")
    return BestNetwork(parameters, _outcome(best["outcome"]))
