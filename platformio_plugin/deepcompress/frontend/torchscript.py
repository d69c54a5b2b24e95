"""TorchScript archives (torch.jit.save): opened if their code only computes, then converted.

torch.jit.load runs some of an archive's code, and its operators can write files. So the code is
checked first, and torch opens a copy of what was checked.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from deepcompress.errors import UserError, guard, reason, setting
from deepcompress.frontend.checked_pickle import SAVE_AGAIN, record_sizes
from deepcompress.frontend.file_errors import (
    EXPORT_HINT,
    QUANTIZE_HINT,
    attempt,
    where,
)
from deepcompress.frontend.frontend import FileSignature
from deepcompress.frontend.open_limits import OpenLimits, limits_of
from deepcompress.frontend.pickle_bounds import Refused, check_tensors, read_pickle
from deepcompress.frontend.safe_names import ScriptNames, remember_names
from deepcompress.frontend.torch_export import example_inputs, shapes_text
from deepcompress.frontend.torch_frontend import torch_frontend
from deepcompress.frontend.zip_members import members, packed
from deepcompress.options import Options

if TYPE_CHECKING:
    import torch

# The members that torch.jit.load needs: not the places in the user's code, which are pickles, too.
_NEEDED = re.compile(
    r"(data|constants)(\.pkl|/\d+)|code/.*\.py|byteorder|version|\.format_version|\.data/\w+"
)
# What code could do besides computing: write files, run while the archive is opened, and call
# operators that are not PyTorch's own.
_SIDE_EFFECT = re.compile(rb"\b(?:save|from_file|__setstate__)\b|\bops\.(?!prim\b|aten\b)\w+")
# The device on which code that was traced on a GPU creates tensors.
_GPU = re.compile(rb'torch\.device\("(?!cpu)\w+(?::\d+)?"\)')
# The declaration of a member whose name is not an identifier, such as a layer of a Sequential.
_MEMBER_TYPE = re.compile(r"__annotations__\['\w+'\] = ")
_LONGEST_EXPRESSION = 60
# A tensor of the archive, which is a default value or a constant of a class: no computation.
_STORED = re.compile(r"CONSTANTS\.c\d+")
# The name of a script in the module that calls it without its default arguments.
_WRAPPED = "script"


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

    archive = packed(_checked_members(path, limits_of(options)))
    # torch.jit.load has no type annotations.
    module: torch.jit.ScriptModule = attempt(
        path,
        lambda: torch.jit.load(archive, map_location="cpu").eval(),  # type: ignore[no-untyped-call]
    )
    required, has_defaults = _arguments(module)
    inputs = example_inputs(required, path, options)

    def convert() -> torch.export.ExportedProgram:
        complete = _with_defaults(module, inputs) if has_defaults else module
        converted = TS2EPConverter(complete.float(), inputs).convert().module()
        # The converter makes every size a symbol; exporting again makes them numbers.
        return torch.export.export(converted, inputs, strict=False)

    program = guard(
        convert,
        lambda error: UserError(
            f"torch cannot convert this TorchScript ({reason(error)})",
            where(path),
            f"Is {setting('input_shape', shapes_text(inputs))} right? Else, from the Python model, "
            f"{EXPORT_HINT}",
        ),
    )
    prefix = f"{_WRAPPED}." if has_defaults else ""
    return remember_names(program, ScriptNames(prefix, tuple(required)))


def _arguments(module: torch.jit.ScriptModule) -> tuple[list[str], bool]:
    """The names of the arguments without a default value, and whether there are others."""
    schema = cast("Any", module.forward).schema
    _, *arguments = schema.arguments  # the first one is the module
    required = [argument.name for argument in arguments if not argument.has_default_value()]
    return required, len(required) < len(arguments)


def _with_defaults(
    module: torch.jit.ScriptModule, inputs: tuple[torch.Tensor, ...]
) -> torch.jit.ScriptModule:
    """The module with the default values of its other arguments, which the converter lacks."""
    import torch

    class Caller(torch.nn.Module):
        def forward(self, *given: torch.Tensor) -> object:
            return self.get_submodule(_WRAPPED)(*given)

    caller = Caller()
    caller.add_module(_WRAPPED, module)
    traced = torch.jit.trace(caller.eval(), inputs, check_trace=False)  # type: ignore[no-untyped-call]
    return cast("torch.jit.ScriptModule", traced)


def _checked_members(path: Path, limits: OpenLimits) -> dict[str, bytes]:
    """The members that torch needs, with their code checked, and moved from GPU to CPU."""
    contents = attempt(path, lambda: members(path, limits, needed=_NEEDED.fullmatch))
    for name, content in contents.items():
        if name.endswith(".pkl"):
            _check_pickle(name, contents, path)
        if name.lower().endswith(".py"):
            _check_not_quantized(content, path)
            _check_code(content, path)
            contents[name] = _GPU.sub(b'torch.device("cpu")', content)
    return contents


def _check_pickle(name: str, contents: dict[str, bytes], path: Path) -> None:
    """Refuses attributes or constants that crash torch's reader or fill the memory."""
    try:
        check_tensors(
            read_pickle(contents[name]), record_sizes(contents, name.removesuffix(".pkl"))
        )
    except Refused as error:
        raise UserError(str(error), where(path), SAVE_AGAIN) from None


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
            if not _is_stored(value):
                expression = ast.unparse(value)[:_LONGEST_EXPRESSION]
                raise _refused(f"evaluates {expression}", path)


def _is_stored(value: ast.expr) -> bool:
    """Whether an expression is a literal, a tensor of the archive, or a list of these."""
    if isinstance(value, (ast.List, ast.Tuple)):
        return all(map(_is_stored, value.elts))
    if _STORED.fullmatch(ast.unparse(value)):
        return True
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, RecursionError, MemoryError, SyntaxError):
        return False
    return True


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
