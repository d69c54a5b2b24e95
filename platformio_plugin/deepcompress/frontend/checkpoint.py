"""Finds the networks in what torch.load returns: modules, and dicts of weights (state_dicts).

Training loops store them under keys of their own, next to optimizers, counters and settings. This
module only lists what could be a network; `state_dict` decides which one is meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepcompress.frontend.check_module import check_module
from deepcompress.frontend.eager_quantization import check_module_not_converted

_DEEPEST = 4  # keys from the file's content to a network
_MOST_VISITED = 10_000
# A dict with this key is the state of an optimizer, which holds tensors that are no weights.
_OF_AN_OPTIMIZER = "param_groups"


@dataclass(frozen=True)
class Found:
    """A part of a file that may be a network.

    Attributes:
        key: where it is, such as "ema.shadow"; an empty text for the whole content.
        value: a torch.nn.Module, or a dict with at least one tensor.
        weights: the values by name that the module or the dict holds.
    """

    key: str
    value: Any
    weights: dict[str, Any]

    @property
    def is_module(self) -> bool:
        import torch

        return isinstance(self.value, torch.nn.Module)

    @property
    def is_all_tensors(self) -> bool:
        """Whether it is a dict of nothing but tensors, as a state_dict is."""
        import torch

        return isinstance(self.value, dict) and all(map(torch.is_tensor, self.value.values()))

    @property
    def numbers(self) -> int:
        """How many numbers its tensors hold."""
        import torch

        return sum(value.numel() for value in self.weights.values() if torch.is_tensor(value))


def networks_in(content: Any, path: Path) -> list[Found]:
    """All modules and dicts with tensors, outer ones first; each object once.

    A module without weights, such as an activation among the settings of a training, counts only if
    it is the whole content.

    Args:
        content: what torch.load returned.
        path: of the file, for errors.

    Raises:
        UserError: a module was converted by torch.ao.quantization.
    """
    return [
        found
        for found in _search(content, path)
        if not found.is_module or not found.key or found.weights
    ]


def _search(content: Any, path: Path) -> Iterator[Found]:
    import torch

    waiting: list[tuple[str, int, Any]] = [("", 0, content)]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_VISITED:
        key, depth, value = waiting.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.nn.Module):
            check_module(value, path)
            check_module_not_converted(value, path)
            yield _found(key, value, value.state_dict())
            continue
        children = _children(value)
        if isinstance(value, dict) and any(torch.is_tensor(child) for _, child in children):
            yield _found(key, value, value)
        if depth < _DEEPEST:
            inner = f"{key}." if key else ""
            waiting += [(f"{inner}{name}", depth + 1, child) for name, child in children]


def _found(key: str, value: Any, weights: Mapping[Any, Any]) -> Found:
    return Found(key, value, {name: w for name, w in weights.items() if isinstance(name, str)})


def _children(value: Any) -> list[tuple[str, Any]]:
    """The parts of a dict, list or tuple, by key or index; none of an optimizer's state."""
    if isinstance(value, dict):
        if _OF_AN_OPTIMIZER in value:
            return []
        return [(str(key), child) for key, child in value.items()]
    if isinstance(value, (list, tuple)):
        return [(str(index), child) for index, child in enumerate(value)]
    return []
