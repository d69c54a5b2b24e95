"""Exported programs: JSON and raw tensors, of which torch would unpickle and evaluate some members.

Those are refused, or opened as tensors only.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompress.errors import UserError
from deepcompress.exporting import attempt, not_whole, where
from deepcompress.options import Options

if TYPE_CHECKING:
    import torch

# Names that a symbolic size of an exported program may hold: symbols, sympy's integer functions.
_SIZE_NAMES = re.compile(
    r"[suz]\d+|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv|Max|Min|Pow|Eq|Ne|oo|int_oo"
)


# What makes torch import a module that the file names.
_IMPORTING = (b"__enum__", b"default_factory_module")


def open_exported(path: Path, options: Options) -> torch.export.ExportedProgram:
    import torch

    _check_archive(path)
    with _weights_only():
        program = attempt(path, lambda: torch.export.load(path))
    _check_batch(program, path)
    return program


def _check_archive(path: Path) -> None:
    """Refuses the members of an exported program that torch would unpickle or evaluate."""
    with _reading(path), zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if "/data/constants/" in member and re.search(r"/(custom|opaque)_obj_", member):
                raise _refused(path, f"the member {member}, a pickled object")
            if member.endswith(".json"):
                text = archive.read(member)
                for name in _IMPORTING:
                    if name in text:
                        raise _refused(path, f"{name.decode()} in {member}")
                _check_sizes(path, json.loads(text))


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
        where(path),
        "Export the model again without custom objects",
    )


def _check_batch(program: torch.export.ExportedProgram, path: Path) -> None:
    signature = program.graph_signature
    for node in program.graph_module.graph.nodes:
        if node.op == "placeholder" and node.name in signature.user_inputs:
            shape = getattr(node.meta.get("val"), "shape", ())
            if shape and isinstance(shape[0], int) and shape[0] != 1:
                raise UserError(
                    f"it was exported for batches of {shape[0]}",
                    where(path),
                    "Export it with an example of batch 1, or with a dynamic batch",
                )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise not_whole(path, error) from None


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
