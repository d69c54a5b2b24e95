"""The command line: `python -m deepcompress compile net.pt -o out/`."""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

from deepcompress import __version__
from deepcompress.build.project import PREFIX_VARIABLE
from deepcompress.cli.docs import operators_markdown, options_markdown, options_text
from deepcompress.cli.kconfig import kconfig
from deepcompress.errors import UserError, did_you_mean, draw
from deepcompress.options import OPTIONS, Option, Options, Target, parse, spelled

EPILOG = """\
example:
  python -m deepcompress compile models/lenet5.pt -o out/ \\
      --calibration data/calibration.npz --input-mean 0.1307 --input-std 0.3081 \\
      --sparsity 0.8 --cpu cortex-m4

writes out/lenet5.h, lenet5.hpp, lenet5_weights.h, lenet5.c, report.json and report.html, and beside
them what they need of the library, with a CMakeLists.txt. The folder builds alone: without Python,
with CMake or by compiling its .c files. Several models may go into one folder.
"""

CHECK_EPILOG = """\
example:
  python -m deepcompress check models/lenet5.pt --board nucleo_f446re

Exit code 0: every layer is supported, and it fits; 1: not so. Nothing is written.
"""

PRUNE_EPILOG = """\
example:
  python -m deepcompress prune models/lenet5.pt -o models/lenet5_small.pt \\
      --data data/train.npz --input-mean 0.1307 --input-std 0.3081 \\
      --max-accuracy-drop 0.5 --optimize size

writes models/lenet5_small.pt, which compiles like any other, and lenet5_small.png, accuracy against
size. What was tried is kept in lenet5_small.study: an interrupted search goes on from there.
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command.

    Returns 0; 1 for a mistake of the user's, told in one paragraph on stderr; 2 for one of ours.
    """
    parsed = parser().parse_args(arguments)
    try:
        return parsed.run(parsed)
    except UserError as error:
        prefix = os.environ.get(PREFIX_VARIABLE)
        print(draw(error, spell=partial(spelled, prefix=prefix)), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("deepcompress: interrupted; nothing was written", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; Python would complain again while closing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        return _defect(error, verbose=getattr(parsed, "verbose", False))


def _defect(error: Exception, *, verbose: bool) -> int:
    """What is not the user's mistake: said so, with the traceback where asked for."""
    if verbose:
        traceback.print_exc()
    where = traceback.extract_tb(error.__traceback__)[-1]
    print(
        f"deepcompress: internal error: {type(error).__name__}: {error} "
        f"({Path(where.filename).name}:{where.lineno}). This is a defect of DeepCompress "
        f"{__version__}, not of your model: please report it with the output of --verbose "
        "(pio run -v) and, if you may, the .pt file. Nothing was written.",
        file=sys.stderr,
    )
    return 2


class _Parser(argparse.ArgumentParser):
    """Names the nearest flag in the place of one that there is not; so do its commands'."""

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        namespace, left = super().parse_known_args(args, namespace)
        for word in left:
            if word.startswith("--"):
                name = word.partition("=")[0]
                near = did_you_mean(name, self._option_string_actions)
                self.error(f"there is no option {name}{near}")
        return namespace, left


def parser() -> argparse.ArgumentParser:
    top = _Parser(
        prog="deepcompress",
        description="PyTorch networks on microcontrollers: pruned, int8, sparse, as generated C.",
    )
    top.add_argument("--version", action="version", version=f"deepcompress {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_compile(commands)
    _add_check(commands)
    _add_prune(commands)
    _add_profile(commands)
    _add_options(commands)
    _add_operators(commands)
    return top


def _add_model_command(
    commands: argparse._SubParsersAction,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    verbose: str = "tracebacks of our defects",
    **texts: str,
) -> argparse.ArgumentParser:
    """A command about a .pt file and a board, with every option of the compiler."""
    command = commands.add_parser(
        name, formatter_class=argparse.RawDescriptionHelpFormatter, **texts
    )
    command.add_argument("model", type=Path, help="the .pt file")
    command.add_argument("-v", "--verbose", action="store_true", help=verbose)
    _add_board(command)
    _add_option_flags(command)
    command.set_defaults(run=run)
    return command


def _add_compile(commands: argparse._SubParsersAction) -> None:
    command = _add_model_command(
        commands,
        "compile",
        run_compile,
        verbose="print each stage's time",
        help="a .pt file to C sources",
        description="Compresses a PyTorch network and writes C sources for it.",
        epilog=EPILOG,
    )
    command.add_argument("-o", "--output", type=Path, required=True, help="folder for the C files")
    command.add_argument("--name", help="the model's name in C; by default the file's")
    command.add_argument(
        "--no-runtime",
        action="store_true",
        help="write the model's own files only, for a build that has the library",
    )


def _add_board(command: argparse.ArgumentParser) -> None:
    board = command.add_argument_group("board")
    board.add_argument("--board", help="PlatformIO's id, such as nucleo_f446re; says what follows")
    board.add_argument("--cpu", help="such as cortex-m0plus, cortex-m4 (default), host")
    board.add_argument("--flash-limit", type=int, metavar="BYTES", help="fail where it is exceeded")
    board.add_argument("--ram-limit", type=int, metavar="BYTES", help="fail where it is exceeded")
    board.add_argument("--clock-hz", type=int, metavar="HZ", help="to tell milliseconds")


def _target(parsed: argparse.Namespace) -> Target:
    """The board of the flags; what is said beside its name counts more."""
    from deepcompress.target.boards import find_board

    target = find_board(parsed.board) if parsed.board else Target()
    said = {field.name: getattr(parsed, field.name) for field in fields(Target)}
    return replace(target, **{name: value for name, value in said.items() if value is not None})


def _add_option_flags(command: argparse.ArgumentParser) -> None:
    options = command.add_argument_group("options, the same as custom_deepcompress_... in the ini")
    for option in OPTIONS:
        options.add_argument(flag(option), metavar=option.kind.upper(), help=_help(option))


def _parse_options(parsed: argparse.Namespace, target: Target) -> Options:
    texts = {
        o.name: getattr(parsed, o.name) for o in OPTIONS if getattr(parsed, o.name) is not None
    }
    return parse(texts, where="command line", target=target)


def flag(option: Option) -> str:
    """The option's flag: --input-shape of input_shape."""
    return "--" + option.name.replace("_", "-")


def _help(option: Option) -> str:
    default = "" if option.default in (None, False) else f" (default {option.default})"
    choices = f"; one of {', '.join(option.choices)}" if option.choices else ""
    text = f"{option.meaning}{choices}. Example: {option.example}{default}"
    return text.replace("%", "%%")


def run_compile(parsed: argparse.Namespace) -> int:
    from deepcompress.backend.atomic_write import atomic_write
    from deepcompress.backend.c_names import class_name
    from deepcompress.backend.runtime_sources import runtime_sources
    from deepcompress.compile import compile_model
    from deepcompress.report.summary import table

    options = _parse_options(parsed, _target(parsed))
    name = parsed.name or re.sub(r"\W", "_", parsed.model.stem, flags=re.ASCII)
    say = (lambda line: print(line, flush=True)) if parsed.verbose else (lambda line: None)
    print(f"{name}: compressing {parsed.model.name} for {options.target.cpu}", flush=True)
    compiled = compile_model(
        parsed.model,
        name=name,
        options=options,
        say=say,
        tell=lambda line: print(line, flush=True),
    )
    atomic_write(compiled.texts | ({} if parsed.no_runtime else runtime_sources()), parsed.output)
    print(table(compiled.report), flush=True)
    face = f"DeepCompress::{class_name(name)}"
    print(
        f"sketch    {face}"
        if parsed.no_runtime
        else f"wrote     {parsed.output}/: {name}.h for C, {name}.hpp for C++ ({face}), report.html"
    )
    return 0


def _add_check(commands: argparse._SubParsersAction) -> None:
    _add_model_command(
        commands,
        "check",
        run_check,
        help="whether a .pt file will run and fit, without compiling it",
        description="Lists a network's layers, which of them are supported, and what it will take.",
        epilog=CHECK_EPILOG,
    )


def run_check(parsed: argparse.Namespace) -> int:
    """0; 1 where a layer is not supported or the board is too small."""
    from deepcompress.cli.check import check, draw_survey

    options = _parse_options(parsed, _target(parsed))
    found = check(parsed.model, options=options)
    print(draw_survey(found, options.target), flush=True)
    return 1 if found.problems else 0


def _add_prune(commands: argparse._SubParsersAction) -> None:
    command = _add_model_command(
        commands,
        "prune",
        run_prune,
        help="a .pt file to a smaller one, by training on data",
        description="Prunes a network while training it until it meets a goal, and writes it.",
        epilog=PRUNE_EPILOG,
    )
    command.add_argument(
        "-o", "--output", type=Path, required=True, help="the .pt file to write; a .png beside it"
    )


def run_prune(parsed: argparse.Namespace) -> int:
    """0; 1 where the goal was not met: what came nearest is written then."""
    from deepcompress.compile import prune_model
    from deepcompress.training.compress_with_data import summary

    options = _parse_options(parsed, _target(parsed))
    pruned = prune_model(
        parsed.model, parsed.output, options=options, progress=lambda line: print(line, flush=True)
    )
    print(summary(pruned), flush=True)
    if not pruned.search.met:
        print(f"deepcompress: the goal is not met: {pruned.search.shortfall}", file=sys.stderr)
    return 0 if pruned.search.met else 1


def _add_profile(commands: argparse._SubParsersAction) -> None:
    from deepcompress.cli import profile

    command = commands.add_parser(
        "profile",
        help="modelled cycles of a firmware, layer by layer",
        description="Runs a firmware ELF instruction by instruction and counts modelled cycles.",
    )
    profile.add_arguments(command)
    command.set_defaults(run=profile.run)


def _add_options(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("options", help="every option and what it means")
    command.add_argument("--markdown", action="store_true", help="as docs/options.md has it")
    command.add_argument("--kconfig", action="store_true", help="as zephyr/Kconfig has it")
    command.set_defaults(run=run_options)


def run_options(parsed: argparse.Namespace) -> int:
    write = kconfig if parsed.kconfig else options_markdown if parsed.markdown else options_text
    print(write(), end="")
    return 0


def _add_operators(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("operators", help="every operator, and what it can do")
    command.set_defaults(run=run_operators)


def run_operators(parsed: argparse.Namespace) -> int:
    print(operators_markdown(), end="")
    return 0
