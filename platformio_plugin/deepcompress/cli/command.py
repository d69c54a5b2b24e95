"""The parts that several commands share: a model file, a board, and the options of the compiler."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepcompress.options import OPTIONS, SPELLINGS, Option, Options, Target, parse

if TYPE_CHECKING:
    from typing import TypeAlias

    from deepcompress.pipeline.runner import Instrument

    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

Run = Callable[[argparse.Namespace], int]


def add_model_command(
    commands: Commands,
    name: str,
    run: Run,
    *,
    help: str,
    description: str,
    epilog: str,
    verbose: str = "print a traceback if DeepCompress itself fails",
) -> argparse.ArgumentParser:
    """Adds a command that takes a .pt file, a board and every option of the compiler."""
    command = commands.add_parser(
        name,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help=help,
        description=description,
        epilog=epilog,
    )
    command.add_argument("model", type=Path, help="the .pt file")
    command.add_argument("-v", "--verbose", action="store_true", help=verbose)
    command.add_argument(
        "--verify", action="store_true", help="check the network's graph after every pass"
    )
    command.add_argument(
        "--dump-ir", type=Path, metavar="DIR", help="write the graph after every pass as text"
    )
    # Set by the build tools, so that an error names options as their files do.
    command.add_argument(
        "--spell-options", choices=SPELLINGS, default="flags", help=argparse.SUPPRESS
    )
    _add_board(command)
    _add_options(command)
    command.set_defaults(run=run)
    return command


def _add_board(command: argparse.ArgumentParser) -> None:
    board = command.add_argument_group("board")
    board.add_argument("--board", help="PlatformIO's id, such as nucleo_f446re; sets what follows")
    board.add_argument("--cpu", help="such as cortex-m0plus, cortex-m4 (default), host")
    board.add_argument("--flash-limit", type=int, metavar="BYTES", help="fail if it is exceeded")
    board.add_argument("--ram-limit", type=int, metavar="BYTES", help="fail if it is exceeded")
    board.add_argument("--clock-hz", type=int, metavar="HZ", help="to print milliseconds")


def _add_options(command: argparse.ArgumentParser) -> None:
    options = command.add_argument_group("options, the same as custom_deepcompress_... in the ini")
    for option in OPTIONS:
        options.add_argument(flag(option), metavar=option.kind.upper(), help=_help(option))


def flag(option: Option) -> str:
    """The option's flag: --input-shape for input_shape."""
    return "--" + option.name.replace("_", "-")


def _help(option: Option) -> str:
    default = "" if option.default in (None, False) else f" (default {option.default})"
    choices = f"; one of {', '.join(option.choices)}" if option.choices else ""
    text = f"{option.meaning}{choices}. Example: {option.example}{default}"
    return text.replace("%", "%%")


def parse_options(parsed: argparse.Namespace) -> Options:
    """The options and the board of a model command.

    Raises:
        UserError: an option's text does not parse, or there is no such board.
    """
    texts = {option.name: getattr(parsed, option.name) for option in OPTIONS}
    given = {name: text for name, text in texts.items() if text is not None}
    return parse(given, where="command line", target=_target(parsed))


def instruments(parsed: argparse.Namespace) -> list[Instrument]:
    """What --verify and --dump-ir ask for."""
    from deepcompress.pipeline.runner import DumpIr, Verify

    verify: list[Instrument] = [Verify()] if parsed.verify else []
    return [*verify, DumpIr(parsed.dump_ir)] if parsed.dump_ir else verify


def _target(parsed: argparse.Namespace) -> Target:
    """The board of --board; the other flags override its values."""
    from deepcompress.target.boards import find_board

    target = find_board(parsed.board) if parsed.board else Target()
    given = {field.name: getattr(parsed, field.name) for field in fields(Target)}
    return replace(target, **{name: value for name, value in given.items() if value is not None})
