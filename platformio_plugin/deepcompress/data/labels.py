"""Names of classes: the option `labels`, or the indices of the outputs."""

from __future__ import annotations

import unicodedata
from math import prod
from pathlib import Path

from deepcompress.errors import UserError, setting
from deepcompress.ir.graph import Graph
from deepcompress.options import Options

# Up to so many classes are named by their index. A name takes about six bytes of flash.
_LARGEST_INDEX_NAMES = 100
# Categories of Unicode: control characters, and halves of characters (surrogates).
_NO_TEXT = ("Cc", "Cs")


def read_labels(options: Options) -> tuple[str, ...]:
    """The option's list, or the lines of the file that it names; none without the option.

    Raises:
        UserError: the file cannot be read.
    """
    if options.labels is None or isinstance(options.labels, tuple):
        return _displayable(options.labels or (), f"option {setting('labels')}")
    path = Path(options.labels)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"it cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8 text'})",
            f"labels file {path}",
            "Name a text file with one label per line, or list them: "
            + setting("labels", "cat, dog"),
        ) from None
    return _displayable(
        tuple(line.strip() for line in lines if line.strip()), f"labels file {path}"
    )


def _displayable(labels: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The labels. Raises UserError if one holds control characters or is no Unicode text."""
    for number, label in enumerate(labels, start=1):
        if any(unicodedata.category(character) in _NO_TEXT for character in label):
            raise UserError(
                f"label {number} ({ascii(label)[:40]}) holds a character that cannot be displayed",
                where,
                "Write each label in letters, digits and punctuation, as UTF-8",
            )
    return labels


def check_labels(labels: tuple[str, ...], graph: Graph) -> None:
    """Raises UserError if the number of names is not the number of classes."""
    shape = graph.tensors[graph.outputs[0]].shape
    if labels and len(labels) not in (prod(shape), shape[0]):
        raise UserError(
            f"it has {len(labels)} names, the model has {prod(shape)} outputs",
            f"option {setting('labels')}",
            "Give each output its name, in the order of the outputs",
        )


def index_labels(graph: Graph) -> tuple[str, ...]:
    """The indices as names, if the output is one score per class and there are few classes."""
    shape = graph.tensors[graph.outputs[0]].shape
    named = len(shape) == 1 and shape[0] <= _LARGEST_INDEX_NAMES
    return tuple(map(str, range(shape[0]))) if named else ()
