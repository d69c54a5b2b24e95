"""zephyr/Kconfig: every option of the table as a symbol CONFIG_DEEPCOMPRESS_<NAME>."""

from __future__ import annotations

import textwrap

from deepcompress.options import OPTIONS, Option

HEAD = """\
# Written by `python -m deepcompress options --kconfig`.

menuconfig DEEPCOMPRESS
    bool "DeepCompress: PyTorch networks as C"
    help
      Networks that the build compresses and compiles. Name one below, or any number by
      deepcompress_model() in CMakeLists.txt, whose arguments are the same options.

if DEEPCOMPRESS

config DEEPCOMPRESS_MODEL
    string "model file"
    help
      The .pt file, relative to the application. Empty if deepcompress_model() names it.

config DEEPCOMPRESS_NAME
    string "model name in C"
    help
      If empty, the name of its file.
"""


def kconfig() -> str:
    """The whole file."""
    return "\n".join([HEAD, *map(_symbol, OPTIONS), "endif # DEEPCOMPRESS\n"])


def _symbol(option: Option) -> str:
    """A bool, a number with its default, or a string whose default is empty."""
    counted = option.kind == "count" and option.default is not None
    kind = "bool" if option.kind == "flag" else "int" if counted else "string"
    lines = [f"config DEEPCOMPRESS_{option.name.upper()}", f'    {kind} "{_prompt(option)}"']
    lines += [f"    default {option.default}"] if counted else []
    return "\n".join([*lines, "    help", *_help(option)]) + "\n"


def _prompt(option: Option) -> str:
    return option.name.replace("_", " ")


def _help(option: Option) -> list[str]:
    choices = f" One of {', '.join(option.choices)}." if option.choices else ""
    text = f"{option.meaning[:1].upper()}{option.meaning[1:]}.{choices} Example: {option.example}"
    return textwrap.wrap(text, 90, initial_indent="      ", subsequent_indent="      ")
