"""Which kind of `.pt` a file is, and how to open it without running code from it. Its only reader.

    exported program   torch.export.save: JSON and raw tensors
    TorchScript        torch.jit.save: opened by torch's own interpreter, converted, never called
    state_dict         torch.save of tensors; the user names the file that builds the network
    pickled module     torch.save of a whole nn.Module; plain torch.nn layers are on an allow-list

Whatever it was, what is handed on is an ExportedProgram in aten operators that are not decomposed.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import pickle
import re
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompress.errors import UserError, did_you_mean
from deepcompress.options import Options

if TYPE_CHECKING:
    import torch

EXPORT_HINT = (
    "save it with torch.export: program = torch.export.export(model.eval(), (example,)); "
    "torch.export.save(program, 'model.pt')"
)
_STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
_OTHER_FORMATS = {b"\x08": "ONNX", b"\x89HDF": "Keras", b"\x18\0\0\0TFL3": "TensorFlow Lite"}
# Names that a symbolic size of an exported program may hold: symbols, sympy's integer functions.
_SIZE_NAMES = re.compile(
    r"[suz]\d+|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv|Max|Min|Pow|Eq|Ne|oo|int_oo"
)


def load(path: Path, *, options: Options) -> torch.export.ExportedProgram:
    """The network of a file as an exported program.

    Args:
        options: `input_shape` (without the batch), `architecture` and `trust_pickle` are read.

    Raises:
        UserError: the file is not there, not whole, not PyTorch's, or not to be opened safely.
    """
    opener = {
        "exported program": _open_exported,
        "TorchScript": _open_torchscript,
        "pickle": _open_pickle,
    }[kind(path)]
    with _quiet():
        program = opener(path, options)
    _check_finite(program, path)
    return program


def kind(path: Path) -> str:
    """ "exported program", "TorchScript" or "pickle", from the file's table of contents.

    Raises:
        UserError: no such file, or none of these.
    """
    if not path.is_file():
        raise _missing(path)
    try:
        head = path.open("rb").read(16)
    except OSError as error:
        raise UserError(f"it cannot be read ({error.strerror})", _where(path), "") from None
    if not head:
        raise UserError("it is empty", _where(path), "Save the model again")
    if zipfile.is_zipfile(path):
        return _kind_of_archive(path)
    if head.startswith(b"PK"):
        raise UserError("it is truncated", _where(path), "Copy or save it again")
    if head[:1] == b"\x80":
        return "pickle"
    raise UserError(
        f"it is not a PyTorch file{_guess(head)}", _where(path), f"To make one, {EXPORT_HINT}"
    )


def _kind_of_archive(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        names = [name.partition("/")[2] for name in archive.namelist()]
    if any(name.startswith("models/") for name in names) or "archive_format" in names:
        return "exported program"
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return "TorchScript"
    if "data.pkl" in names:
        return "pickle"
    raise UserError(
        "it is a zip archive, but not one of PyTorch's", _where(path), f"To make one, {EXPORT_HINT}"
    )


def _missing(path: Path) -> UserError:
    if path.is_dir():
        return UserError("it is a folder", _where(path), "Name the .pt file in it")
    folder = path.parent
    neighbours = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    return UserError(
        f"there is no such file{did_you_mean(path.name, neighbours)}",
        _where(path),
        "Paths are relative to the project's folder",
    )


def _where(path: Path) -> str:
    return f"model file {path}"


def _guess(head: bytes) -> str:
    if head[8:9] == b"{":
        return " but looks like safetensors"
    found = [name for magic, name in _OTHER_FORMATS.items() if head.startswith(magic)]
    return f" but looks like {found[0]}" if found else ""


# --- exported programs


def _open_exported(path: Path, options: Options) -> torch.export.ExportedProgram:
    import torch

    _check_archive(path)
    with _weights_only():
        program = _attempt(path, lambda: torch.export.load(path))
    return _with_batch_of_one(program, path)


def _check_archive(path: Path) -> None:
    """Refuses the members of an exported program that torch would unpickle or evaluate."""
    with _reading(path), zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if "/data/constants/" in member and re.search(r"/(custom|opaque)_obj_", member):
                raise _refused(path, f"the member {member}, a pickled object")
            if member.endswith(".json"):
                _check_sizes(path, json.loads(archive.read(member)))


def _check_sizes(path: Path, value: Any) -> None:
    """torch evaluates symbolic sizes with sympy, which is Python's eval: let only sizes through."""
    if isinstance(value, dict):
        expression = value.get("expr_str")
        if isinstance(expression, str):
            names = re.findall(r"[^\W\d]\w*", expression)
            if not all(_SIZE_NAMES.fullmatch(name) for name in names):
                raise _refused(path, f"the size {expression[:60]!r}")
        for part in value.values():
            _check_sizes(path, part)
    elif isinstance(value, list):
        for part in value:
            _check_sizes(path, part)


def _refused(path: Path, what: str) -> UserError:
    return UserError(
        f"it holds {what}: opening it could run code from the file",
        _where(path),
        "Export the model again without custom objects",
    )


def _with_batch_of_one(
    program: torch.export.ExportedProgram, path: Path
) -> torch.export.ExportedProgram:
    signature = program.graph_signature
    for node in program.graph_module.graph.nodes:
        if node.op == "placeholder" and node.name in signature.user_inputs:
            batch = str(getattr(node.meta.get("val"), "shape", ("1",))[:1]).strip("torch.Size([])")
            if batch.isdigit() and batch != "1":
                raise UserError(
                    f"it was exported for batches of {batch}",
                    _where(path),
                    "Export it with an example of batch 1, or with a dynamic batch",
                )
    return program


# --- TorchScript


def _open_torchscript(path: Path, options: Options) -> torch.export.ExportedProgram:
    import torch
    from torch._export.converter import TS2EPConverter

    module = _attempt(path, lambda: torch.jit.load(path, map_location="cpu")).eval()
    example = _example(path, options)
    try:
        converted = TS2EPConverter(module.float(), (example,)).convert().module()
        # The converter makes every size a symbol; exporting once more makes them numbers.
        return torch.export.export(converted, (example,), strict=False)
    except Exception as error:
        raise UserError(
            f"torch cannot convert this TorchScript ({_first_line(error)})",
            _where(path),
            f"Is input_shape = {_shape_text(options)} right? Else, from the Python model, "
            f"{EXPORT_HINT}",
        ) from None


# --- pickles: a state_dict or a whole module


def _open_pickle(path: Path, options: Options) -> torch.export.ExportedProgram:
    import torch

    content = _unpickle(path, options)
    if isinstance(content, torch.nn.Module):
        return _export(content.float(), path, options)
    state = _state_dict(content, path)
    if options.architecture is None:
        raise UserError(
            f"it holds weights ({', '.join(list(state)[:3])}, ...) but not how they are connected",
            _where(path),
            "Name the class that builds the network: architecture = file.py:Class. Or "
            + EXPORT_HINT,
        )
    module = _build(options.architecture)
    _fill(module, state, path, options.architecture)
    return _export(module.float(), path, options)


def _unpickle(path: Path, options: Options) -> Any:
    import torch

    try:
        with torch.serialization.safe_globals(_plain_layers()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+) was not an allowed", str(error))
        if refused and not options.trust_pickle:
            raise UserError(
                f"it holds {refused[1]}, and unpickling that would run code from the file",
                _where(path),
                f"If you made the file: trust_pickle = yes. Better, {EXPORT_HINT}",
            ) from None
        if not refused:
            raise _not_whole(path, error) from None
    except Exception as error:
        raise _not_whole(path, error) from None
    return _unpickle_trusted(path)


def _unpickle_trusted(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"the class it was saved from is not to be found ({_first_line(error)})",
            _where(path),
            f"Put its module into the project's folder; or save a state_dict; or {EXPORT_HINT}",
        ) from None
    except Exception as error:
        raise _not_whole(path, error) from None


def _plain_layers() -> list[Any]:
    """Classes of torch.nn whose unpickling only sets attributes."""
    import torch

    layers = [c for c in vars(torch.nn).values() if isinstance(c, type)]
    return [set, *(c for c in layers if issubclass(c, torch.nn.Module))]


def _state_dict(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """The tensors by name, also where a training loop put them under a key or a prefix."""
    import torch

    for key in _STATE_DICT_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = isinstance(content, dict) and all(torch.is_tensor(v) for v in content.values())
    if not tensors or not content:
        held = f"a {type(content).__name__}"
        if isinstance(content, dict):
            held = f"a dict of {', '.join(map(str, list(content)[:5])) or 'nothing'}"
        raise UserError(
            f"it holds {held}, not a network", _where(path), f"To save one, {EXPORT_HINT}"
        )
    prefix = "module."
    if all(str(name).startswith(prefix) for name in content):
        content = {name.removeprefix(prefix): tensor for name, tensor in content.items()}
    return dict(content)


def _build(architecture: str) -> torch.nn.Module:
    """The module that the user's file builds. This runs the user's file."""
    import torch

    where = f"option architecture = {architecture}"
    file, _, name = architecture.rpartition(":")
    path = Path(file)
    if not file or not path.is_file():
        raise UserError(
            "there is no such file", where, "Write file.py:Class, relative to the project"
        )
    try:
        namespace = _run_file(path)
    except Exception as error:
        raise UserError(
            f"running {path} failed ({type(error).__name__}: {_first_line(error)})",
            where,
            "Mend it",
        ) from None
    if name not in namespace:
        known = [key for key, value in namespace.items() if callable(value)]
        raise UserError(
            f"{path} has no {name}{did_you_mean(name, known)}", where, "Name the class in the file"
        )
    try:
        module = namespace[name]()
    except Exception as error:
        raise UserError(
            f"{name}() failed ({type(error).__name__}: {_first_line(error)})",
            where,
            "It is called without arguments: name a function that builds the network with them",
        ) from None
    if not isinstance(module, torch.nn.Module):
        raise UserError(f"{name}() gave a {type(module).__name__}", where, "Return an nn.Module")
    return module


def _run_file(path: Path) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("deepcompress_architecture", path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return vars(module)


def _fill(
    module: torch.nn.Module, state: dict[str, torch.Tensor], path: Path, architecture: str
) -> None:
    wanted = module.state_dict()
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
            _where(path),
            "Name the class that the weights were saved from",
        )
    module.load_state_dict(state)


# --- what all kinds share


def _export(module: torch.nn.Module, path: Path, options: Options) -> torch.export.ExportedProgram:
    import torch

    example = _example(path, options)
    module = module.eval()
    try:
        with torch.no_grad():
            module(example)
    except Exception as error:
        raise UserError(
            f"the network does not take an input of {_shape_text(options)} ({_first_line(error)})",
            _where(path),
            "Set input_shape to the shape of one input, channels first",
        ) from None
    try:
        return torch.export.export(module, (example,), strict=False)
    except Exception as error:
        raise UserError(
            f"torch.export cannot follow it{_user_line(error)} ({_first_line(error)})",
            _where(path),
            "A microcontroller needs a fixed graph: no `if` or loop that depends on data",
        ) from None


def _example(path: Path, options: Options) -> torch.Tensor:
    import torch

    if options.input_shape is None:
        raise UserError(
            "the shape of its input is not known",
            _where(path),
            "Set input_shape (such as 1,32,32, without the batch) or name calibration data",
        )
    return torch.zeros(1, *options.input_shape)


def _shape_text(options: Options) -> str:
    return ",".join(map(str, options.input_shape or ()))


def _attempt(path: Path, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except Exception as error:
        raise _not_whole(path, error) from None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise _not_whole(path, error) from None


def _not_whole(path: Path, error: Exception) -> UserError:
    return UserError(
        f"torch cannot open it ({_first_line(error)})",
        _where(path),
        "It may be truncated, or saved by a newer torch: copy or save it again",
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:160].rstrip(". ")


def _user_line(error: Exception) -> str:
    """ " at net.py:12" of the user's code, where the traceback has it."""
    at, found = error.__traceback__, ""
    while at is not None:
        file = at.tb_frame.f_code.co_filename
        if "/torch/" not in file and "/deepcompress/" not in file and not file.startswith("<"):
            found = f" at {Path(file).name}:{at.tb_lineno}"
        at = at.tb_next
    return found


def _check_finite(program: torch.export.ExportedProgram, path: Path) -> None:
    for name, tensor in {**program.state_dict, **program.constants}.items():
        if getattr(tensor, "is_floating_point", lambda: False)() and not tensor.isfinite().all():
            raise UserError(
                f"the weights {name} hold NaN or infinity",
                _where(path),
                "The training diverged: take an earlier checkpoint",
            )


@contextmanager
def _weights_only() -> Iterator[None]:
    """torch.export.load unpickles odd tensors with weights_only=False; this forces it to True."""
    switch = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(switch)
    os.environ[switch] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[switch]
        else:
            os.environ[switch] = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps torch's warnings and logs off the user's screen; what matters becomes a UserError."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
