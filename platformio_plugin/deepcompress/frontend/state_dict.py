"""Weights by name (a state_dict) become a module: the class that the user names, with the weights.

The class is in a Python file of the user's, which is run; nothing in the weights' file is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from deepcompress.data.user_code import attempt, load_callable
from deepcompress.data.user_code_guard import guarded_lookup
from deepcompress.errors import UserError, did_you_mean, reason, setting
from deepcompress.frontend import file_errors
from deepcompress.frontend.check_module import check_module
from deepcompress.frontend.check_tensor import check_tensor
from deepcompress.frontend.checkpoint import Found, networks_in
from deepcompress.frontend.eager_quantization import (
    check_not_converted,
    is_prepared,
    with_fixed_scales,
)
from deepcompress.frontend.file_errors import EXPORT_HINT, where
from deepcompress.options import Options

if TYPE_CHECKING:
    import torch

_MOST_PROBLEMS = 4
# Parts of names that wrappers of a network add: DataParallel, torch.compile, FSDP, checkpointing.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_PREPARED = "as prepare_qat() or prepare() of torch.ao.quantization returned it to the training"
# Batch normalization counts its batches, which inference does not need. Old files lack the count.
_COUNTER = "num_batches_tracked"


def module_of(content: Any, path: Path, options: Options) -> torch.nn.Module:
    """The network of a file: a module that it holds, or weights in the option `architecture`.

    Args:
        content: of the file, as torch.load returns it.
        path: of the file, for errors.
        options: `architecture`, and `checkpoint_key` if the file holds several networks.

    Raises:
        UserError: the file holds no network or several, or weights without an architecture; the
            architecture cannot be built, or has other weights.
    """
    found = file_errors.attempt(path, lambda: networks_in(content, path))
    found = _chosen(found, path, options.checkpoint_key)
    if options.architecture is not None and found:
        module = _build(options.architecture, path, options.import_seconds)
        _load_weights(module, found, path, options.architecture)
    else:
        module = _only_module(found, content, path)
    file_errors.attempt(path, lambda: _make_dense(module))
    return with_fixed_scales(module)


def _chosen(found: list[Found], path: Path, key: str | None) -> list[Found]:
    """The networks that the option `checkpoint_key` leaves: the one of that key, or all."""
    if key is None:
        return found
    chosen = [network for network in found if network.key == key]
    if chosen:
        return chosen
    keys = [network.key for network in found if network.key]
    raise UserError(
        f"it holds no network under the key {key!r}{did_you_mean(key, keys)}",
        where(path),
        f"It holds tensors under the keys {', '.join(keys)}"
        if keys
        else f"Leave {setting('checkpoint_key')} out: the file holds no keys with networks",
    )


def _only_module(found: list[Found], content: Any, path: Path) -> torch.nn.Module:
    """The one module of a file that needs no architecture."""
    modules = [network for network in found if network.is_module]
    weights = max(
        (network for network in found if network.is_all_tensors),
        key=lambda network: network.numbers,
        default=None,
    )
    # A smaller module next to weights is a loss, or something else of the training.
    if weights is not None:
        modules = [module for module in modules if module.numbers >= weights.numbers]
    if len(modules) > 1 and not all(_equal(modules[0].weights, m.weights) for m in modules):
        raise _ambiguous([module.key for module in modules], "networks", path)
    if modules:
        only: torch.nn.Module = modules[0].value
        return only
    if weights is not None:
        raise _not_connected(weights.weights, path)
    for network in found:
        check_not_converted(network.weights, path)
    raise UserError(
        f"it holds {_description(content)}, not a network",
        where(path),
        f"To save one, {EXPORT_HINT}",
    )


def _not_connected(weights: Mapping[str, Any], path: Path) -> UserError:
    """The error for weights without an architecture. Raises one for weights of no use with one."""
    check_not_converted(weights, path)
    prepared = f" {_PREPARED}" if is_prepared(weights) else ""
    return UserError(
        f"it holds weights ({', '.join(list(weights)[:3])}, ...) but not how they are connected",
        where(path),
        f"Name the class that builds the network: {setting('architecture', 'file.py:Class')}, or a "
        f"function that returns it{prepared}. Or {EXPORT_HINT}",
    )


def _description(content: Any) -> str:
    if isinstance(content, dict):
        return f"a dict of {', '.join(map(str, list(content)[:5])) or 'nothing'}"
    return f"a {type(content).__name__}"


def _ambiguous(keys: list[str], what: str, path: Path) -> UserError:
    named = [repr(key) if key else "the file itself" for key in keys]
    choice = next(key for key in reversed(keys) if key)
    return UserError(
        f"it holds {len(keys)} {what} that differ: {', '.join(named)}",
        where(path),
        f"Choose one: {setting('checkpoint_key', choice)}",
    )


def _build(architecture: str, path: Path, seconds: int) -> torch.nn.Module:
    """The module that the user's file builds. This runs the user's file, and protects `path`."""
    import torch

    option = f"option {setting('architecture', architecture)}"
    name = architecture.rpartition(":")[2]
    with guarded_lookup("architecture", architecture, files=[path], seconds=seconds):
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
    module: torch.nn.Module, found: list[Found], path: Path, architecture: str
) -> None:
    """Loads the weights of the one network in the file whose names are the module's."""
    check_module(module, path)
    expected: dict[str, Any] = attempt(
        lambda: dict(module.state_dict()),
        "state_dict()",
        f"option {setting('architecture', architecture)}",
        "Return what nn.Module.state_dict() returns: a dict of tensors",
    )
    fitting: dict[str, dict[str, Any]] = {}
    problems: dict[str, list[str]] = {}
    for network in found:
        check_not_converted(network.weights, path)
        weights = _by_expected_names(network.weights, expected)
        problems[network.key] = _problems(module, weights, expected)
        if not problems[network.key]:
            fitting[network.key] = weights
    if not fitting:
        prepared = any(is_prepared(network.weights) for network in found)
        prepared = prepared and not is_prepared(expected)
        raise _wrong_weights(problems, prepared, path, architecture)
    first = next(iter(fitting.values()))
    if not all(_equal(first, other) for other in fitting.values()):
        raise _ambiguous(list(fitting), "sets of weights", path)
    dense = _dense(first, expected)
    for name, tensor in dense.items():
        check_tensor(name, tensor, path)
    module.load_state_dict(dense)


def _wrong_weights(
    problems: Mapping[str, list[str]], prepared: bool, path: Path, architecture: str
) -> UserError:
    """The error for the set of weights that has the fewest problems.

    Args:
        problems: of each set of weights, by its key.
        prepared: whether the weights are of a network prepared for quantization, and the
            architecture is not.
    """
    key = min(problems, key=lambda key: len(problems[key]))
    listed = problems[key]
    rest = len(listed) - _MOST_PROBLEMS
    more = f", and {rest} more" if rest > 0 else ""
    subject = f"its weights under {key!r} are" if key else "its weights are"
    return UserError(
        f"{subject} not those of {architecture}: {', '.join(listed[:_MOST_PROBLEMS])}{more}",
        where(path),
        f"Name a function that returns the network {_PREPARED}"
        if prepared
        else "Name the class that the weights were saved from, or a function that returns it with "
        "the same arguments",
    )


def _problems(
    module: torch.nn.Module, weights: Mapping[str, Any], expected: Mapping[str, Any]
) -> list[str]:
    """Why the module does not take the weights; an empty list if it does. Loads them to find out.

    Modules may take other names or shapes than they have: a FakeQuantize its scales per channel, a
    parametrized layer the names of torch's older weight_norm.
    """
    kinds = [f"{name} {kind}" for name in weights if (kind := _unusable(weights[name]))]
    if kinds:
        return kinds
    try:
        module.load_state_dict(_dense(weights, expected))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # of load_state_dict, or of any type in the user's module
        return _differences(weights, expected) or [reason(error)]
    return []


def _unusable(value: Any) -> str | None:
    """What is wrong with a value as a weight, or None."""
    import torch

    if not torch.is_tensor(value):
        return None
    if value.is_complex():
        return "holds complex numbers"
    if value.is_meta:
        return "has no values (it was on the device meta)"
    return None


def _differences(weights: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    return [
        *(f"{name} is missing" for name in expected if name not in weights),
        *(f"{name} is not in the network" for name in weights if name not in expected),
        *(
            f"{name} is {list(weights[name].shape)}, the network has {list(expected[name].shape)}"
            for name in expected
            if hasattr(weights.get(name), "shape") and weights[name].shape != expected[name].shape
        ),
    ]


def _by_expected_names(weights: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    """The weights by the network's own names as far as these can be found.

    Names differ if the network was saved inside another module or a wrapper. Weights of
    torch.nn.utils.prune have other names too.
    """
    plain = _without_wrappers(weights)
    best: dict[str, Any] | None = None
    for variant in (weights, _pruned(weights), plain, _pruned(plain)):
        named = _without_prefix(_tensors_and_expected(variant, expected), expected)
        for name, value in expected.items():
            if name.endswith(_COUNTER):
                named.setdefault(name, value)
        if named.keys() == expected.keys():
            return named
        if best is None or _distance(named, expected) < _distance(best, expected):
            best = named
    assert best is not None
    return best


def _distance(weights: Mapping[str, Any], expected: Mapping[str, Any]) -> int:
    return len(weights.keys() ^ expected.keys())


def _tensors_and_expected(
    weights: Mapping[str, Any], expected: Mapping[str, Any]
) -> dict[str, Any]:
    """Without values that are no tensors, such as an epoch, unless the network expects them."""
    import torch

    return {name: v for name, v in weights.items() if torch.is_tensor(v) or name in expected}


def _pruned(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The masks of torch.nn.utils.prune applied to the weights they belong to.

    torch stores such a weight as weight_orig and weight_mask.
    """
    applied = dict(weights)
    for name in weights:
        pruned = name.removesuffix("_orig")
        mask = applied.get(f"{pruned}_mask")
        if pruned != name and mask is not None and mask.shape == weights[name].shape:
            applied[pruned] = applied.pop(name) * applied.pop(f"{pruned}_mask")
    return applied


def _without_wrappers(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The names without the parts that wrappers add, unless two would become equal."""
    shorter = {
        ".".join(part for part in name.split(".") if part not in _WRAPPERS): value
        for name, value in weights.items()
    }
    return shorter if len(shorter) == len(weights) else dict(weights)


def _without_prefix(weights: dict[str, Any], expected: Iterable[str]) -> dict[str, Any]:
    """The weights by the network's own names, if a common prefix precedes all of these.

    There is one if the network was saved inside another module, such as "model." of a training
    framework. Weights without the prefix belong to that other module and are dropped.
    """
    expected = [name for name in expected if not name.endswith(_COUNTER)]
    if not expected or all(name in weights for name in expected):
        return weights
    for prefix in _prefixes(weights, expected[0]):
        if all(prefix + name in weights for name in expected):
            inside = (name for name in weights if name.startswith(prefix))
            return {name.removeprefix(prefix): weights[name] for name in inside}
    return weights


def _prefixes(weights: Iterable[str], name: str) -> Iterator[str]:
    return (other.removesuffix(name) for other in weights if other.endswith(f".{name}"))


def _dense(weights: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    """The weights with sparse tensors (COO, CSR, CSC, BSR, BSC) as dense ones.

    Only tensors of the expected shape are converted: a small file may state any size.
    """
    return {
        name: value.to_dense()
        if _is_sparse(value) and name in expected and value.shape == expected[name].shape
        else value
        for name, value in weights.items()
    }


def _is_sparse(value: Any) -> bool:
    import torch

    return torch.is_tensor(value) and value.layout is not torch.strided


def _make_dense(module: torch.nn.Module) -> None:
    """Replaces sparse parameters and buffers of a module, which torch.export does not follow."""
    import torch

    for layer in module.modules():
        for name, parameter in list(layer.named_parameters(recurse=False)):
            if _is_sparse(parameter):
                dense = torch.nn.Parameter(parameter.detach().to_dense(), requires_grad=False)
                setattr(layer, name, dense)
        for name, buffer in list(layer.named_buffers(recurse=False)):
            if _is_sparse(buffer):
                setattr(layer, name, buffer.to_dense())


def _equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two sets of weights are the same values."""
    import torch

    def same(a: Any, b: Any) -> bool:
        if a is b:
            return True
        if not (torch.is_tensor(a) and torch.is_tensor(b)) or a.layout != b.layout:
            return False
        return not _is_sparse(a) and torch.equal(a, b)

    return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
