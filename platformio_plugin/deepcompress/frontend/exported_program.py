"""Exported programs (torch.export.save): JSON and raw tensors, checked before torch opens them.

While it opens one, torch loads compiled libraries, unpickles objects, evaluates sizes as Python,
writes names into Python source and looks up functions by their names. So only the members that are
needed reach it, and their JSON may hold only sizes, names, functions and input structures that
cannot be code. `safe_names` renames modules whose names torch could not write into source.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompress.errors import UserError, guard, reason, setting
from deepcompress.frontend.check_calls import check_calls
from deepcompress.frontend.file_errors import QUANTIZE_HINT, attempt, where
from deepcompress.frontend.frontend import FileSignature
from deepcompress.frontend.open_limits import OpenLimits, limits_of
from deepcompress.frontend.program_bounds import check_program
from deepcompress.frontend.safe_names import SafeNames, remember_names
from deepcompress.frontend.streamed_states import streamed_states
from deepcompress.frontend.torch_export import example_input, shape_text
from deepcompress.frontend.torch_frontend import torch_frontend
from deepcompress.frontend.zip_members import members, packed
from deepcompress.options import Options

if TYPE_CHECKING:
    import torch

_PROGRAM = "models/model.json"
# The members that torch.export.save writes; torch 2.7 wrote tensors as .pt files.
_NEEDED = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)|models/model\.json|"
    r"data/(weights|constants)/(model_(weights|constants)_config\.json|(weight|tensor)_\d+|model\.pt)"
)
# torch unpickles the example inputs. They are not needed, so torch gets an empty member.
_EXAMPLE_INPUTS = "data/sample_inputs/model.pt"

# The tokens of a symbolic size: symbols, numbers, operators, sympy's integer functions.
_SIZE_PART = re.compile(
    r"'(?:[suz]|zuf)\d+'|\b(?:(?:[suz]|zuf)\d+|Symbol|positive|nonnegative|integer|True|False|Mod|PythonMod|"
    r"FloorDiv|CleanDiv|CeilDiv|Max|Min|Pow|Eq|Ne|(?:Strict)?(?:Greater|Less)Than|Integer|Mul|Add|oo|int_oo|\d+(?:\.\d+)?)\b|"
    r"[-+*/(),=<>\s]"
)
# torch resolves a call's dotted name by attributes from the modules torch, operator and math on,
# which reaches any function of any module that they import. These are PyTorch's operators and the
# functions of symbolic sizes.
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|higher_order|quantized_decomposed)\.(?!__)\w+(\.(?!__)\w+)?|"
    r"torch\.ops\.aten\.__i?(and|or|xor|lshift|rshift)__(\.(?!__)\w+)?|"
    r"torch\.sym_\w+|math\.(ceil|floor|sqrt|trunc)|"
    r"_operator\.(add|and_|eq|floordiv|ge|getitem|gt|le|lshift|lt|mod|mul|ne|neg|or_|pos|pow|rshift|"
    r"sub|truediv)"
)
# Fields with the name of such a function.
_FUNCTION_KEYS = ("target", "as_operator")
_FOREIGN = re.compile(
    rb'"torch\.ops\.(?!(?:aten|prims|higher_order|quantized_decomposed)\.)(\w+)\.(\w+)'
)
# Namespaces of torchao's operators, and of the operator that reads a weight of a tensor subclass.
_TORCHAO = ("export", "torchao")
_NAME = re.compile(r"[\w.]*")
_TENSOR = re.compile(r"(weight|tensor)_\d+")
# Keys of a device: a program that was exported on a GPU is opened on the CPU.
_DEVICE_KEYS = ("device", "as_device")
_PLAIN_STRUCTURES = (None, "builtins.tuple", "builtins.list", "builtins.dict")


def _recognizes(signature: FileSignature) -> bool:
    names = signature.members or ()
    return "archive_format" in names or any(name.startswith("models/") for name in names)


def open_program(path: Path, options: Options) -> torch.export.ExportedProgram:
    """The program of a file; the option `input_shape` replaces its symbolic sizes, if any.

    Raises:
        UserError: it is damaged, could run code, has operators of other libraries or weights of
            torchao, or was exported for a fixed batch of several samples.
    """
    import torch

    contents, names = attempt(path, lambda: _checked_members(path, limits_of(options)))
    if b"torch.ops.quantized_decomposed." in contents[_PROGRAM]:
        import torch.ao.quantization.fx._decomposed  # registers these operators
    archive = packed(contents)
    with _weights_only():
        program = attempt(path, lambda: torch.export.load(archive))
    check_calls(program, path)
    _check_batch(program, path)
    return remember_names(_with_fixed_sizes(program, path, options), names)


def _with_fixed_sizes(
    program: torch.export.ExportedProgram, path: Path, options: Options
) -> torch.export.ExportedProgram:
    """The program for inputs of the option `input_shape`, if its own sizes are symbolic."""
    import torch

    sizes = [size for value in _inputs(program) for size in value.shape[1:]]
    if options.input_shape is None or all(isinstance(size, int) for size in sizes):
        return program
    inputs = example_input(path, options)
    return guard(
        lambda: torch.export.export(program.module(), (inputs,), strict=False),
        lambda error: UserError(
            f"it does not take an input of {shape_text(options)} ({reason(error)})",
            where(path),
            f"Set {setting('input_shape')} to a shape for which it was exported",
        ),
    )


def _checked_members(path: Path, limits: OpenLimits) -> tuple[dict[str, bytes], SafeNames]:
    """The members that torch needs, with their JSON checked and written again, and new names."""
    needed = members(path, limits, needed=_NEEDED.fullmatch)
    if _PROGRAM not in needed:
        raise UserError(
            "it holds no exported program",
            where(path),
            "torch.export.save writes one; a compiled package (AOTInductor) cannot be read back",
        )
    _check_operators(needed[_PROGRAM], path)
    values = {name: json.loads(needed[name]) for name in needed if name.endswith(".json")}
    names = SafeNames(values.values())
    for name, value in values.items():
        renamed = names.rename(value)
        _check_json(renamed, path)
        needed[name] = json.dumps(renamed).encode()
    return {**check_program(needed, limits, path), _EXAMPLE_INPUTS: b""}, names


def _check_operators(program: bytes, path: Path) -> None:
    """Refuses operators that torch has only after another library is imported."""
    foreign = _FOREIGN.search(program)
    if foreign is None:
        return
    library, name = (part.decode() for part in foreign.groups())
    if library in _TORCHAO:
        raise UserError("torchao's quantize_() has changed its weights", where(path), QUANTIZE_HINT)
    raise UserError(
        f"it calls {library}.{name}, an operator of another library",
        where(path),
        "Write it with torch's own operators in the Python model, and export that",
    )


def _check_json(value: Any, path: Path) -> None:
    """Refuses values that torch would evaluate, import or unpickle, in place at any depth.

    Guards, which are Python, are removed; devices become the CPU.
    """
    if isinstance(value, list):
        for part in value:
            _check_json(part, path)
    if not isinstance(value, dict):
        return
    for key, part in value.items():
        if key == "guards_code":
            value[key] = []
        elif key in _DEVICE_KEYS and isinstance(part, dict):
            value[key] = {"type": "cpu", "index": None}
        elif not _is_harmless(key, part):
            raise UserError(
                f"it holds the {key} {str(part)[:60]!r}: opening it could run code from the file",
                where(path),
                "Export the model again, without custom objects",
            )
        else:
            _check_json(part, path)


def _is_harmless(key: str, value: Any) -> bool:
    if key == "expr_str":
        return not _SIZE_PART.sub("", str(value))
    if key in _FUNCTION_KEYS and isinstance(value, str):
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
    """Whether nested inputs are of Python's own types and name no class to import."""
    plain = structure["type"] in _PLAIN_STRUCTURES and "{" not in (structure["context"] or "")
    return plain and all(_is_plain(child) for child in structure["children_spec"])


def _check_batch(program: torch.export.ExportedProgram, path: Path) -> None:
    # The first axis of a recurrent layer's state counts its layers.
    for value in _inputs(program, without=streamed_states(program).inputs):
        shape = value.shape
        if shape and isinstance(shape[0], int) and shape[0] != 1:
            raise UserError(
                f"it was exported for batches of {shape[0]}",
                where(path),
                "Export it with an example of batch 1, or with a dynamic batch",
            )


def _inputs(
    program: torch.export.ExportedProgram, *, without: Collection[str] = ()
) -> list[torch.Tensor]:
    """Placeholder tensors of the network's inputs: they have shapes and no values."""
    names = set(program.graph_signature.user_inputs) - set(without)
    nodes = program.graph_module.graph.nodes
    values = [n.meta.get("val") for n in nodes if n.op == "placeholder" and n.name in names]
    return [value for value in values if hasattr(value, "shape")]


@contextmanager
def _weights_only() -> Iterator[None]:
    """Makes torch.export.load unpickle with weights_only=True, which it does not by itself."""
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


FRONTEND = torch_frontend("exported program", _recognizes, open_program, reads=("input_shape",))
