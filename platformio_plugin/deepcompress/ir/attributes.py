"""The base class of the operators' attributes: what a pass may ask of any layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self, TypeVar
else:
    from typing import TypeVar


class Attributes:
    """The configuration of a layer; each operator derives a frozen dataclass.

    The defaults are those of a stateless layer without groups. A subclass overrides one by a
    dataclass field of the same name, which must have a default value.
    """

    @property
    def groups(self) -> int:
        """Number of independent groups of channels, as in nn.Conv2d."""
        return 1

    @property
    def stateful(self) -> bool:
        """Whether the layer's scratch memory is kept from one inference to the next."""
        return False

    @property
    def chunks(self) -> int:
        """How many consecutive samples of a batch belong to one stream, if stateful."""
        return 1

    def in_chunks(self, chunks: int) -> Self:
        """These attributes with another number of `chunks`, if stateful."""
        return self


if TYPE_CHECKING:
    # `Node` without a type argument is Node[Attributes]. typing.TypeVar has no `default` before
    # Python 3.13, so only type checkers see it.
    A = TypeVar("A", bound=Attributes, default=Attributes, covariant=True)
else:
    A = TypeVar("A", bound=Attributes, covariant=True)
