"""Checks the JSON of an exported program before torch reads it: its layers, sizes and weights."""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from deepcompress.errors import UserError
from deepcompress.frontend.checked_pickle import SAVE_AGAIN, checked_archive
from deepcompress.frontend.file_errors import where
from deepcompress.frontend.open_limits import OpenLimits, check_layers, too_large
from deepcompress.frontend.pickle_bounds import Refused, check_view

_PROGRAM = "models/model.json"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
# Whole dictionaries of tensors, which torch 2.7 wrote.
_PICKLED = ("data/weights/model.pt", "data/constants/model.pt")

_LONGEST_TEXT = 50_000  # characters; torch stores the stack of modules with each layer
_LONGEST_SIZE = 2_000  # characters of a symbolic size
_MOST_SIZE_PARTS = 500  # nodes of its syntax tree
_MOST_ARGUMENTS = 16  # of Max and Min, which sympy compares pairwise
_LARGEST_EXPONENT = 8
_LARGEST_NUMBER = 2**63

# Bytes of a number by torch's index of its type; other types have at least 1.
_ITEM_BYTES = {3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 9: 4, 10: 8, 11: 16, 13: 2, 28: 2}


def check_program(
    contents: Mapping[str, bytes], limits: OpenLimits, path: Path
) -> dict[str, bytes]:
    """The members of an exported program, pickles in them replaced by copies that were checked.

    Args:
        contents: members by name.

    Raises:
        UserError: it has too many layers, a size that takes long to evaluate, a long text, or a
            weight that has less bytes than its shape says.
    """
    try:
        _check_texts(json.loads(contents[_PROGRAM]), limits, path)
        weights = list(_weights(contents))
        numbers = sum(_check_weight(weight, len(contents[weight.member])) for weight in weights)
    except Refused as error:
        raise UserError(str(error), where(path), SAVE_AGAIN) from None
    if numbers > limits.weights:
        raise too_large(f"its weights are {numbers:,} numbers", path)
    pickled = {weight.member for weight in weights if weight.is_pickled}
    pickled |= {name for name in _PICKLED if name in contents}
    copies = {name: _checked_pickle(contents[name], limits, path) for name in pickled}
    return {**contents, **copies}


def _checked_pickle(content: bytes, limits: OpenLimits, path: Path) -> bytes:
    """A file of torch.save in the program, checked. No option makes such a file trusted."""
    try:
        return checked_archive(path, limits, file=io.BytesIO(content)).getvalue()
    except UserError as error:
        advice = "Export the model again, without custom objects"
        raise UserError(error.what, error.where, advice) from None


@dataclass(frozen=True)
class _Weight:
    """A weight as the configuration of a program describes it.

    Attributes:
        member: that holds its numbers.
        is_pickled: whether the member is a file of torch.save.
        meta: its type, sizes and strides, if it is not pickled.
    """

    name: str
    member: str
    is_pickled: bool
    meta: Mapping[str, Any]


def _weights(contents: Mapping[str, bytes]) -> Iterator[_Weight]:
    for config in _CONFIGS:
        entries = json.loads(contents.get(config, b"{}")).get("config") or {}
        for name, entry in entries.items():
            member = f"{config.rpartition('/')[0]}/{entry['path_name']}"
            if member not in contents:
                raise Refused(f"the weights {name[:60]} are missing")
            pickled, meta = bool(entry.get("use_pickle")), entry.get("tensor_meta") or {}
            yield _Weight(name[:60], member, pickled, {} if pickled else meta)


def _check_texts(program: Any, limits: OpenLimits, path: Path) -> None:
    layers = 0
    for key, value in _entries(program):
        if key == "nodes" and isinstance(value, list):
            layers += len(value)
        if key == "expr_str":
            check_size(str(value))
        elif isinstance(value, str) and len(value) > _LONGEST_TEXT:
            raise Refused(f"its {key[:40]} has {len(value):,} characters")
    check_layers(layers, limits, path)


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """All entries of all dictionaries in plain data."""
    pending = [value]
    while pending:
        current = pending.pop()
        if isinstance(current, list):
            pending += current
        elif isinstance(current, dict):
            yield from current.items()
            pending += current.values()


def check_size(text: str) -> None:
    """Raises Refused if a symbolic size could take long to evaluate."""
    if len(text) > _LONGEST_SIZE:
        raise Refused(f"it has a size of {len(text):,} characters")
    try:
        parts = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise Refused(f"it has the size {text[:60]}, which is not an expression") from None
    if len(parts) > _MOST_SIZE_PARTS or not all(map(_is_quick, parts)):
        raise Refused(f"it has the size {text[:60]}, which could take very long to evaluate")


def _is_quick(part: ast.AST) -> bool:
    """Whether one operation of a size is quick: no powers of powers, no large numbers."""
    if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Pow):
        return _is_small(part.right)
    if isinstance(part, ast.BinOp) and isinstance(part.op, ast.LShift):
        return False
    if isinstance(part, ast.Call):
        name = part.func.id if isinstance(part.func, ast.Name) else ""
        if name == "Pow":
            return len(part.args) == 2 and _is_small(part.args[1])
        return name not in ("Max", "Min") or len(part.args) <= _MOST_ARGUMENTS
    if isinstance(part, ast.Constant) and isinstance(part.value, int):
        return part.value <= _LARGEST_NUMBER
    return True


def _is_small(exponent: ast.expr) -> bool:
    """Whether an exponent is 0 to 8, also as Integer(2)."""
    if isinstance(exponent, ast.Call) and len(exponent.args) == 1:
        exponent = exponent.args[0]
    value = exponent.value if isinstance(exponent, ast.Constant) else None
    return isinstance(value, int) and value <= _LARGEST_EXPONENT


def _check_weight(weight: _Weight, stored: int) -> int:
    """How many numbers a weight has. Raises Refused if it is larger than its member."""
    if not weight.meta:
        return 0
    meta = weight.meta
    sizes, strides = ([_number(size) for size in meta[key]] for key in ("sizes", "strides"))
    numbers = stored // _ITEM_BYTES.get(meta["dtype"], 1)
    offset = _number(meta["storage_offset"])
    check_view(sizes, strides, offset, numbers, f"the weight {weight.name}")
    return prod(sizes)


def _number(size: Mapping[str, Any]) -> int:
    value = size.get("as_int")
    if not isinstance(value, int) or value < 0:
        raise Refused("a weight has a size that is not a number")
    return value
