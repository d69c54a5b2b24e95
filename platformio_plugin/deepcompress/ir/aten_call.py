"""One aten call of the user's network, as the operators read it: arguments by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from deepcompress.errors import UserError
from deepcompress.ir.arrays import AnyArray, Float32Array


@dataclass(frozen=True)
class AtenCall:
    """One aten call. Shapes are without the batch.

    Attributes:
        layer: the name of the user's layer.
        source: the line of the user's model, or "" if torch does not know it.
        aten: name of the aten operator, without overload.
        arguments: numbers, texts and lists of these, by the names of the operator's schema.
        constants: parameters and buffers, by the same names.
        input_shapes: of the tensors that are computed.
    """

    layer: str
    source: str
    aten: str
    arguments: dict[str, Any]
    constants: dict[str, Float32Array]
    input_shapes: tuple[tuple[int, ...], ...]
    output_shape: tuple[int, ...]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the first computed tensor."""
        return self.input_shapes[0]

    @property
    def input_rank(self) -> int:
        """Number of axes of the first computed tensor, without the batch."""
        return len(self.input_shape)

    def __getitem__(self, argument: str) -> Any:
        return self.arguments[argument]

    def get(self, argument: str, default: Any) -> Any:
        """The argument, or `default` if the call leaves it out."""
        return self.arguments.get(argument, default)

    def pair(self, argument: str, default: int = 0) -> tuple[int, int]:
        """An argument that is one number or (height, width), as (height, width)."""
        value = self.get(argument, default)
        values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        height, width = values * 2 if len(values) == 1 else values
        return height, width

    def constant(self, argument: str) -> Float32Array:
        """A parameter as float32.

        Raises:
            UserError: it is computed while the network runs.
        """
        if argument not in self.constants:
            raise self.unsupported(f"its {argument} is computed, not stored", "Make it a parameter")
        return self.constants[argument]

    def optional_constant(self, argument: str) -> Float32Array | None:
        """A parameter as float32, or None if the call leaves it out.

        Raises:
            UserError: it is computed while the network runs.
        """
        missing = argument not in self.constants and self.arguments.get(argument) is None
        return None if missing else self.constant(argument)

    def operand(self, argument: str) -> AnyArray:
        """A number or a parameter, as an array.

        Raises:
            UserError: it is computed while the network runs.
        """
        if argument in self.constants:
            return self.constants[argument]
        if argument not in self.arguments:
            raise self.unsupported(
                f"its {argument} is computed while the network runs", "Make it a number"
            )
        return np.asarray(self.arguments[argument])

    def unsupported(self, what: str, do: str) -> UserError:
        """The error for a use of the operator that is not supported."""
        return UserError(what, call_name(self.layer, self.aten, self.source), do)


def call_name(layer: str, aten: str, source: str) -> str:
    """How error texts name a call."""
    return f"layer {layer} ({aten})" + (f", {source}" if source else "")
