"""What a front end is: how it recognizes its kind of file, and how it opens one as a Graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deepcompress.errors import UserError
from deepcompress.ir.graph import Graph
from deepcompress.options import Options


@dataclass(frozen=True)
class FileSignature:
    """What distinguishes kinds of files, without interpreting their content.

    Attributes:
        path: of the file.
        head: its first 16 bytes, or fewer if it is shorter.
        members: names in a zip archive, without the archive's folder; None if it is no archive.
    """

    path: Path
    head: bytes
    members: tuple[str, ...] | None


@dataclass(frozen=True)
class ImportedLayer:
    """One call of the user's network, supported or not.

    Attributes:
        name: the user's name for it.
        op: its operator in the file, such as an aten operator.
        output_shape: without the batch; a size that is not fixed is a text.
        parameters: how many stored numbers it reads.
        values: number of values in all its inputs and its output.
        nodes: names of the Graph's nodes that it became.
        problem: why it is not supported, or None.
    """

    name: str
    op: str
    output_shape: tuple[int | str, ...]
    parameters: int
    values: int
    nodes: tuple[str, ...] = ()
    problem: UserError | None = None


# Options that say how a model file is opened. Most kinds of files need none of them.
OPTIONS_OF_FILES = ("input_shape", "architecture", "checkpoint_key", "trust_pickle")

LayerCallback = Callable[[ImportedLayer], None]


class OpenFile(Protocol):
    """Opens a file as a float Graph without running code from it.

    Args:
        path: of a file that the front end recognizes.
        options: `input_shape` (without the batch), `architecture` and `trust_pickle` are read.
        name: of the model, a C identifier.
        layer: called with each layer, in the order of execution, before any error is raised.

    Raises:
        UserError: the file is damaged, cannot be opened safely, or holds an unsupported network.
    """

    def __call__(
        self, path: Path, options: Options, *, name: str, layer: LayerCallback
    ) -> Graph: ...


@dataclass(frozen=True)
class Frontend:
    """One kind of model file.

    Attributes:
        name: of the kind of file, as users call it.
        recognizes: whether a file is of this kind.
        open: makes a Graph of such a file.
        reads: names of the options in `OPTIONS_OF_FILES` that may change what is opened.
        uses_torch: whether torch reads such a file, so that it is opened in a child process.
    """

    name: str
    recognizes: Callable[[FileSignature], bool]
    open: OpenFile
    reads: frozenset[str] = frozenset()
    uses_torch: bool = True
