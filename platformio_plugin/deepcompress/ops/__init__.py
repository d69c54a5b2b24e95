"""The operators, one file each.

A module states facts of its operator in one subclass of `Operator` (see `operator.py`), which is
found by importing all modules of this package. Adding an operator is such a file, a kernel in
include/, its cost in backend/, and a test row.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any

from deepcompress.ir.graph import Node
from deepcompress.ops.operator import Operator, Parameters, Shape

__all__ = ["BY_ATEN", "OPERATORS", "Operator", "Parameters", "Shape", "keeps_scale"]

# The registry mixes operators of different attributes; each node's op names the one that fits.
AnyOperator = Operator[Any, Any]


def _operator_classes(module: ModuleType) -> list[type[AnyOperator]]:
    """The complete subclasses of Operator that a module defines."""
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Operator)
        and not inspect.isabstract(value)
        and value.__module__ == module.__name__
    ]


def _find_operators() -> dict[str, AnyOperator]:
    """An instance of each module's operator, by the name of the module."""
    return {
        info.name: operator()
        for info in pkgutil.iter_modules(__path__)
        for operator in _operator_classes(importlib.import_module(f"{__name__}.{info.name}"))
    }


OPERATORS: dict[str, AnyOperator] = _find_operators()

BY_ATEN: dict[str, str] = {aten: name for name, op in OPERATORS.items() for aten in op.aten}


def keeps_scale(node: Node) -> bool:
    """Whether a node's tensors must all have one scale and zero point."""
    return OPERATORS[node.op].keeps_scale
