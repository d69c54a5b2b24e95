"""How names and numbers of a model are written in C."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

_LINE = 96
_LONGEST_LAYER = 64
# Layers of these names would have the names of functions and arrays of the model itself.
_OWN = re.compile(
    r"arena|argmax|label|reset|output\d+|(infer|quantize|dequantize|self_test|golden|crc)(_\w+)?"
)
# Names in the headers that generated C includes: int8_t of the layer `t` in the model `int8`.
_STANDARD = re.compile(
    r"(?i:u?int\w*|s?size|ptrdiff|wchar|wint|sig_atomic)_(\w+_)?(t|C|MAX|MIN|WIDTH)|(str|mem)\w*_[rl]"
)


def input_names(tensors: tuple[str, ...]) -> list[str]:
    """What each input is called in C: `input` if it is the only one.

    Names differ in more than case, because they are also written in capitals.
    """
    if len(tensors) == 1:
        return ["input"]
    names: list[str] = []
    for tensor in tensors:
        word = f"input_{c_identifier(tensor, prefix='')}"
        used = {name.lower() for name in names}
        names.append(next(name for name in _numbered(word) if name.lower() not in used))
    return names


def output_names(tensors: tuple[str, ...]) -> list[str]:
    """What each output is called in C: `output` if it is the only one, else by its place."""
    return ["output"] if len(tensors) == 1 else [f"output{i}" for i in range(len(tensors))]


def c_identifier(name: str, *, prefix: str) -> str:
    """A C identifier from a layer's name: conv1, features_0, layer_0 for "0"; not long."""
    word = re.sub(r"\W", "_", name[:_LONGEST_LAYER], flags=re.ASCII)
    return word if word and not word[0].isdigit() else prefix + word


def layer_names(layers: Mapping[str, Iterable[str]], *, model: str) -> dict[str, str]:
    """The name of each layer in C by its name in the network: identifiers, each different.

    They also differ from the names of arrays of other layers and from those of the model's own
    functions. `a.b` and `a_b` become a_b and a_b_.

    Args:
        layers: names of all layers that are called, in execution order, with the names of their
            constant arrays.
        model: its name, the prefix of all these names.
    """
    names: dict[str, str] = {}
    used: set[str] = set()
    for layer, arrays in layers.items():
        suffixes = ("", *(f"_{array}" for array in arrays))
        word = c_identifier(layer, prefix="layer_")
        if _OWN.fullmatch(word) or _STANDARD.fullmatch(f"{model}_{word}"):
            word = f"layer_{word}"
        name = next(n for n in _numbered(word) if used.isdisjoint(n + end for end in suffixes))
        used.update(name + end for end in suffixes)
        names[layer] = name
    return names


def _numbered(word: str) -> Iterator[str]:
    """The word, then word_, word_3, word_4, ..."""
    yield from (word, f"{word}_")
    yield from (f"{word}_{number}" for number in itertools.count(3))


def layer_function(model: str, layer: str) -> str:
    """The C function of a layer, which a profile finds in the firmware.

    Args:
        layer: its name in C, from `layer_names`.
    """
    return f"{model}_{layer}"


def c_float(value: float) -> str:
    """A C float literal that reads back as the same float32."""
    text = np.format_float_scientific(np.float32(value), unique=True, trim="0")
    return f"{text}f"


def c_offset(zero_point: int) -> str:
    """ "- 83" or "+ 95": the C text after a quantized value that subtracts its zero point."""
    return f"{'-' if zero_point >= 0 else '+'} {abs(zero_point)}"


def brackets(shape: tuple[int, ...]) -> str:
    return "".join(f"[{size}]" for size in shape)


def number_lines(values: np.ndarray, *, suffix: str = "") -> list[str]:
    """Numbers with commas, as many a line as fit.

    Args:
        suffix: of each number in C, such as "u".
    """
    lines, line = [], ""
    for value in values.ravel().tolist():
        number = f"{value}{suffix}"
        if len(line) + len(number) + 2 > _LINE:
            lines.append(line.rstrip())
            line = ""
        line += f"{number}, "
    return [*lines, line.rstrip().removesuffix(",")]
