"""Checks the calls of an exported program from a file against torch's own rules.

torch takes the arguments and the results' shapes from the file as they are. Here each call that the
importer reads is made again on placeholders without values. So wrong types, wrong values and sizes
that do not follow from the arguments are found in one place, and no operator repeats the check.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcompress.errors import UserError, guard, reason
from deepcompress.frontend.constants import FOLDABLE
from deepcompress.frontend.decompositions import decomposed
from deepcompress.frontend.file_errors import EXPORT_HINT, where
from deepcompress.frontend.fx_node import (
    aten_name,
    constant_names,
    constants_of,
    creates_constant,
    source_line,
)
from deepcompress.ir.aten_call import call_name

if TYPE_CHECKING:
    import torch


def check_calls(program: torch.export.ExportedProgram, path: Path) -> None:
    """Raises UserError where a call or a stored tensor is not what the program says it is.

    Args:
        path: of the file, for errors.
    """
    stored, names = constants_of(program), constant_names(program)
    for fx in program.graph.nodes:
        value = fx.meta.get("val")
        if fx.op == "placeholder" and fx.name in stored and _shape(value) is not None:
            if _shape(value) != _shape(stored[fx.name]):
                raise UserError(
                    f"{names[fx.name]} is stored as {list(stored[fx.name].shape)}, the network "
                    f"has {list(value.shape)}",
                    where(path),
                    f"Export it again: {EXPORT_HINT}",
                )
        elif fx.op == "call_function" and _is_read(fx):
            _check_call(fx, path)


def _is_read(fx: torch.fx.Node) -> bool:
    """Whether the importer reads this call. torch runs no others here, even without values."""
    import torch

    if not isinstance(fx.target, torch._ops.OpOverload):
        return False
    name = aten_name(fx).removesuffix("_")
    return name in FOLDABLE or name in decomposed() or creates_constant(name)


def _check_call(fx: torch.fx.Node, path: Path) -> None:
    from torch.fx.node import map_arg

    def refused(problem: str) -> UserError:
        return UserError(
            f"{call_name(_layer(fx), aten_name(fx), source_line(fx))} is damaged: {problem}",
            where(path),
            f"Export it again: {EXPORT_HINT}",
        )

    if "val" not in fx.meta:
        raise refused("the shape of its result is missing")
    args, kwargs = map_arg((fx.args, fx.kwargs), lambda node: node.meta.get("val"))
    result = guard(
        lambda: _computed(fx, args, kwargs), lambda error: refused(f"torch says {reason(error)}")
    )
    expected, computed = _shapes(fx.meta["val"]), _shapes(result)
    if computed is not None and not _are_equal(expected, computed):
        raise refused(f"its result is stated as {expected}, and is {computed}")


def _computed(fx: torch.fx.Node, args: Any, kwargs: Any) -> Any:
    """The placeholders of a call's results; None where torch cannot tell without values."""
    import torch
    from torch._dispatch.python import enable_python_dispatcher
    from torch._subclasses.fake_tensor import DataDependentOutputException as DependsOnValues
    from torch._subclasses.fake_tensor import DynamicOutputShapeException as SizesDepend
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch._subclasses.fake_tensor import UnsupportedOperatorException as HasNoShapes

    mode = torch._guards.detect_fake_mode([*torch.utils._pytree.tree_leaves((args, kwargs))])
    try:
        # As in torch.export: kernels in C++ do not take symbolic sizes, those in Python do.
        with enable_python_dispatcher(), mode or FakeTensorMode(), torch.no_grad():
            return fx.target(*args, **kwargs)  # type: ignore[operator]  # an OpOverload
    except (DependsOnValues, SizesDepend, HasNoShapes, NotImplementedError):
        return None


def _layer(fx: torch.fx.Node) -> str:
    modules = list((fx.meta.get("nn_module_stack") or {}).values())
    return str(modules[-1][0]) if len(modules) > 1 else fx.name


def _shape(value: Any) -> list[Any] | None:
    return list(value.shape) if hasattr(value, "shape") else None


def _shapes(value: Any) -> list[list[Any]] | None:
    """The shapes of all tensors in a result, None if there are none."""
    values = value if isinstance(value, (list, tuple)) else [value]
    shapes = [_shape(part) for part in values]
    return [shape for shape in shapes if shape is not None] or None


def _are_equal(expected: list[list[Any]] | None, computed: list[list[Any]] | None) -> bool:
    """Whether shapes are equal, where both are numbers: symbols are not compared."""
    if expected is None or computed is None or len(expected) != len(computed):
        return False
    return all(
        len(one) == len(other)
        and all(
            a == b
            for a, b in zip(one, other, strict=True)
            if isinstance(a, int) and isinstance(b, int)
        )
        for one, other in zip(expected, computed, strict=True)
    )
