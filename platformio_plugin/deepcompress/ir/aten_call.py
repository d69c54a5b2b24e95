"""A call of the user's network as `ops/*.read` sees it: arguments and constants by their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from deepcompress.errors import UserError


@dataclass(frozen=True)
class AtenCall:
    """One aten call with its arguments by name; what `ops/*.read` sees."""

    layer: str
    source: str
    aten: str
    arguments: dict[str, Any]
    constants: dict[str, np.ndarray]
    input_shapes: tuple[tuple[int, ...], ...]
    output_shape: tuple[int, ...]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of the first tensor that is not a constant, without the batch."""
        return self.input_shapes[0]

    @property
    def input_rank(self) -> int:
        return len(self.input_shape)

    def __getitem__(self, argument: str) -> Any:
        return self.arguments[argument]

    def get(self, argument: str, default: Any) -> Any:
        return self.arguments.get(argument, default)

    def pair(self, argument: str, default: Any = 0) -> tuple[int, int]:
        """What PyTorch takes as one number for both or as (height, width)."""
        value = self.get(argument, default)
        values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        return values * 2 if len(values) == 1 else values

    def constant(self, argument: str, *, optional: bool = False) -> np.ndarray | None:
        """A parameter as float32. Raises UserError where it is computed at run time."""
        if argument in self.constants:
            return self.constants[argument]
        if optional and self.arguments.get(argument) is None:
            return None
        raise self.unsupported(f"its {argument} is computed, not stored", "Make it a parameter")

    def operand(self, argument: str) -> np.ndarray:
        """A number, or a parameter, as an array. Raises UserError where it is computed."""
        if argument not in self.constants and argument not in self.arguments:
            raise self.unsupported(
                f"its {argument} is computed while the network runs", "Make it a number"
            )
        return self.constants.get(argument, np.asarray(self.arguments.get(argument)))

    def unsupported(self, what: str, do: str) -> UserError:
        return UserError(what, place(self.layer, self.aten, self.source), do)


def place(layer: str, aten: str, source: str) -> str:
    return f"layer {layer} ({aten})" + (f", {source}" if source else "")
