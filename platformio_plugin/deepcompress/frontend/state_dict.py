"""Weights by name (a state_dict) become a module: the class that the user names, with the weights.

The class is in a Python file of the user's, which is run; nothing in the weights' file is.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompress.data.user_code import attempt, load_callable
from deepcompress.errors import UserError, setting
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

    are_tensors = isinstance(content, dict) and all(torch.is_tensor(v) for v in content.values())
    if not are_tensors or not content:
        held = f"a {type(content).__name__}"
        if isinstance(content, dict):
            held = f"a dict of {', '.join(map(str, list(content)[:5])) or 'nothing'}"
        raise UserError(
            f"it holds {held}, not a network", where(path), f"To save one, {EXPORT_HINT}"
        )
    weights = dict(content)
    for name in content:
        pruned = name.removesuffix("_orig")
        if pruned != name and f"{pruned}_mask" in weights:
            weights[pruned] = weights.pop(name) * weights.pop(f"{pruned}_mask")
    return weights


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
    if not isinstance(module, torch.nn.Module):
        raise UserError(f"{name}() gave a {type(module).__name__}", option, "Return an nn.Module")
    return module


def _load_weights(
    module: torch.nn.Module, weights: dict[str, torch.Tensor], path: Path, architecture: str
) -> None:
    expected = module.state_dict()
    weights = _without_prefix(weights, expected)
    problems = [f"{name} is missing" for name in expected if name not in weights]
    problems += [f"{name} is not in the network" for name in weights if name not in expected]
    problems += [
        f"{name} is {list(weights[name].shape)}, the network has {list(expected[name].shape)}"
        for name in expected
        if name in weights and weights[name].shape != expected[name].shape
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
    module.load_state_dict(weights)


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
