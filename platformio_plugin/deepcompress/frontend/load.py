"""Which kind of `.pt` a file is, and how to open it without running code from it. Its only reader.

    exported program   torch.export.save: JSON and raw tensors
    TorchScript        torch.jit.save: converted, if all that it can do is compute
    state_dict         torch.save of tensors; the user names the file that builds the network
    pickled module     torch.save of a whole nn.Module; plain torch.nn layers are on an allow-list

Whatever it was, what is handed on is an ExportedProgram in aten operators that are not decomposed.
"""

from __future__ import annotations

import ast
import logging
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deepcompress.errors import UserError, did_you_mean
from deepcompress.frontend.exported_program import open_exported
from deepcompress.frontend.pickled_module import open_pickle
from deepcompress.frontend.torch_export import (
    EXPORT_HINT,
    QUANTIZE_HINT,
    attempt,
    example,
    first_line,
    shape_text,
    where,
)
from deepcompress.frontend.zip_members import members, packed
from deepcompress.options import Options

if TYPE_CHECKING:
    import torch

_OTHER_FORMATS = {
    "ONNX": re.compile(rb"\x08[\x01-\x20]"),
    "Keras": re.compile(rb"\x89HDF"),
    "TensorFlow Lite": re.compile(rb".{4}TFL3", re.DOTALL),
    "safetensors": re.compile(rb".{8}\{", re.DOTALL),
}

# What a script could do besides computing: write files, run while it is opened, and call operators
# that are not PyTorch's own.
_SIDE_EFFECT = re.compile(rb"\b(?:save|from_file|__setstate__)\b|\bops\.(?!prim\b|aten\b)\w+")
# Where a script that was traced on a GPU makes tensors.
_GPU = re.compile(rb'torch\.device\("(?!cpu)\w+(?::\d+)?"\)')
# How a script declares a member whose name is not an identifier, such as a layer of a Sequential.
_MEMBER_TYPE = re.compile(r"__annotations__\['\w+'\] = ")


def load(path: Path, *, options: Options) -> torch.export.ExportedProgram:
    """The network of a file as an exported program, for batches of 1 or of a symbolic size.

    Parameters and buffers are in `state_dict`, those of frozen TorchScript in `constants`;
    `graph_signature` says which placeholder is which. Its aten calls are as they were exported:

        from a Python module or scripted    conv2d, linear, max_pool2d, flatten
        from traced TorchScript             convolution instead of conv2d
        from a program that was decomposed  convolution, addmm of a permuted weight,
        before it was saved                 max_pool2d_with_indices and getitem, view

    The layer of a call is in its meta["nn_module_stack"], the user's line in meta["stack_trace"];
    TorchScript has neither: there only the names of the parameters say which layer it is.

    Args:
        options: `input_shape` (without the batch), `architecture` and `trust_pickle` are read.

    Raises:
        UserError: the file is not there, not whole, not PyTorch's, or not to be opened safely.
    """
    opener = {
        "exported program": open_exported,
        "TorchScript": _open_torchscript,
        "pickle": open_pickle,
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
    head = _head(path)
    if not head:
        raise UserError("it is empty", where(path), "Save the model again")
    if zipfile.is_zipfile(path):
        return _kind_of_archive(path)
    if head.startswith(b"PK"):
        raise UserError("it is truncated", where(path), "Copy or save it again")
    if head[:1] == b"\x80":
        return "pickle"
    raise UserError(
        f"it is not a PyTorch file{_guess(head)}", where(path), f"To make one, {EXPORT_HINT}"
    )


def _head(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise _missing(path)
        with path.open("rb") as file:
            return file.read(16)
    except OSError as error:
        raise UserError(
            f"it cannot be read ({error.strerror})", where(path), "Check its name and permissions"
        ) from None


def _kind_of_archive(path: Path) -> str:
    names = attempt(path, lambda: zipfile.ZipFile(path).namelist())
    names = [name.partition("/")[2] for name in names]
    if any(name.startswith("models/") for name in names) or "archive_format" in names:
        return "exported program"
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return "TorchScript"
    if "data.pkl" in names:
        return "pickle"
    raise UserError(
        "it is a zip archive, but not one of PyTorch's", where(path), f"To make one, {EXPORT_HINT}"
    )


def _missing(path: Path) -> UserError:
    if path.is_dir():
        return UserError("it is a folder", where(path), "Name the .pt file in it")
    folder = path.parent
    neighbours = [p.name for p in folder.glob("*.pt*")] if folder.is_dir() else []
    return UserError(
        f"there is no such file{did_you_mean(path.name, neighbours)}",
        where(path),
        "Paths are relative to the project's folder",
    )


def _guess(head: bytes) -> str:
    found = [name for name, magic in _OTHER_FORMATS.items() if magic.match(head)]
    return f" but looks like {found[0]}" if found else ""


def _open_torchscript(path: Path, options: Options) -> torch.export.ExportedProgram:
    import torch
    from torch._export.converter import TS2EPConverter

    contents = attempt(path, lambda: members(path))
    for name, content in contents.items():
        if name.lower().endswith(".py"):
            _check_not_packed(content, path)
            _check_script(content, path)
            contents[name] = _GPU.sub(b'torch.device("cpu")', content)
    module = attempt(path, lambda: torch.jit.load(packed(contents), map_location="cpu")).eval()
    inputs = example(path, options)
    try:
        converted = TS2EPConverter(module.float(), (inputs,)).convert().module()
        # The converter makes every size a symbol; exporting once more makes them numbers.
        return torch.export.export(converted, (inputs,), strict=False)
    except Exception as error:
        raise UserError(
            f"torch cannot convert this TorchScript ({first_line(error)})",
            where(path),
            f"Is input_shape = {shape_text(options)} right? Else, from the Python model, "
            f"{EXPORT_HINT}",
        ) from None


def _check_not_packed(content: bytes, path: Path) -> None:
    if b"torch.ao.nn.quantized" in content or b"ops.quantized." in content:
        raise UserError(
            "it was quantized by torch.ao.quantization, whose packed weights cannot be read",
            where(path),
            QUANTIZE_HINT,
        )


def _check_script(content: bytes, path: Path) -> None:
    """Refuses a script that can do more than compute, or computes anything while it is opened."""
    effect = _SIDE_EFFECT.search(content)
    if effect:
        raise _script_refused(f"uses {effect[0].decode()}", path)
    for node in ast.walk(attempt(path, lambda: ast.parse(content))):
        for value in _evaluated_on_opening(node):
            try:
                ast.literal_eval(value)
            except ValueError:
                raise _script_refused(f"evaluates {ast.unparse(value)[:60]}", path) from None


def _evaluated_on_opening(node: ast.AST) -> list[ast.expr]:
    """Defaults of arguments and values of a class; not the types of its members."""
    if isinstance(node, ast.FunctionDef):
        return [value for value in node.args.defaults + node.args.kw_defaults if value is not None]
    if isinstance(node, ast.ClassDef):
        assignments = [line for line in node.body if isinstance(line, ast.Assign | ast.AnnAssign)]
        return [
            line.value
            for line in assignments
            if line.value and not _MEMBER_TYPE.match(ast.unparse(line))
        ]
    return []


def _script_refused(what: str, path: Path) -> UserError:
    return UserError(
        f"its script {what}: opening it could run code from the file",
        where(path),
        f"From the Python model, {EXPORT_HINT}",
    )


def _check_finite(program: torch.export.ExportedProgram, path: Path) -> None:
    for name, tensor in {**program.state_dict, **program.constants}.items():
        if getattr(tensor, "is_floating_point", lambda: False)() and not tensor.isfinite().all():
            raise UserError(
                f"the weights {name} hold NaN or infinity",
                where(path),
                "The training diverged: take an earlier checkpoint",
            )


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
