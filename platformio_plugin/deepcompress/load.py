"""Which kind of `.pt` a file is, and how to open it without running code from it. Its only reader.

    exported program   torch.export.save: JSON and raw tensors
    TorchScript        torch.jit.save: opened by torch's own interpreter, converted, never called
    state_dict         torch.save of tensors; the user names the file that builds the network
    pickled module     torch.save of a whole nn.Module; plain torch.nn layers are on an allow-list

Whatever it was, what is handed on is an ExportedProgram in aten operators that are not decomposed.
"""

from __future__ import annotations

import logging
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deepcompress.errors import UserError, did_you_mean
from deepcompress.exported import open_exported
from deepcompress.exporting import EXPORT_HINT, attempt, example, first_line, shape_text, where
from deepcompress.options import Options
from deepcompress.pickled import open_pickle

if TYPE_CHECKING:
    import torch

_OTHER_FORMATS = {b"\x08": "ONNX", b"\x89HDF": "Keras", b"\x18\0\0\0TFL3": "TensorFlow Lite"}


def load(path: Path, *, options: Options) -> torch.export.ExportedProgram:
    """The network of a file as an exported program.

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
    if not path.is_file():
        raise _missing(path)
    try:
        head = path.open("rb").read(16)
    except OSError as error:
        raise UserError(f"it cannot be read ({error.strerror})", where(path), "") from None
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
        "it is a zip archive, but not one of PyTorch's", where(path), f"To make one, {EXPORT_HINT}"
    )


def _missing(path: Path) -> UserError:
    if path.is_dir():
        return UserError("it is a folder", where(path), "Name the .pt file in it")
    folder = path.parent
    neighbours = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    return UserError(
        f"there is no such file{did_you_mean(path.name, neighbours)}",
        where(path),
        "Paths are relative to the project's folder",
    )


def _guess(head: bytes) -> str:
    if head[8:9] == b"{":
        return " but looks like safetensors"
    found = [name for magic, name in _OTHER_FORMATS.items() if head.startswith(magic)]
    return f" but looks like {found[0]}" if found else ""


def _open_torchscript(path: Path, options: Options) -> torch.export.ExportedProgram:
    import torch
    from torch._export.converter import TS2EPConverter

    module = attempt(path, lambda: torch.jit.load(path, map_location="cpu")).eval()
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
