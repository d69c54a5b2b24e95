"""Exported programs: JSON and raw tensors, of which torch would unpickle and evaluate some parts.

While it opens one, torch loads compiled libraries, unpickles objects, evaluates sizes as Python and
writes names into Python source. So only members known to be needed reach it, and of their JSON only
sizes, names and input structures that are nothing else.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompress.errors import UserError
from deepcompress.frontend.torch_export import (
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

_PROGRAM = "models/model.json"
# What torch.export.save writes of one program; the .pt are tensors as torch 2.7 wrote them.
_NEEDED = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)|models/model\.json|"
    r"data/(weights|constants)/(model_(weights|constants)_config\.json|(weight|tensor)_\d+|model\.pt)"
)
# torch unpickles the example inputs, which nothing of ours reads: it is given none.
_EXAMPLE_INPUTS = "data/sample_inputs/model.pt"

# What a symbolic size is made of: symbols, numbers, operators, sympy's integer functions.
_SIZE_PART = re.compile(
    r"'(?:[suz]|zuf)\d+'|\b(?:(?:[suz]|zuf)\d+|Symbol|positive|nonnegative|integer|True|False|Mod|PythonMod|"
    r"FloorDiv|CleanDiv|CeilDiv|Max|Min|Pow|Eq|Ne|(?:Strict)?(?:Greater|Less)Than|Integer|Mul|Add|oo|int_oo|\d+(?:\.\d+)?)\b|"
    r"[-+*/(),=<>\s]"
)
# torch follows a call's dotted name from its own module on, to any function of any module in it.
_OPERATOR = re.compile(r"torch\.(ops\.\w+(\.\w+)*|sym_\w+)")
_FOREIGN = re.compile(
    rb'"torch\.ops\.(?!(?:aten|prims|higher_order|quantized_decomposed)\.)(\w+)\.(\w+)'
)
# What stands for reading a weight that is a class of its own, and torchao's operators.
_OF_TORCHAO = ("export", "torchao")
_NAME = re.compile(r"[\w.]*")
_TENSOR = re.compile(r"(weight|tensor)_\d+")
# A program that was exported on a GPU is opened on the CPU.
_DEVICE = ("device", "as_device")
_PLAIN_STRUCTURES = (None, "builtins.tuple", "builtins.list", "builtins.dict")


def open_exported(path: Path, options: Options) -> torch.export.ExportedProgram:
    import torch

    contents = attempt(path, lambda: _checked(path))
    if b"torch.ops.quantized_decomposed." in contents[_PROGRAM]:
        import torch.ao.quantization.fx._decomposed  # registers them
    archive = packed(contents)
    with _weights_only():
        program = attempt(path, lambda: torch.export.load(archive))
    _check_batch(program, path)
    return _with_numbers(program, path, options)


def _with_numbers(
    program: torch.export.ExportedProgram, path: Path, options: Options
) -> torch.export.ExportedProgram:
    """The program for inputs of one size, where its own are symbols and the options say which."""
    import torch

    sizes = [size for value in _inputs(program) for size in value.shape[1:]]
    if options.input_shape is None or all(isinstance(size, int) for size in sizes):
        return program
    given = example(path, options)
    try:
        return torch.export.export(program.module(), (given,), strict=False)
    except Exception as error:
        raise UserError(
            f"it does not take an input of {shape_text(options)} ({first_line(error)})",
            where(path),
            "Set input_shape to a shape that it was exported for",
        ) from None


def _checked(path: Path) -> dict[str, bytes]:
    """The members that torch needs, their JSON checked and written anew."""
    needed = {name: data for name, data in members(path).items() if _NEEDED.fullmatch(name)}
    if _PROGRAM not in needed:
        raise UserError(
            "it holds no exported program",
            where(path),
            "torch.export.save writes one; a compiled package (AOTInductor) cannot be read back",
        )
    _check_operators(needed[_PROGRAM], path)
    for name in needed:
        if name.endswith(".json"):
            value = json.loads(needed[name])
            _check(value, path)
            needed[name] = json.dumps(value).encode()
    return {**needed, _EXAMPLE_INPUTS: b""}


def _check_operators(program: bytes, path: Path) -> None:
    """Refuses operators that torch has only where another library is imported."""
    foreign = _FOREIGN.search(program)
    if foreign is None:
        return
    library, name = (part.decode() for part in foreign.groups())
    if library in _OF_TORCHAO:
        raise UserError("torchao's quantize_() has changed its weights", where(path), QUANTIZE_HINT)
    raise UserError(
        f"it calls {library}.{name}, an operator of another library",
        where(path),
        "Write it with torch's own in the Python model, and export that",
    )


def _check(value: Any, path: Path) -> None:
    """Refuses what torch would evaluate, import or unpickle; drops the guards, which are Python."""
    if isinstance(value, list):
        for part in value:
            _check(part, path)
    if not isinstance(value, dict):
        return
    for key, part in value.items():
        if key == "guards_code":
            value[key] = []
        elif key in _DEVICE and isinstance(part, dict):
            value[key] = {"type": "cpu", "index": None}
        elif not _is_harmless(key, part):
            raise UserError(
                f"it holds the {key} {str(part)[:60]!r}: opening it could run code from the file",
                where(path),
                "Export the model again, without custom objects",
            )
        else:
            _check(part, path)


def _is_harmless(key: str, value: Any) -> bool:
    if key == "expr_str":
        return not _SIZE_PART.sub("", str(value))
    if key == "target" and isinstance(value, str) and value.startswith("torch"):
        return bool(_OPERATOR.fullmatch(value))
    if key == "path_name":
        return bool(_TENSOR.fullmatch(str(value)))
    if key in ("in_spec", "out_spec"):
        return not value or _is_plain(json.loads(value)[1])
    if key.endswith("name") and isinstance(value, str):
        return bool(_NAME.fullmatch(value))
    if key.endswith("names") and isinstance(value, list):
        return all(_NAME.fullmatch(str(name)) for name in value)
    return True


def _is_plain(structure: dict[str, Any]) -> bool:
    """Whether nested inputs are of Python's own types, without what names a class to import."""
    plain = structure["type"] in _PLAIN_STRUCTURES and "{" not in (structure["context"] or "")
    return plain and all(_is_plain(child) for child in structure["children_spec"])


def _check_batch(program: torch.export.ExportedProgram, path: Path) -> None:
    for value in _inputs(program):
        shape = value.shape
        if shape and isinstance(shape[0], int) and shape[0] != 1:
            raise UserError(
                f"it was exported for batches of {shape[0]}",
                where(path),
                "Export it with an example of batch 1, or with a dynamic batch",
            )


def _inputs(program: torch.export.ExportedProgram) -> list[torch.Tensor]:
    """The tensors that the network takes, of which only the shapes are known."""
    names = program.graph_signature.user_inputs
    nodes = program.graph_module.graph.nodes
    values = [n.meta.get("val") for n in nodes if n.op == "placeholder" and n.name in names]
    return [value for value in values if hasattr(value, "shape")]


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
