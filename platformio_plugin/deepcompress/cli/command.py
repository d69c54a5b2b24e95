"""The parts that several commands share: a model file, a board, and the options of the compiler."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepcompress.errors import draw_warnings
from deepcompress.options import OPTIONS, SPELLINGS, Option, Options, Target, parse, user_path
from deepcompress.versions import check_versions, untested_torch

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
    usage: str = "%(prog)s [options] model",
    verbose: str = "print a traceback if DeepCompress itself fails",
) -> argparse.ArgumentParser:
    """Adds a command that takes a .pt file, a board and every option of the compiler."""
    command = commands.add_parser(
        name,
        usage=usage,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help=help,
        description=description,
        epilog=epilog,
    )
    command.add_argument("model", type=path, help="the .pt file")
    command.add_argument("-v", "--verbose", action="store_true", help=verbose)
    command.add_argument(
        "--verify", action="store_true", help="check the network after each pass of the compiler"
    )
    command.add_argument(
        "--dump-ir",
        type=path,
        metavar="DIR",
        help="write the network after each pass to DIR, as text",
    )
    # Set by the build tools, so that an error names options as their files do.
    command.add_argument(
        "--spell-options", choices=SPELLINGS, default="flags", help=argparse.SUPPRESS
    )
    _add_board(command)
    _add_options(command)
    command.set_defaults(run=_with_checked_versions(run))
    return command


def _with_checked_versions(run: Run) -> Run:
    """The command after a look at the versions: torch fails strangely if it is too old."""

    def checked(parsed: argparse.Namespace) -> int:
        check_versions()
        if untested := untested_torch():
            print("\n".join(draw_warnings([untested])), flush=True)
        return run(parsed)

    return checked


def path(text: str) -> Path:
    """A path on the command line; the shell leaves a ~ after `=` or in quotes as it is."""
    return Path(user_path(text))


def _add_board(command: argparse.ArgumentParser) -> None:
    board = command.add_argument_group("board")
    board.add_argument(
        "--board", help="PlatformIO's id of a board, such as nucleo_f446re; sets the options below"
    )
    board.add_argument("--cpu", help="such as cortex-m0plus, cortex-m4 (default), host (this PC)")
    board.add_argument(
        "--flash-limit", type=int, metavar="BYTES", help="fail if the model needs more flash"
    )
    board.add_argument(
        "--ram-limit", type=int, metavar="BYTES", help="fail if the model needs more RAM"
    )
    board.add_argument(
        "--clock-hz", type=int, metavar="HZ", help="the CPU's clock, to print milliseconds"
    )


def _add_options(command: argparse.ArgumentParser) -> None:
    options = command.add_argument_group("options (in platformio.ini: custom_deepcompress_NAME)")
    for option in OPTIONS:
        options.add_argument(flag(option), metavar=option.kind.upper(), help=_help(option))


def flag(option: Option) -> str:
    """The option's flag: --input-shape for input_shape."""
    return "--" + option.name.replace("_", "-")


def _help(option: Option) -> str:
    default = "" if option.default in (None, False) else f" Default: {option.default}."
    choices = f" One of {', '.join(option.choices)}." if option.choices else ""
    text = f"{option.meaning}.{choices}{default} Example: {option.example}"
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
    """The instruments of --verify and --dump-ir."""
    from deepcompress.pipeline.runner import DumpIr, Verify

    verify: list[Instrument] = [Verify()] if parsed.verify else []
    return [*verify, DumpIr(parsed.dump_ir)] if parsed.dump_ir else verify


def _target(parsed: argparse.Namespace) -> Target:
    """The board of --board; the other flags override its values."""
    from deepcompress.target.boards import find_board

    target = find_board(parsed.board) if parsed.board else Target()
    given = {field.name: getattr(parsed, field.name) for field in fields(Target)}
    return replace(target, **{name: value for name, value in given.items() if value is not None})
