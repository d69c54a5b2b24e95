"""A kernel's parameters as a typed value, and its C initializer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from deepcompress.ir.graph import Array, IntegerNode, RequantizedNode


class CStruct:
    """Base of frozen dataclasses that mirror a C struct: same fields, same names.

    A field is an int, a C constant's name, an `Array` (a pointer to it), another struct, a tuple
    (a C array), or None to leave it zero.
    """

    c_type: ClassVar[str]
    on_one_line: ClassVar[bool] = False


@dataclass(frozen=True)
class RequantizeParameters(CStruct):
    """See include/deepcompress/requantize.h."""

    c_type = "dc_requantize"
    on_one_line = True

    shift: int
    zero_point: int
    minimum: int
    maximum: int

    @classmethod
    def of(cls, node: IntegerNode) -> RequantizeParameters:
        assert isinstance(node, RequantizedNode), node.name
        by = node.requantize
        return cls(by.shift, by.zero_point, by.minimum, by.maximum)


def initializers(struct: CStruct, array_name: Callable[[Array], str]) -> Iterator[tuple[str, str]]:
    """Designator and value of each member, such as (".size[1]", "3").

    Args:
        array_name: the C name of a constant array.
    """
    for field in fields(struct):  # type: ignore[arg-type]
        value = getattr(struct, field.name)
        if value is not None:
            yield from _members(f".{field.name}", value, array_name)


def _members(
    path: str, value: Any, array_name: Callable[[Array], str]
) -> Iterator[tuple[str, str]]:
    if isinstance(value, CStruct):
        inner = list(initializers(value, array_name))
        if value.on_one_line:
            yield path, "{ " + ", ".join(f"{name} = {text}" for name, text in inner) + " }"
        else:
            yield from ((path + name, text) for name, text in inner)
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            yield from _members(f"{path}[{i}]", item, array_name)
    else:
        yield path, array_name(value) if isinstance(value, Array) else str(value)
