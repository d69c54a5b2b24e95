"""Pickled `.pt` files: a state_dict, which needs the file that builds it, or a whole module.

Nothing in the file is run: only tensors and plain torch.nn layers are unpickled, unless the user
says that the file is trusted.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompress.data.user_code import attempt, load_callable
from deepcompress.errors import UserError
from deepcompress.frontend.torch_export import EXPORT_HINT, export, first_line, not_whole, where
from deepcompress.options import Options

if TYPE_CHECKING:
    import torch

# Where training loops put the network in what else they save.
_NETWORK_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")


def open_pickle(path: Path, options: Options) -> torch.export.ExportedProgram:
    import torch

    content = _network_of(_unpickle(path, options))
    if isinstance(content, torch.nn.Module):
        return export(content.float(), path, options)
    state = _state_dict(content, path)
    if options.architecture is None:
        raise UserError(
            f"it holds weights ({', '.join(list(state)[:3])}, ...) but not how they are connected",
            where(path),
            "Name the class that builds the network: architecture = file.py:Class. Or "
            + EXPORT_HINT,
        )
    module = _build(options.architecture)
    _fill(module, state, path, options.architecture)
    return export(module.float(), path, options)


def _unpickle(path: Path, options: Options) -> Any:
    import torch

    try:
        with torch.serialization.safe_globals(_plain_layers()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not options.trust_pickle:
            raise _untrusted(path, error) from None
    except Exception as error:
        raise not_whole(path, error) from None
    return _unpickle_trusted(path)


def _untrusted(path: Path, error: pickle.UnpicklingError) -> UserError:
    """What torch's unpickler of tensors and layers met, told without its advice for developers."""
    refused = re.search(r"GLOBAL (\S+) (?:was not an allowed|whose module)", str(error))
    what = "it is damaged, or a pickle that cannot be opened without running what it holds"
    if refused:
        what = f"it holds {refused[1]}, and unpickling that would run code from the file"
    return UserError(
        what, where(path), f"If you made the file: trust_pickle = yes. Better, {EXPORT_HINT}"
    )


def _unpickle_trusted(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"the class it was saved from is not to be found ({first_line(error)})",
            where(path),
            f"Put its module into the project's folder; or save a state_dict; or {EXPORT_HINT}",
        ) from None
    except Exception as error:
        raise not_whole(path, error) from None


def _plain_layers() -> list[Any]:
    """Classes of torch.nn, and of its pruning, whose unpickling only sets attributes."""
    import torch
    from torch.nn.utils import prune

    layers = [c for c in vars(torch.nn).values() if isinstance(c, type)]
    methods = [c for c in vars(prune).values() if isinstance(c, type)]
    return [
        set,
        *(c for c in layers if issubclass(c, torch.nn.Module)),
        *(c for c in methods if issubclass(c, prune.BasePruningMethod)),
    ]


def _network_of(content: Any) -> Any:
    """The network or its tensors, also where a training loop put them under a key."""
    for key in _NETWORK_KEYS:
        if isinstance(content, dict) and hasattr(content.get(key), "state_dict"):
            return content[key]
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    return content


def _state_dict(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """The tensors by name, those that torch.nn.utils.prune has split with their masks applied."""
    import torch

    tensors = isinstance(content, dict) and all(torch.is_tensor(v) for v in content.values())
    if not tensors or not content:
        held = f"a {type(content).__name__}"
        if isinstance(content, dict):
            held = f"a dict of {', '.join(map(str, list(content)[:5])) or 'nothing'}"
        raise UserError(
            f"it holds {held}, not a network", where(path), f"To save one, {EXPORT_HINT}"
        )
    state = dict(content)
    for name in content:
        whole = name.removesuffix("_orig")
        if whole != name and f"{whole}_mask" in state:
            state[whole] = state.pop(name) * state.pop(f"{whole}_mask")
    return state


def _build(architecture: str) -> torch.nn.Module:
    """The module that the user's file builds. This runs the user's file."""
    import torch

    place = f"option architecture = {architecture}"
    name = architecture.rpartition(":")[2]
    module = attempt(
        load_callable("architecture", architecture),
        f"{name}()",
        place,
        "It is called without arguments: name a function that builds the network with them",
    )
    if not isinstance(module, torch.nn.Module):
        raise UserError(f"{name}() gave a {type(module).__name__}", place, "Return an nn.Module")
    return module


def _fill(
    module: torch.nn.Module, state: dict[str, torch.Tensor], path: Path, architecture: str
) -> None:
    wanted = module.state_dict()
    state = _without_wrapper(state, wanted)
    problems = [f"{name} is missing" for name in wanted if name not in state]
    problems += [f"{name} is not in the network" for name in state if name not in wanted]
    problems += [
        f"{name} is {list(state[name].shape)}, the network has {list(wanted[name].shape)}"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    if problems:
        more = f", and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise UserError(
            f"its weights are not those of {architecture}: {', '.join(problems[:4])}{more}",
            where(path),
            "Name the class that the weights were saved from",
        )
    module.load_state_dict(state)


def _without_wrapper(state: dict[str, torch.Tensor], wanted: Iterable[str]) -> dict:
    """The tensors by the network's own names, where all have these behind a prefix.

    That is so where the network was saved inside another module: "module." of DataParallel,
    "_orig_mod." of torch.compile, "model." of a training framework. What is beside it is dropped.
    """
    wanted = list(wanted)
    prefixes = (name.removesuffix(wanted[0]) for name in state if name.endswith(f".{wanted[0]}"))
    for prefix in prefixes if wanted else ():
        if all(prefix + name in state for name in wanted):
            return {name: state[prefix + name] for name in wanted}
    return state
