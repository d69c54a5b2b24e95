"""Checks the attributes of a module that torch.nn relies on, before torch uses it.

A pickle sets attributes without torch's checks, and a class of the user may set them itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompress.errors import UserError
from deepcompress.frontend.file_errors import EXPORT_HINT, where

if TYPE_CHECKING:
    import torch

_DICTS = (
    "_buffers",
    "_forward_hooks",
    "_forward_pre_hooks",
    "_modules",
    "_non_persistent_buffers_set",
    "_parameters",
)


_LONGEST_NAME = 100
# torch.export reaches Python's limit of recursion at about 70 nested modules.
_DEEPEST = 50


def check_module(module: torch.nn.Module, path: Path) -> None:
    """Raises UserError unless a module and all modules in it have what torch.nn needs.

    The walk does not recurse: a file decides how deep the modules are nested.

    Args:
        path: of the file that it comes from, for errors.
    """
    checked: set[int] = set()
    open_modules: set[int] = set()  # those that contain the current one
    waiting: list[tuple[Any, str, bool]] = [(module, "", True)]
    while waiting:
        current, name, enters = waiting.pop()
        if not enters:
            open_modules.remove(id(current))
        elif id(current) in open_modules:
            raise _damaged(name, "it contains itself", path)
        elif len(open_modules) == _DEEPEST:
            raise _damaged(name, f"modules are nested more than {_DEEPEST} deep", path)
        elif id(current) not in checked:
            if fault := _fault(current):
                raise _damaged(name, fault, path)
            checked.add(id(current))
            open_modules.add(id(current))
            waiting.append((current, name, False))
            for key, child in current.__dict__["_modules"].items():
                if child is not None:
                    waiting.append((child, f"{name}.{key}"[-_LONGEST_NAME:].lstrip("."), True))


def _fault(module: Any) -> str | None:
    """What torch.nn would stumble over in one module, or None."""
    import torch

    if not issubclass(type(module), torch.nn.Module):
        return f"it is a {type(module).__name__}, not a module"
    attributes = module.__dict__
    for name in (*_DICTS, "training"):
        if name not in attributes:
            return f"it has no attribute {name}, which nn.Module.__init__() sets"
    for name in _DICTS:
        kind = set if name.endswith("_set") else dict
        if not isinstance(attributes[name], kind):
            return f"its {name} is a {type(attributes[name]).__name__}, not a {kind.__name__}"
    for name in ("_parameters", "_buffers", "_modules"):
        for key in attributes[name]:
            if not isinstance(key, str):
                return f"a name in its {name} is a {type(key).__name__}, not a text"
    for key, value in (*attributes["_parameters"].items(), *attributes["_buffers"].items()):
        if value is not None and not torch.is_tensor(value):
            return f"its {key} is a {type(value).__name__}, not a tensor"
    return None


def _damaged(name: str, fault: str, path: Path) -> UserError:
    return UserError(
        f"module {name or 'of the network'} is damaged: {fault}",
        where(path),
        f"Save the network again. To save one, {EXPORT_HINT}",
    )
