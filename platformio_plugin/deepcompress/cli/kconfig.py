"""zephyr/Kconfig: every option of the table as a symbol CONFIG_DEEPCOMPRESS_<NAME>."""

from __future__ import annotations

import textwrap

from deepcompress.options import OPTIONS, Option

HEAD = """\
# Written by `python -m deepcompress options --kconfig`.

menuconfig DEEPCOMPRESS
    bool "DeepCompress: PyTorch networks as C"
    help
      Networks that the build compresses and compiles. Name one below, or any number with
      deepcompress_model() in CMakeLists.txt, which has these options as its arguments.

if DEEPCOMPRESS

config DEEPCOMPRESS_MODEL
    string "model's file"
    help
      The .pt file, relative to the application. Empty where deepcompress_model() names it.

config DEEPCOMPRESS_NAME
    string "model's name in C"
    help
      Empty: that of its file.
"""


def kconfig() -> str:
    """The whole file."""
    return "\n".join([HEAD, *map(_symbol, OPTIONS), "endif # DEEPCOMPRESS\n"])


def _symbol(option: Option) -> str:
    """A bool, a number with its default, or a string that is empty where nothing is asked."""
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
