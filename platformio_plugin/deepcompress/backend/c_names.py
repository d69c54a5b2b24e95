"""How names and numbers of a model are written in C."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from deepcompress.errors import UserError

_LINE = 96
_KEYWORDS = """
    auto break case char class const continue default delete do double else enum extern float for
    goto if inline int long namespace new operator register restrict return short signed sizeof
    static struct switch template this typedef union unsigned void volatile while
"""
C_KEYWORDS = frozenset(_KEYWORDS.split())


def input_names(tensors: tuple[str, ...]) -> list[str]:
    """What each input is called in C: `input` if it is the only one."""
    if len(tensors) == 1:
        return ["input"]
    return [f"input_{c_identifier(name, prefix='')}" for name in tensors]


def output_names(tensors: tuple[str, ...]) -> list[str]:
    """What each output is called in C: `output` if it is the only one, else by its place."""
    return ["output"] if len(tensors) == 1 else [f"output{i}" for i in range(len(tensors))]


def class_name(name: str) -> str:
    """Lenet5 of lenet5, KeywordSpotter of keyword_spotter."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_") if part)


def c_identifier(name: str, *, prefix: str) -> str:
    """A C identifier from a layer's name: conv1, features_0, layer_0 for "0"."""
    word = re.sub(r"\W", "_", name, flags=re.ASCII)
    return word if word and not word[0].isdigit() else prefix + word


def layer_names(layers: Iterable[str]) -> dict[str, str]:
    """The name of each layer in C by its name in the network: identifiers, each different.

    Args:
        layers: names of all layers that are called, in execution order.
    """
    names: dict[str, str] = {}
    used: set[str] = set()
    for layer in layers:
        name = c_identifier(layer, prefix="layer_")
        while name in used:
            name += "_"
        used.add(name)
        names[layer] = name
    return names


def layer_function(model: str, layer: str) -> str:
    """The C function of a layer, which a profile finds in the firmware.

    Args:
        layer: its name in C, from `layer_names`.
    """
    return f"{model}_{layer}"


def check_name(name: str) -> None:
    """Raises UserError if a model's name cannot be an identifier in C and C++."""
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or name in C_KEYWORDS:
        raise UserError(
            "it cannot be a name in C",
            f"model name {name!r}",
            "Use letters, digits and underscores: --name lenet5, or in platformio.ini "
            "custom_deepcompress_model = lenet5 = file.pt",
        )


def c_float(value: float) -> str:
    """A C float literal that reads back as the same float32."""
    text = np.format_float_scientific(np.float32(value), unique=True, trim="0")
    return f"{text}f"


def c_offset(zero_point: int) -> str:
    """ "- 83" or "+ 95": the C text after a quantized value that subtracts its zero point."""
    return f"{'-' if zero_point >= 0 else '+'} {abs(zero_point)}"


def c_string(text: str) -> str:
    """A C string literal; other characters than printable ASCII as octal UTF-8 bytes."""
    plain = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in text.encode()
    )
    return f'"{plain}"'


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
