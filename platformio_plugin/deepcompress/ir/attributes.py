"""The base class of the operators' attributes: what passes may ask of any layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import TypeVar
else:
    from typing import TypeVar


class Attributes:
    """What a layer's module was configured with; each operator derives a frozen dataclass.

    The defaults below are those of a stateless layer without groups. A subclass overrides one by a
    dataclass field of the same name, which must have a default value.
    """

    @property
    def groups(self) -> int:
        """Into how many independent parts the channels are split, as in nn.Conv2d."""
        return 1

    @property
    def stateful(self) -> bool:
        """Whether the layer's scratch memory lasts from one inference to the next."""
        return False

    @property
    def chunks(self) -> int:
        """How many consecutive samples of a batch are chunks of one stream, if stateful."""
        return 1


if TYPE_CHECKING:
    # Node without parameters is Node[Attributes]. (typing.TypeVar has no `default` before 3.13.)
    A = TypeVar("A", bound=Attributes, default=Attributes, covariant=True)
else:
    A = TypeVar("A", bound=Attributes, covariant=True)
