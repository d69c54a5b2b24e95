"""TorchScript archives (torch.jit.save): opened if their code only computes, then converted.

torch.jit.load runs some of an archive's code, and its operators can write files. So the code is
checked first, and torch opens a copy of what was checked.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

from deepcompress.errors import UserError, guard, reason, setting
from deepcompress.frontend.file_errors import (
    EXPORT_HINT,
    QUANTIZE_HINT,
    attempt,
    where,
)
from deepcompress.frontend.frontend import FileSignature
from deepcompress.frontend.torch_export import example_input, shape_text
from deepcompress.frontend.torch_frontend import torch_frontend
from deepcompress.frontend.zip_members import members, packed
from deepcompress.options import Options

if TYPE_CHECKING:
    import torch

# What code could do besides computing: write files, run while the archive is opened, and call
# operators that are not PyTorch's own.
_SIDE_EFFECT = re.compile(rb"\b(?:save|from_file|__setstate__)\b|\bops\.(?!prim\b|aten\b)\w+")
# The device on which code that was traced on a GPU creates tensors.
_GPU = re.compile(rb'torch\.device\("(?!cpu)\w+(?::\d+)?"\)')
# The declaration of a member whose name is not an identifier, such as a layer of a Sequential.
_MEMBER_TYPE = re.compile(r"__annotations__\['\w+'\] = ")
_LONGEST_EXPRESSION = 60


def _recognizes(signature: FileSignature) -> bool:
    names = signature.members or ()
    return "constants.pkl" in names and any(name.startswith("code/") for name in names)


def open_program(path: Path, options: Options) -> torch.export.ExportedProgram:
    """The program of a TorchScript archive, for one input of the option `input_shape`.

    Raises:
        UserError: it is damaged, its code could do more than compute, it is already quantized,
            there is no `input_shape`, or torch cannot convert it.
    """
    import torch
    from torch._export.converter import TS2EPConverter

    archive = packed(_checked_members(path))
    # torch.jit.load has no type annotations.
    module: torch.jit.ScriptModule = attempt(
        path,
        lambda: torch.jit.load(archive, map_location="cpu").eval(),  # type: ignore[no-untyped-call]
    )
    inputs = example_input(path, options)

    def convert() -> torch.export.ExportedProgram:
        converted = TS2EPConverter(module.float(), (inputs,)).convert().module()
        # The converter makes every size a symbol; exporting again makes them numbers.
        return torch.export.export(converted, (inputs,), strict=False)

    return guard(
        convert,
        lambda error: UserError(
            f"torch cannot convert this TorchScript ({reason(error)})",
            where(path),
            f"Is {setting('input_shape', shape_text(options))} right? Else, from the Python model, "
            f"{EXPORT_HINT}",
        ),
    )


def _checked_members(path: Path) -> dict[str, bytes]:
    """The archive's members with their code checked, and moved from GPU to CPU."""
    contents = attempt(path, lambda: members(path))
    for name, content in contents.items():
        if name.lower().endswith(".py"):
            _check_not_quantized(content, path)
            _check_code(content, path)
            contents[name] = _GPU.sub(b'torch.device("cpu")', content)
    return contents


def _check_not_quantized(code: bytes, path: Path) -> None:
    if b"torch.ao.nn.quantized" in code or b"ops.quantized." in code:
        raise UserError(
            "it was quantized by torch.ao.quantization, whose packed weights cannot be read",
            where(path),
            QUANTIZE_HINT,
        )


def _check_code(code: bytes, path: Path) -> None:
    """Refuses code that can do more than compute, or that computes while it is opened."""
    side_effect = _SIDE_EFFECT.search(code)
    if side_effect:
        raise _refused(f"uses {side_effect[0].decode()}", path)
    for node in ast.walk(attempt(path, lambda: ast.parse(code))):
        for value in _evaluated_on_opening(node):
            try:
                ast.literal_eval(value)
            except (ValueError, TypeError, RecursionError, MemoryError, SyntaxError):
                expression = ast.unparse(value)[:_LONGEST_EXPRESSION]
                raise _refused(f"evaluates {expression}", path) from None


def _evaluated_on_opening(node: ast.AST) -> list[ast.expr]:
    """Default values of arguments and values of class members, but not the members' types."""
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


def _refused(what: str, path: Path) -> UserError:
    return UserError(
        f"its script {what}: opening it could run code from the file",
        where(path),
        f"From the Python model, {EXPORT_HINT}",
    )


FRONTEND = torch_frontend("TorchScript", _recognizes, open_program, reads=("input_shape",))
