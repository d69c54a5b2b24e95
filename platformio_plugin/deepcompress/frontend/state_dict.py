"""Weights by name (a state_dict) become a module: the class that the user names, with the weights.

The class is in a Python file of the user's, which is run; nothing in the weights' file is.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from deepcompress.data.user_code import attempt, load_callable
from deepcompress.errors import UserError, setting
from deepcompress.frontend.check_module import check_module
from deepcompress.frontend.check_tensor import check_tensor
from deepcompress.frontend.file_errors import EXPORT_HINT, where

if TYPE_CHECKING:
    import torch

_MOST_PROBLEMS = 4


def module_of_weights(content: Any, path: Path, architecture: str | None) -> torch.nn.Module:
    """The network that `architecture` builds, with the weights of a file.

    Args:
        content: what the file holds: tensors by name.
        path: of the file, for errors.
        architecture: "file.py:Class", the value of that option.

    Raises:
        UserError: the content is not weights, there is no architecture, it cannot be built, or it
            has other weights.
    """
    weights = _weights(content, path)
    if architecture is None:
        raise UserError(
            f"it holds weights ({', '.join(list(weights)[:3])}, ...) but not how they are "
            "connected",
            where(path),
            "Name the class that builds the network: "
            f"{setting('architecture', 'file.py:Class')}. Or {EXPORT_HINT}",
        )
    module = _build(architecture)
    _load_weights(module, weights, path, architecture)
    return module


def _weights(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """The tensors by name; masks of torch.nn.utils.prune are applied to the weights they belong to.

    torch stores such a weight as weight_orig and weight_mask.
    """
    import torch

    are_tensors = isinstance(content, dict) and all(
        isinstance(name, str) and torch.is_tensor(value) for name, value in content.items()
    )
    if not are_tensors or not content:
        held = f"a {type(content).__name__}"
        if isinstance(content, dict):
            held = f"a dict of {', '.join(map(str, list(content)[:5])) or 'nothing'}"
        raise UserError(
            f"it holds {held}, not a network", where(path), f"To save one, {EXPORT_HINT}"
        )
    weights = dict(content)
    for name, tensor in weights.items():
        check_tensor(name, tensor, path)
    for name in content:
        pruned = name.removesuffix("_orig")
        if pruned != name and f"{pruned}_mask" in weights:
            weights[pruned] = _masked(weights.pop(name), weights.pop(f"{pruned}_mask"), name, path)
    return weights


def _masked(weight: torch.Tensor, mask: torch.Tensor, name: str, path: Path) -> torch.Tensor:
    if weight.shape != mask.shape:
        raise UserError(
            f"{name} is {list(weight.shape)}, its mask {list(mask.shape)}",
            where(path),
            "Save the pruned network again",
        )
    return weight * mask


def _build(architecture: str) -> torch.nn.Module:
    """The module that the user's file builds. This runs the user's file."""
    import torch

    option = f"option {setting('architecture', architecture)}"
    name = architecture.rpartition(":")[2]
    module = attempt(
        load_callable("architecture", architecture),
        f"{name}()",
        option,
        "It is called without arguments: name a function that builds the network with them",
    )
    if not issubclass(type(module), torch.nn.Module):  # __class__ may say anything
        raise UserError(f"{name}() gave a {type(module).__name__}", option, "Return an nn.Module")
    return cast("torch.nn.Module", module)


def _load_weights(
    module: torch.nn.Module, weights: dict[str, torch.Tensor], path: Path, architecture: str
) -> None:
    check_module(module, path)
    option = f"option {setting('architecture', architecture)}"
    expected = attempt(
        lambda: _shapes(module.state_dict()),
        "state_dict()",
        option,
        "Return what nn.Module.state_dict() returns: a dict of tensors",
    )
    weights = _without_prefix(weights, expected)
    problems = [f"{name} is missing" for name in expected if name not in weights]
    problems += [f"{name} is not in the network" for name in weights if name not in expected]
    problems += [
        f"{name} is {list(weights[name].shape)}, the network has {shape}"
        for name, shape in expected.items()
        if name in weights and list(weights[name].shape) != shape
    ]
    if problems:
        rest = len(problems) - _MOST_PROBLEMS
        more = f", and {rest} more" if rest > 0 else ""
        raise UserError(
            f"its weights are not those of {architecture}: "
            f"{', '.join(problems[:_MOST_PROBLEMS])}{more}",
            where(path),
            "Name the class that the weights were saved from",
        )
    attempt(
        lambda: module.load_state_dict(weights),
        "load_state_dict()",
        option,
        "Name a class that loads the weights as nn.Module does",
    )


def _shapes(weights: dict[str, torch.Tensor]) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in weights.items()}


def _without_prefix(
    weights: dict[str, torch.Tensor], expected: Iterable[str]
) -> dict[str, torch.Tensor]:
    """The weights by the network's own names, if a common prefix precedes all of these.

    There is one if the network was saved inside another module: "module." of DataParallel,
    "_orig_mod." of torch.compile, "model." of a training framework. Weights without the prefix
    belong to that other module and are dropped.
    """
    expected = list(expected)
    if not expected:
        return weights
    first = expected[0]
    prefixes = (name.removesuffix(first) for name in weights if name.endswith(f".{first}"))
    for prefix in prefixes:
        if all(prefix + name in weights for name in expected):
            return {name: weights[prefix + name] for name in expected}
    return weights
