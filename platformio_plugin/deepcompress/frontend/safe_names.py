"""Gives the modules of an exported program names that torch can write into Python source.

Published models have modules such as "Conv 0" or "left-hand". Torch writes the names of parameters
into Python source without escaping them. So the checked copy of a program, which torch opens, has
other names for such modules. Reports show the names of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

_NOT_DOTTED = re.compile(r"[^\w.]", re.ASCII)
# The fields with the dotted name of a parameter, buffer, constant or module.
_DOTTED = ("parameter_name", "buffer_name", "tensor_constant_name", "fqn")
_UNSAFE = re.compile(r"\W", re.ASCII)
_LONGEST = 200
# Of a call's metadata, which torch parses, the importer needs only these.
_METADATA = ("stack_trace", "nn_module_stack")
# A key of a graph module's `meta`, where the names stay with the program.
_META_KEY = "deepcompress_names"


class Names(Protocol):
    """What a user's file calls the inputs, parameters and modules of a program.

    Attributes:
        inputs: names of the inputs; empty if they are those of the program.
    """

    @property
    def inputs(self) -> tuple[str, ...]: ...

    def original(self, dotted: str) -> str:
        """The name in the file for a name of a parameter or module in the program."""


@dataclass(frozen=True)
class ScriptNames:
    """Names of a program that was converted, inside of another module.

    Attributes:
        prefix: what that module adds to the names of parameters.
    """

    prefix: str = ""
    inputs: tuple[str, ...] = ()

    def original(self, dotted: str) -> str:
        """The name without the other module's."""
        return dotted.removeprefix(self.prefix)


class SafeNames:
    """New names for the parts of dotted names that are not made of letters, digits and `_`."""

    inputs: tuple[str, ...] = ()

    def __init__(self, values: Iterable[Any]) -> None:
        """Collects the names in the JSON of an archive."""
        names = [name for value in values for name in _dotted_names(value)]
        parts = dict.fromkeys(part for name in names for part in name.split("."))
        used = {part for part in parts if _is_safe(part)}
        numbers: dict[str, Iterator[int]] = {}
        self._safe: dict[str, str] = {}
        for part in parts:
            if not _is_safe(part):
                self._safe[part] = _unused(_UNSAFE.sub("_", part)[:_LONGEST], used, numbers)
                used.add(self._safe[part])
        self._original = {safe: part for part, safe in self._safe.items()}

    def rename(self, value: Any) -> Any:
        """A copy of a JSON value with the new names, and only the metadata that is needed."""
        if isinstance(value, list):
            return [self.rename(part) for part in value]
        if not isinstance(value, dict):
            return value
        return {key: self._renamed_field(key, part) for key, part in value.items()}

    def _renamed_field(self, key: str, value: Any) -> Any:
        if key in _DOTTED and isinstance(value, str):
            return self.safe(value)
        if key == "config" and isinstance(value, dict):
            return {self.safe(name): self.rename(entry) for name, entry in value.items()}
        if key == "metadata" and isinstance(value, dict):
            return self._needed_metadata(value)
        return self.rename(value)

    def safe(self, dotted: str) -> str:
        """The new name of a parameter or module, such as "Conv_0.weight" for "Conv 0.weight"."""
        return ".".join(self._safe.get(part, part) for part in dotted.split("."))

    def original(self, dotted: str) -> str:
        """The name in the file; the inverse of `safe`."""
        return ".".join(self._original.get(part, part) for part in dotted.split("."))

    def _needed_metadata(self, metadata: dict[str, Any]) -> dict[str, Any]:
        needed = {key: metadata[key] for key in _METADATA if isinstance(metadata.get(key), str)}
        if "nn_module_stack" in needed:
            needed["nn_module_stack"] = self._module_stack(needed["nn_module_stack"])
        return {key: text for key, text in needed.items() if text}

    def _module_stack(self, stack: str) -> str:
        """The modules of a call, "key,path,class;key,path,class"; empty if a name holds , or ;."""
        modules = [module.split(",") for module in stack.split(";")]
        if any(len(module) != 3 for module in modules):
            return ""
        # A key only has to be different for each module.
        return ";".join(
            f"L__self__{i},{self.safe(path)},{_NOT_DOTTED.sub('_', kind)}"
            for i, (_, path, kind) in enumerate(modules)
        )


def remember_names(
    program: torch.export.ExportedProgram, names: Names
) -> torch.export.ExportedProgram:
    """The same program, with the names of its file for `original_names`."""
    program.graph_module.meta[_META_KEY] = names
    return program


def original_names(program: torch.export.ExportedProgram) -> Names:
    """The names that were remembered; the program's own for other kinds of files."""
    names = program.graph_module.meta.get(_META_KEY)
    return names if isinstance(names, (SafeNames, ScriptNames)) else ScriptNames()


def name_inputs(program: torch.export.ExportedProgram, names: tuple[str, ...]) -> None:
    """Gives a program's inputs these names, in place, if it has several."""
    placeholders = [
        fx
        for fx in program.graph.nodes
        if fx.op == "placeholder" and fx.name in program.graph_signature.user_inputs
    ]
    if not 1 < len(names) == len(placeholders):
        return
    taken = {fx.name for fx in program.graph.nodes}
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    for fx, name in zip(placeholders, names, strict=True):
        if name not in taken:
            specs[fx.name].arg.name = name
            fx.name = fx.target = name


def _dotted_names(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for part in value:
            yield from _dotted_names(part)
    if not isinstance(value, dict):
        return
    for key, part in value.items():
        if key in _DOTTED and isinstance(part, str):
            yield part
        elif key == "config" and isinstance(part, dict):
            yield from part
        elif key == "nn_module_stack" and isinstance(part, str):
            modules = (module.split(",") for module in part.split(";"))
            yield from (module[1] for module in modules if len(module) == 3)
        else:
            yield from _dotted_names(part)


def _is_safe(part: str) -> bool:
    return not _UNSAFE.search(part) and len(part) <= _LONGEST


def _unused(name: str, used: set[str], numbers: dict[str, Iterator[int]]) -> str:
    """The name, with a number if it is taken; `numbers` says which ones were tried for a name."""
    if name not in used:
        return name
    tried = numbers.setdefault(name, count(2))
    return next(new for number in tried if (new := f"{name}_{number}") not in used)
